"""Makes a pool look as if a later version of zonepool had written to it last (format: pool/root/root.h)."""

import struct

BLOCK = 4096
MAGIC = b"ZPRT"
VERSION_AT, GENERATION_AT, BLOCKS_AT, CRC_AT = 4, 8, 108, 124
LABEL_ZONES_BYTES = 16 << 20  # more than two zones of any pool in these tests


def crc32c(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def raise_version(path):
    """Changes the newest root record of a device, checksum included. The older ones in the ring stay as they are."""
    with open(path, "r+b") as device:
        newest, where = -1, None
        labels = device.read(LABEL_ZONES_BYTES)
        for at in range(0, len(labels), BLOCK):
            if labels[at:at + 4] == MAGIC:
                generation, = struct.unpack_from("<Q", labels, at + GENERATION_AT)
                if generation > newest:
                    newest, where = generation, at
        assert where is not None, f"{path}: no root record found"
        blocks, = struct.unpack_from("<I", labels, where + BLOCKS_AT)
        root = bytearray(labels[where:where + blocks * BLOCK])
        old, = struct.unpack_from("<I", root, CRC_AT)
        struct.pack_into("<I", root, CRC_AT, 0)
        assert crc32c(root) == old, f"{path}: the root record's checksum is not where this test thinks"
        version, = struct.unpack_from("<H", root, VERSION_AT)
        struct.pack_into("<H", root, VERSION_AT, version + 1)
        struct.pack_into("<I", root, CRC_AT, crc32c(root))
        device.seek(where)
        device.write(root)
