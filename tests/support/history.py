"""What clients of a cluster were promised, and whether it was kept.

A `Recorder` runs threads of clients under load. Every key belongs to one thread, which writes growing numbers to it, so that at any
time one knows what a read may give. An operation ends in one of three ways:

  acknowledged   with a claim: PLAIN (the primary's OK) or REPLICATED (WAIT counted a replica)
  refused        surely not executed: an error, or no connection
  unknown        sent, but no answer came. The key is retired: the request may be executed late, over a newer value

`verify` compares the keys with all that after a round of faults. A lost acknowledged write, and a read that gave an older value
than one acknowledged before, is excused only where the caller says that Redis's rules allow it (`Excuse`), and a write with the
claim REPLICATED never is. What was verified once must stay as it is: retired keys are looked at again in every later round.
"""

import random
import threading
import time
from dataclasses import dataclass, field

from .resp import Client, Error, ProtocolViolation, encode
from .slots import SLOTS, key_slot

PLAIN, REPLICATED = "plain", "replicated"
_NOT_EXECUTED = ("MOVED", "ASK", "CLUSTERDOWN", "LOADING", "TRYAGAIN", "READONLY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM")


@dataclass
class Excuse:
    """Redis's rules allow loss in these slots, for writes acknowledged in this span of time (monotonic clock)."""

    slots: set
    why: str
    since: float = 0.0
    until: float = float("inf")
    # A slot on its way between two shards while one of them failed over: keys travel without waiting for replicas.
    whole_keys: bool = False

    def covers(self, slot, when):
        return slot in self.slots and self.since <= when <= self.until


@dataclass
class Operation:
    number: int
    ended: float
    node: tuple
    claim: str


@dataclass
class Key:
    name: str
    kind: str  # "register": SET; "log": RPUSH
    base: object = None  # what the last verification found: a number, or a list of numbers
    acknowledged: list = field(default_factory=list)
    unknown: int = 0
    retired: bool = False

    def __post_init__(self):
        self.slot = key_slot(self.name)
        if self.base is None:
            self.base = -1 if self.kind == "register" else []

    @property
    def floor(self):
        """The least number that a read of a register must give."""
        return self.acknowledged[-1].number if self.acknowledged else self.base


@dataclass
class Verdict:
    checked: int = 0
    writes: int = 0
    excused: int = 0
    excused_reads: int = 0
    violations: list = field(default_factory=list)


class Router:
    """Requests of one thread: follows redirections as long as the request was surely not executed."""

    def __init__(self, addresses, timeout_s=1.0, connect_timeout_s=0.5):
        self.addresses = list(addresses)
        self.timeout_s, self.connect_timeout_s = timeout_s, connect_timeout_s
        self.owner = [None] * SLOTS
        self.failed_until = {}
        self.clients = {}

    def close(self):
        for client in self.clients.values():
            client.close()
        self.clients.clear()

    def forget(self, address):
        client = self.clients.pop(address, None)
        if client is not None:
            client.close()

    def _client(self, address):
        client = self.clients.get(address)
        if client is None:
            if self.failed_until.get(address, 0) > time.monotonic():
                raise ConnectionError("failed a moment ago")
            try:
                client = Client(address[1], host=address[0], timeout_s=self.timeout_s, connect_timeout_s=self.connect_timeout_s)
            except OSError:
                self.failed_until[address] = time.monotonic() + 0.3
                raise
            self.clients[address] = client
        return client

    def refresh(self):
        addresses = list(self.addresses)
        random.shuffle(addresses)
        for address in addresses:
            try:
                for first, last, primary, *_ in self._client(address).ok("CLUSTER", "SLOTS"):
                    self.owner[first : last + 1] = [(primary[0].decode(), primary[1])] * (last - first + 1)
                return
            except Exception:
                self.forget(address)

    def request(self, slot, *commands, attempts=6):
        """(replies, address), or (None, address) when nobody knows what happened, or (None, None) when nothing did.

        The first command decides where to go; the others, such as WAIT, follow it on the same connection."""
        asking = False
        address = self.owner[slot]
        for _ in range(attempts):
            if address is None:
                self.refresh()
                address = self.owner[slot]
                if address is None:
                    return None, None
            try:
                client = self._client(address)
            except OSError:
                self.owner[slot] = address = None
                time.sleep(0.05)
                continue
            try:
                prefix = encode(("ASKING",)) if asking else b""
                client.send_raw(prefix + b"".join(encode(command) for command in commands))
                if asking:
                    client.read()
                replies = [client.read()]
            except (OSError, ProtocolViolation):
                self.forget(address)
                self.owner[slot] = None
                return None, address
            try:
                replies += [client.read() for _ in commands[1:]]
            except (OSError, ProtocolViolation):
                self.forget(address)
                replies += [None] * (len(commands) - len(replies))
            if not isinstance(replies[0], Error):
                return replies, address
            code = replies[0].code
            assert code in _NOT_EXECUTED, f"{commands[0]} at {address}: {replies[0]}"
            asking = code == "ASK"
            if code in ("MOVED", "ASK"):
                host, _, port = replies[0].decode().rsplit(" ", 1)[1].rpartition(":")
                address = (host or address[0], int(port))
                if not asking:
                    self.owner[slot] = address
            else:
                if code != "TRYAGAIN":
                    self.owner[slot] = address = None
                time.sleep(0.02)
        return None, None


class Worker(threading.Thread):
    """One client with its own keys."""

    def __init__(self, recorder, index):
        super().__init__(daemon=True)
        self.recorder, self.index = recorder, index
        self.chance = random.Random(f"{recorder.seed}:{index}")
        self.router = Router(recorder.addresses)
        self.number = self.generation = 0
        self.keys = [self.new_key("register") for _ in range(recorder.registers)]
        self.keys += [self.new_key("log") for _ in range(recorder.logs)]
        self.retired = []
        self.stale_reads = []  # (key, when, node, found, floor)
        self.counts = {"acknowledged": 0, "replicated": 0, "refused": 0, "unknown": 0, "reads": 0}
        self.error = None
        self.paused = threading.Event()

    def new_key(self, kind):
        self.generation += 1
        return Key(f"{kind}:{self.index}:{self.generation}", kind)

    def run(self):
        try:
            while not self.recorder.stopping:
                if self.recorder.pausing:
                    self.paused.set()
                    time.sleep(0.01)
                    continue
                self.paused.clear()
                self.one()
        except BaseException as error:
            self.error = error
            self.paused.set()
            raise
        finally:
            self.router.close()

    def one(self):
        place = self.chance.randrange(len(self.keys))
        key = self.keys[place]
        if key.kind == "register" and self.chance.random() < 0.15:
            return self.read(key)
        self.number += 1
        write = ("SET", key.name, self.number) if key.kind == "register" else ("RPUSH", key.name, self.number)
        wait = self.recorder.wait_replicas if self.chance.random() < self.recorder.wait_share else 0
        commands = [write] + ([("WAIT", wait, 400)] if wait else [])
        replies, address = self.router.request(key.slot, *commands)
        if replies is None and address is None:
            self.counts["refused"] += 1
            return time.sleep(0.02)
        if replies is None:
            self.counts["unknown"] += 1
            key.unknown, key.retired = self.number, True
            self.retired.append(key)
            self.keys[place] = self.new_key(key.kind)
            return None
        sure = wait and isinstance(replies[1], int) and replies[1] >= wait
        key.acknowledged.append(Operation(self.number, time.monotonic(), address, REPLICATED if sure else PLAIN))
        self.counts["acknowledged"] += 1
        self.counts["replicated"] += bool(sure)
        return None

    def read(self, key):
        replies, address = self.router.request(key.slot, ("GET", key.name))
        if replies is None:
            return
        self.counts["reads"] += 1
        found = int(replies[0]) if replies[0] is not None else -1
        if found != key.floor:
            self.stale_reads.append((key, time.monotonic(), address, found, key.floor))


class Recorder:
    """Load on a cluster, and what it was promised. `addresses` are (host, port) of all nodes."""

    def __init__(self, addresses, seed=1, workers=4, registers=40, logs=8, wait_replicas=1, wait_share=0.2):
        self.addresses, self.seed = list(addresses), seed
        self.registers, self.logs = registers, logs
        self.wait_replicas, self.wait_share = wait_replicas, wait_share
        self.stopping = self.pausing = False
        self.reader = Router(addresses, timeout_s=5)
        self.settled = []  # retired keys after their verification: nothing may change them any more
        self.workers = [Worker(self, index) for index in range(workers)]

    def start(self):
        for worker in self.workers:
            worker.start()
        return self

    def counts(self):
        return {name: sum(w.counts[name] for w in self.workers) for name in self.workers[0].counts}

    def acknowledged(self):
        return sum(worker.counts["acknowledged"] for worker in self.workers)

    def busy_slots(self):
        return sorted({key.slot for worker in self.workers for key in list(worker.keys)})

    def pause(self):
        self.pausing = True
        for worker in self.workers:
            worker.paused.clear()
        for worker in self.workers:
            if worker.is_alive():
                assert worker.paused.wait(120), f"client {worker.index} hangs"
            if worker.error is not None:
                raise worker.error

    def resume(self):
        self.pausing = False

    def stop(self):
        self.stopping = True
        for worker in self.workers:
            if worker.is_alive():
                worker.join(120)
        self.reader.close()

    def _found(self, key):
        command = ("GET", key.name) if key.kind == "register" else ("LRANGE", key.name, 0, -1)
        for _ in range(10):  # a connection of before the round may be gone
            replies, _ = self.reader.request(key.slot, command, attempts=100)
            if replies is not None:
                break
        assert replies is not None, f"{key.name} cannot be read although the cluster is well"
        if key.kind == "register":
            return int(replies[0]) if replies[0] is not None else -1
        return [int(item) for item in replies[0]]

    def verify(self, excuses=()):
        """Pauses the clients and judges every key; the cluster must be well. What was found is what is expected from now on."""
        self.pause()
        verdict = Verdict()

        def excused(key, when, claim=PLAIN):
            for excuse in excuses:
                if excuse.covers(key.slot, when) and (claim == PLAIN or excuse.whole_keys):
                    return True
            return False

        def blame(key, text):
            verdict.violations.append(f"{key.name} (slot {key.slot}): {text}")

        def judge(key):
            verdict.checked += 1
            verdict.writes += len(key.acknowledged)
            found = self._found(key)
            anything = any(excuse.whole_keys and key.slot in excuse.slots for excuse in excuses)
            if key.kind == "register":
                known = {key.base, *(op.number for op in key.acknowledged)} | ({key.unknown} if key.unknown else set())
                lost = [op for op in key.acknowledged if op.number > found]
                if found < key.base and not anything:
                    blame(key, f"{found} instead of {key.base}, which was there before the round")
                elif found not in known and not anything:
                    blame(key, f"{found}, which nobody wrote")
            else:
                known = {*key.base, *(op.number for op in key.acknowledged)} | ({key.unknown} if key.unknown else set())
                present = set(found)
                lost = [op for op in key.acknowledged if op.number not in present]
                if len(present) != len(found) or sorted(found) != found or not present <= known:
                    blame(key, f"elements twice, out of order, or of nobody: {found[-20:]}")
                gone = [number for number in key.base if number not in present]
                if gone and not anything:
                    blame(key, f"{gone[:5]} were there before the round")
            for op in lost:
                if excused(key, op.ended, op.claim):
                    verdict.excused += 1
                else:
                    age = time.monotonic() - op.ended
                    blame(key, f"lost {op.number}, acknowledged ({op.claim}) by {op.node} {age:.2f} s ago; found {str(found)[-60:]}")
            key.base, key.acknowledged = found, []
            if key.unknown in (found if key.kind == "log" else [found]):
                key.unknown = 0  # otherwise it may still be on its way: a packet that is sent again after the network has healed

        for key in self.settled:
            judge(key)
        for worker in self.workers:
            # Before the floors move: what reads gave during the round.
            for key, when, node, found, floor in worker.stale_reads:
                if excused(key, when):
                    verdict.excused_reads += 1
                else:
                    blame(key, f"read {found} at {node} {time.monotonic() - when:.2f} s ago, {floor} was acknowledged before")
            worker.stale_reads = []
            for key in worker.retired:
                judge(key)
                self.settled.append(key)
            worker.retired = []
            for place, key in enumerate(worker.keys):
                judge(key)
                if key.kind == "log" and len(key.base) > 500:
                    self.settled.append(key)
                    worker.keys[place] = worker.new_key("log")
        # Enough of them to notice what vanishes; not so many that looking takes longer than the round.
        while len(self.settled) > 400:
            self.settled.pop(0)
        return verdict
