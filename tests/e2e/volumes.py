"""What tests of virsh share: refusals, a volume as a file, and what its XML says."""

import os
import re

MIB = 1 << 20
MOUNT = "/run/zonepool/mnt/tank"


def refused(host, *argv, saying):
    """The words of saying must all be in what the user reads."""
    text = host.virsh_refused(*argv)
    for word in saying:
        assert word in text, f"virsh {' '.join(argv)}: expected {word!r} in: {text}"
    return text


def on(volume):
    return [volume, "--pool", "tank"]


def read(host, volume, length=MIB, offset=0):
    """As a program would that knows the volume as a file."""
    with open(host.path(f"{MOUNT}/{volume}"), "rb", buffering=0) as file:
        return os.pread(file.fileno(), length, offset)


def write(host, path, data, offset=0):
    """path: of a volume's file, or its name in pool tank."""
    with open(host.path(path if path.startswith("/") else f"{MOUNT}/{path}"), "r+b", buffering=0) as file:
        assert os.pwrite(file.fileno(), data, offset) == len(data)
        os.fsync(file.fileno())


def number(xml, element):
    return int(re.search(rf"<{element} unit='bytes'>(\d+)</{element}>", xml).group(1))


def shown_base(host, volume):
    """Path and format of <backingStore> in vol-dumpxml, or None."""
    xml = host.virsh("vol-dumpxml", *on(volume))
    part = re.search(r"<backingStore>\s*<path>(.*)</path>\s*<format type='(.*)'/>\s*</backingStore>", xml)
    assert bool(part) == ("backingStore" in xml), xml
    return part.groups() if part else None
