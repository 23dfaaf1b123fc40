"""Just enough of RDB's string encoding to make and to compare DUMP payloads: lengths, integers, LZF, CRC64/Jones."""

import struct

_POLYNOMIAL = 0x95AC9329AC4BC9B5  # CRC64/Jones, reflected.
DUMP_VERSION = 9


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ _POLYNOMIAL if crc & 1 else crc >> 1
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def crc64(data, crc=0):
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _length(data, at):
    """(value, is_encoding, next position)."""
    first = data[at]
    kind = first >> 6
    if kind == 0:
        return first & 0x3F, False, at + 1
    if kind == 1:
        return (first & 0x3F) << 8 | data[at + 1], False, at + 2
    if kind == 3:
        return first & 0x3F, True, at + 1
    if first == 0x80:
        return struct.unpack_from(">I", data, at + 1)[0], False, at + 5
    return struct.unpack_from(">Q", data, at + 1)[0], False, at + 9


def lzf_decompress(data):
    out = bytearray()
    at = 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        start = len(out) - ((control & 0x1F) << 8 | data[at]) - 1
        at += 1
        for index in range(start, start + length + 2):
            out.append(out[index])
    return bytes(out)


def decode_string(data, at):
    value, encoded, at = _length(data, at)
    if not encoded:
        return bytes(data[at : at + value]), at + value
    if value in (0, 1, 2):
        size = 1 << value
        return str(int.from_bytes(data[at : at + size], "little", signed=True)).encode(), at + size
    compressed, _, at = _length(data, at)
    plain, _, at = _length(data, at)
    text = lzf_decompress(data[at : at + compressed])
    assert len(text) == plain, "LZF length"
    return text, at + compressed


def decode_dump(payload):
    """(type byte, value) of a DUMP payload after checking its checksum; other types than strings by their bytes."""
    body, checksum = payload[:-8], int.from_bytes(payload[-8:], "little")
    assert crc64(body) == checksum, "DUMP checksum"
    if payload[0] != 0:
        return payload[0], bytes(payload[1:-10])
    value, end = decode_string(payload, 1)
    assert end == len(payload) - 10, "DUMP length"
    return 0, value


def encode_length(value):
    if value < 64:
        return bytes([value])
    if value < 16384:
        return struct.pack(">H", 0x4000 | value)
    return b"\x80" + struct.pack(">I", value)


def make_dump(value, version=DUMP_VERSION, raw=None):
    """A DUMP payload of a string; `raw` gives the encoded value instead."""
    body = b"\0" + (raw if raw is not None else encode_length(len(value)) + value) + struct.pack("<H", version)
    return body + crc64(body).to_bytes(8, "little")
