"""Hosts with addresses of their own on one machine: network namespaces on a bridge, whose frames a test can drop or delay.

`enter` starts the test program anew inside a network namespace of its own (and a user namespace, when it is not root), which is
the switch and the clients' host at once. Each `Host` is a further namespace, kept alive by a sleeping process. Nothing has a name
outside, so that everything is gone with the program, however it ends.
"""

import os
import shutil
import subprocess
import sys
import time

from .process import run

SKIPPED = 77  # the exit code that CTest takes for "skipped"
_INSIDE = "TESSERA_TEST_INSIDE_NAMESPACE"
_NET = "10.77.0"


def enter():
    """Goes on inside, or ends the program with SKIPPED and the reason."""
    if os.environ.get(_INSIDE):
        return
    missing = [tool for tool in ("ip", "nft", "unshare", "nsenter", "setpriv") if shutil.which(tool) is None]
    if missing:
        skip(f"these tools are not installed: {', '.join(missing)} (Debian: iproute2, nftables, util-linux)")
    unshare = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    probe = "ip link add br0 type bridge && ip link add p0 type veth peer name e0 && nft add table bridge lab"
    tried = subprocess.run([*unshare, "sh", "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if tried.returncode != 0:
        skip(f"network namespaces are not permitted here: {tried.stdout.strip()}")
    os.execvpe(unshare[0], [*unshare, sys.executable, "-B", *sys.argv], {**os.environ, _INSIDE: "1"})


def skip(reason):
    print(f"SKIPPED, nothing was tested: {reason}", flush=True)
    sys.exit(SKIPPED)


class Host:
    """A namespace with one interface; `prefix` starts a command in it."""

    def __init__(self, number):
        self.number = number
        self.address = f"{_NET}.{number}"
        self.port = f"p{number}"  # its socket at the switch
        self.keeper = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL
        )
        mine = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 30
        while os.readlink(f"/proc/{self.keeper.pid}/ns/net") == mine:
            assert time.monotonic() < deadline and self.keeper.poll() is None, "no namespace"
            time.sleep(0.01)
        self.prefix = ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]
        run(["ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.keeper.pid])
        run(["ip", "link", "set", self.port, "master", "br0", "up"])
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            run([*self.prefix, "ip", *words])

    def move(self, address):
        """Another address instead; what it knew of its neighbours is forgotten."""
        for words in (["addr", "flush", "dev", "eth0"], ["neigh", "flush", "all"], ["addr", "add", f"{address}/24", "dev", "eth0"]):
            run([*self.prefix, "ip", *words])
        self.address = address


class Network:
    """`hosts` on one switch, and this program as the client. Faults add up until `heal`."""

    CLIENT = f"{_NET}.100"

    def __init__(self, hosts):
        for words in ("link set lo up", "link add br0 type bridge stp_state 0 forward_delay 0", "link set br0 up",
                      f"addr add {self.CLIENT}/24 dev br0"):  # fmt: skip
            run(["ip", *words.split()])
        self.hosts = [Host(number) for number in range(1, hosts + 1)]
        self.subnet = _NET
        self._delays = {}
        self._refusing = set()
        self._rules([], [])

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self._undelay()
        for host in self.hosts:
            host.keeper.kill()
            host.keeper.wait()
        run(["ip", "link", "del", "br0"])
        run(["nft", "delete", "table", "bridge", "lab"])

    def _rules(self, cut, lossy):
        """One transaction: (from, to) address pairs whose packets are dropped, and those that lose a share."""
        pairs = ", ".join(sorted(f"{a} . {b}" for a, b in cut))
        drop = f"ip saddr . ip daddr {{ {pairs} }} drop\n" if cut else ""
        lose = "".join(f"ip saddr {a} ip daddr {b} numgen random mod 1000 < {share} drop\n" for a, b, share in lossy)
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority 0; policy accept;\n{drop}{lose}}}\n"
            for hook in ("forward", "input", "output")
        )
        run(["nft", "-f", "-"], input=f"add table bridge lab\ndelete table bridge lab\ntable bridge lab {{\n{chains}}}\n")
        self._cut, self._lossy = set(cut), list(lossy)

    def cut(self, pairs):
        """Silence, one way, for (from, to) pairs of hosts or addresses: connects hang, open connections stay open."""
        self._rules({*self._cut, *((_address(a), _address(b)) for a, b in pairs)}, self._lossy)

    def split(self, *groups):
        """Hosts of different groups neither hear nor reach one another; a host or client in no group is with everybody."""
        self.cut((a, b) for x in groups for y in groups if x is not y for a in x for b in y)

    def refuse(self, a, b):
        """Connections between the two are reset at once, in both directions."""
        for here, there in ((a, b), (b, a)):
            self._refusing.add(here)
            rule = f"ip saddr {there.address} meta l4proto tcp tcp flags & rst == 0 reject with tcp reset"
            table = f"table inet lab {{\nchain input {{ type filter hook input priority 0; policy accept;\n{rule}\n}}\n}}\n"
            run([*here.prefix, "nft", "-f", "-"], input=table)

    def lose(self, per_mille, hosts=None):
        """Every host (or these), from and to everybody, loses a share of its packets."""
        lossy = {(h.address, o) for h in hosts or self.hosts for o in self._addresses() if o != h.address}
        self._rules(self._cut, [(a, b, per_mille) for a, b in sorted(lossy | {(b, a) for a, b in lossy})])

    def unplug(self, host):
        """No carrier: after a while even the address cannot be resolved."""
        run(["ip", "link", "set", host.port, "down"])

    def delay(self, host, delay_ms, jitter_ms=0):
        """All packets of the host come and go later: a round trip takes twice the delay more."""
        line = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delay_line.py")
        tap = f"d{host.number}"
        run(["ip", "link", "set", host.port, "nomaster"])
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-B", line, host.port, tap, str(delay_ms), str(jitter_ms)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._delays[host] = process
        assert process.stdout.readline() == "ready\n", "no delay line"
        run(["ip", "link", "set", tap, "master", "br0", "up"])

    def _undelay(self):
        for host, process in self._delays.items():
            process.kill()
            process.wait()
            process.stdout.close()
            run(["ip", "link", "set", host.port, "master", "br0"])
        self._delays.clear()

    def heal(self):
        self._rules([], [])
        for host in self._refusing:
            run([*host.prefix, "nft", "delete", "table", "inet", "lab"])
        self._refusing.clear()
        self._undelay()
        for host in self.hosts:
            run(["ip", "link", "set", host.port, "up"])

    def renumber(self, numbers):
        """Other addresses for all hosts, and for this program, on `subnet`; without faults only."""
        for words in ("addr flush dev br0", "neigh flush all", f"addr add {self.subnet}.254/24 dev br0"):
            run(["ip", *words.split()])
        for host, number in zip(self.hosts, numbers):
            host.move(f"{self.subnet}.{number}")

    def _addresses(self):
        return [host.address for host in self.hosts] + [self.CLIENT]


def _address(host):
    return host if isinstance(host, str) else host.address
