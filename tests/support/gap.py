"""How long writes stand still: a client that follows redirects writes one key without a break and notes every answer."""

import threading
import time

from .cluster_client import ClusterClient
from .resp import Error


class GapWriter(threading.Thread):
    """Counts `key` upwards. `gap_ms()` is the longest time between two acknowledged writes since `mark()`."""

    def __init__(self, ports, key):
        super().__init__(daemon=True)
        self.client = ClusterClient(ports, timeout_s=5, patience_s=60)
        self.key, self.value, self.acknowledged = key, 0, 0
        self.failed = []
        self._last = self._longest = 0.0
        self._stop_asked = False

    def run(self):
        self._last = time.monotonic()
        while not self._stop_asked:
            self.value += 1
            try:
                reply = self.client("SET", self.key, self.value)
            except Exception as error:
                self.failed.append(error)
                continue
            if isinstance(reply, Error):
                self.failed.append(reply)
                continue
            now = time.monotonic()
            self._longest = max(self._longest, now - self._last)
            self._last = now
            self.acknowledged = self.value

    def mark(self):
        self._longest = 0.0

    def gap_ms(self):
        return 1000 * max(self._longest, time.monotonic() - self._last)

    def end(self):
        self._stop_asked = True
        self.join(90)
