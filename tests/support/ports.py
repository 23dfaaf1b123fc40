"""Free TCP ports for servers under test, below the range the kernel gives to outgoing connections.

None is the number of a slot, so that a reply that names both can be told apart, nor a bus port of the tutorial's nodes
(16381 to 16388). A port is handed out together with port + 10000, where a cluster node listens for its bus. Both stay
locked by this process (an advisory lock on a file), so that test programs running side by side never get the same one.
"""

import fcntl
import os
import random
import socket
import tempfile

_FIRST, _LAST, _BUS_OFFSET = 16400, 22299, 10000
_locks = []


def bindable(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (93, 97, 99):  # A machine without IPv6.
                continue
            return False
    return True


def free_port():
    directory = os.path.join(tempfile.gettempdir(), f"tessera-test-ports-{os.getuid()}")
    os.makedirs(directory, exist_ok=True)
    chance = random.SystemRandom()
    for _ in range(2000):
        port = chance.randint(_FIRST, _LAST)
        lock = open(os.path.join(directory, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if bindable(port) and bindable(port + _BUS_OFFSET):
            _locks.append(lock)
            return port
        lock.close()
    raise RuntimeError("no free port")
