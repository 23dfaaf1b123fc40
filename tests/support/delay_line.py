"""delay_line.py PORT TAP DELAY_MS JITTER_MS: carries Ethernet frames between an interface and a new TAP device, later.

For kernels without sch_netem. The frames keep their virtio-net header, because inside one machine checksums are not computed and
large segments not cut before they meet real hardware. Says "ready" when frames flow; ends by a signal.
"""

import collections
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_ETH_P_ALL = 3
_FRAME_MAX = 70000
_QUEUE_MAX = 20000  # frames; beyond it they are lost, as in a router


def main():
    port, tap_name = sys.argv[1], sys.argv[2]
    delay_s, jitter_s = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 1000
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", tap_name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    wire.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    wire.bind((port, _ETH_P_ALL))
    wire.setblocking(False)
    # In each direction frames keep their order, so the due times of a queue never go back.
    ways = [
        (lambda: os.read(tap, _FRAME_MAX), wire.send, collections.deque()),
        (lambda: wire.recv(_FRAME_MAX), lambda frame: os.write(tap, frame), collections.deque()),
    ]
    poll = select.poll()
    poll.register(tap, select.POLLIN)
    poll.register(wire, select.POLLIN)
    print("ready", flush=True)
    while True:
        due = min((queue[0][0] for _, _, queue in ways if queue), default=None)
        poll.poll(None if due is None else max(0.0, due - time.monotonic()) * 1000)
        for receive, send, queue in ways:
            try:
                while len(queue) < _QUEUE_MAX:
                    at = time.monotonic() + delay_s + random.uniform(0, jitter_s)
                    queue.append((max(at, queue[-1][0]) if queue else at, receive()))
            except OSError:  # nothing more to read, or the interface is down
                pass
            while queue and queue[0][0] <= time.monotonic():
                try:
                    send(queue.popleft()[1])
                except OSError:  # a full queue or no carrier: the frame is lost
                    pass


if __name__ == "__main__":
    main()
