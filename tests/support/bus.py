"""Messages of the cluster bus, made by hand (the grammar stands in cluster/message.cc), and a peer that sends them."""

import socket
import struct

PING, PONG, MEET, FAIL, PUBLISH, AUTH_REQUEST, AUTH_ACK, UPDATE, MFSTART, MODULE, PUBLISHSHARD = range(11)
NAMES = ("ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack", "update", "mfstart", "module", "publishshard")
HEADER_BYTES = 2256
ALL_SLOTS = b"\xff" * 2048
PRIMARY, REPLICA = 1, 2


def message(kind, sender, body=b"", *, epoch=0, config_epoch=0, slots=bytes(2048), primary=bytes(40), port=7000, bus_port=17000,
            flags=PRIMARY, count=0, extensions=0, force=False, signature=b"RCmb", version=1, length=None, ip=b""):  # fmt: skip
    text = signature
    text += struct.pack(">IHHHH", HEADER_BYTES + len(body) if length is None else length, version, port, kind, count)
    text += struct.pack(">QQQ", epoch, config_epoch, 0)
    text += sender.encode() + slots + primary + ip.ljust(46, b"\0") + struct.pack(">H", extensions) + bytes(30)
    text += struct.pack(">HHHBB", 0, bus_port, flags, 0, 2 if force else 0) + bytes(2)
    assert len(text) == HEADER_BYTES
    return text + body


def gossip(node_id, ip, port, flags=PRIMARY):
    return node_id.encode() + bytes(8) + ip.ljust(46, b"\0") + struct.pack(">HHHHH", port, port + 10000, flags, 0, 0)


def publish(channel, text):
    return struct.pack(">II", len(channel), len(text)) + channel + text


def update(config_epoch, node_id, slots):
    return struct.pack(">Q", config_epoch) + node_id.encode() + slots


def attended(server, turns=30):
    """Waits until the node's loop has come round so often that it has dealt with all that was sent to it before."""
    with server.client() as client:
        for _ in range(turns):
            client("PING")


class Peer:
    """A connection to a node's bus port."""

    def __init__(self, server):
        self.socket = socket.create_connection((server.host, server.port + 10000), 60)

    def send(self, data):
        self.socket.sendall(data)

    def answers(self, server):
        """Names of what the node has answered to what was sent before; see `heard`."""
        attended(server)
        return self.heard()

    def heard(self, timeout_s=0.3):
        """Names of the messages that came until nothing came for the time, "closed" when the node hung up."""
        self.socket.settimeout(timeout_s)
        data, names = b"", []
        try:
            while True:
                part = self.socket.recv(1 << 16)
                if not part:
                    names.append("closed")
                    break
                data += part
        except TimeoutError:
            pass
        except ConnectionError:
            names.append("closed")
        while len(data) >= HEADER_BYTES:
            length, _, _, kind = struct.unpack_from(">IHHH", data, 4)
            names.insert(len(names) - (names[-1:] == ["closed"]), NAMES[kind])
            data = data[length:]
        return names

    def close(self):
        self.socket.close()
