#!/usr/bin/env python3
"""Writes the corpus of fuzz_vhost_user: corpus_vhost_user.py tests/fuzz/corpus/vhost_user"""
import pathlib
import struct
import sys

OUT = pathlib.Path(sys.argv[1])
USER = 0x7E0000000000
RING = 0x10000
DESC, AVAIL, USED = RING, RING + 0x1000, RING + 0x2000
HEADER, STATUS, DATA = 0x110000, 0x118000, 0x120000
FEATURES = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28 | 1 << 9 | 1 << 13 | 1 << 14
KICK, MEM, LOG, CALL = 0, 1, 2, 3


def message(request, payload=b"", kind=0, fds=0, flags=0):
    return bytes([0, request, flags, kind << 4 | fds, len(payload)]) + payload


def memory(address, data):
    return bytes([4]) + struct.pack("<I", address)[:3] + bytes([len(data)]) + data


def u64(value):
    return struct.pack("<Q", value)


def state(ring, value):
    return struct.pack("<II", ring, value)


KICKED, RUN = bytes([5, 0]), bytes([6])


def mode(number):
    return bytes([7, number])


def handshake(features=FEATURES):
    table = struct.pack("<II", 1, 0) + struct.pack("<QQQQ", 0, 4 << 20, USER, 0)
    return (message(1) + message(15) + message(16, u64(0x122B)) + message(3) + message(2, u64(features))
            + message(5, table, MEM, 1))


def start(num=16, base=0, log=0):
    address = struct.pack("<IIQQQQ", 0, log, USER + DESC, USER + USED, USER + AVAIL, USED)
    return (message(8, state(0, num)) + message(10, state(0, base)) + message(9, address)
            + message(13, u64(0), CALL, 1) + message(12, u64(0), KICK, 1) + message(18, state(0, 1)))


def desc(address, length, flags, following):
    return struct.pack("<QIHH", address, length, flags, following)


def request(kind, sector, length, write):
    chain = (desc(HEADER, 16, 1, 1) + desc(DATA, length, 1 | (2 if write else 0), 2)
             + desc(STATUS, 1, 2, 0))
    return (memory(HEADER, struct.pack("<IIQ", kind, 0, sector)) + memory(DESC, chain)
            + memory(AVAIL, struct.pack("<HHH", 0, 1, 0)))


def stop():
    return message(18, state(0, 0)) + message(11, state(0, 0)) + RUN


INFLIGHT = struct.pack("<QQHHI", 4096, 0, 1, 16, 0)
CORPUS = {
    "write": handshake() + start() + request(1, 0, 4096, False) + KICKED + RUN + stop(),
    "read_logged": handshake() + start(log=1) + message(6, struct.pack("<QQ", 4096, 0), LOG, 1)
    + message(2, u64(FEATURES | 1 << 26), flags=8) + RUN + request(0, 8, 512, True) + KICKED + RUN + stop(),
    "discard": handshake() + start() + memory(DATA, struct.pack("<QII", 8, 8, 0))
    + request(11, 0, 16, False) + KICKED + RUN,
    "indirect": handshake() + start() + request(1, 0, 512, False)
    + memory(DATA + 4096, desc(HEADER, 16, 1, 1) + desc(DATA, 512, 1, 2) + desc(STATUS, 1, 2, 0))
    + memory(DESC, desc(DATA + 4096, 48, 4, 0)) + KICKED + RUN,
    "slow_drain": handshake() + start() + mode(1) + request(1, 0, 512, False) + KICKED + RUN + stop()
    + handshake() + mode(0) + RUN,
    "held": handshake() + start() + mode(2) + request(1, 0, 512, False) + KICKED + RUN + stop(),
    "inflight": handshake() + message(31, INFLIGHT) + RUN + message(32, INFLIGHT, LOG, 1) + start()
    + request(0, 0, 512, True) + KICKED + RUN,
    "gate": handshake() + mode(3) + start() + request(8, 0, 20, True) + KICKED + RUN + mode(4) + RUN + stop(),
    "config": handshake() + message(24, struct.pack("<III", 0, 57, 0) + bytes(57)) + message(17) + RUN,
    "remap": handshake() + start() + mode(1) + request(0, 0, 512, True) + KICKED + RUN + handshake() + RUN,
}
OUT.mkdir(parents=True, exist_ok=True)
for name, data in CORPUS.items():
    (OUT / name).write_bytes(data)
