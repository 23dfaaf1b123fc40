"""A control group with a memory limit for a server under test, on machines where one may be made (version 1 or 2)."""

import atexit
import os
import time

from .scenario import Skip

_V1, _V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"


class MemoryGroup:
    """prefix() starts a process inside; peak() and killed() tell what happened to it."""

    def __init__(self, limit_bytes):
        name = f"tessera-test-{os.getpid()}-{time.monotonic_ns()}"
        self.version = 1 if os.path.exists(f"{_V1}/memory.limit_in_bytes") else 2
        self.path = os.path.join(_V1 if self.version == 1 else _V2, name)
        try:
            if self.version == 2 and "memory" not in open(f"{_V2}/cgroup.subtree_control").read().split():
                raise OSError("the memory controller is not delegated here")
            os.mkdir(self.path)
            self._write("memory.limit_in_bytes" if self.version == 1 else "memory.max", limit_bytes)
        except OSError as error:
            raise Skip(f"NO MEMORY LIMITS HERE, nothing is shown: {error}") from None
        atexit.register(self.remove)

    def _write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def _read(self, name):
        with open(os.path.join(self.path, name)) as file:
            return file.read()

    def prefix(self):
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def set_limit(self, limit_bytes):
        self._write("memory.limit_in_bytes" if self.version == 1 else "memory.max", limit_bytes)

    def kills(self):
        """How often the kernel has ended a process of the group for want of memory."""
        text = self._read("memory.oom_control" if self.version == 1 else "memory.events")
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def remove(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass
