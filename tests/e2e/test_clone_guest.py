"""A virtual machine on a copy-on-write clone: it sees what the base held, and the base sees nothing of it."""

import os

from lab.guest import vhost_disk
from volumes import MIB, MOUNT, on, read, refused, shown_base, write


def run(lab, options):
    host = lab.a
    lab.make_pool(host, "tank")
    host.virsh("vol-create-as", "tank", "base", "16M")
    content = os.urandom(4 * MIB)
    write(host, "base", content, 12 * MIB)
    host.virsh("vol-create-as", "tank", "boot", "16M", "--backing-vol", "base")
    guest = lab.guest("onclone", [vhost_disk("tank", "boot", "vda")], settings="wl.fill_mib=4 wl.area_mib=8")
    guest.define(host)
    guest.start(host)
    guest.expect_progress(host)
    # In use: cloned as it is at one moment.
    host.virsh("vol-create-as", "tank", "live", "16M", "--backing-vol", "boot")
    assert shown_base(host, "live") == (f"{MOUNT}/boot", "raw")
    assert any(read(host, "live", 4 * MIB)), "the clone of a disk in use has nothing that the guest wrote"
    for name in "boot", "live":
        assert read(host, name, 4 * MIB, 12 * MIB) == content, f"{name} lost what its base held"
    refused(host, "vol-delete", *on("boot"), saying=["boot", "in use"])
    write(host, "base", bytes(8 * MIB))
    host.virsh("vol-delete", *on("base"))
    blocks, errors = guest.sweep()
    assert blocks and errors == 0 and guest.errors() == [], guest.errors()[:3]
    host.virsh("destroy", "onclone")
    for name in "boot", "live":
        assert read(host, name, 4 * MIB, 12 * MIB) == content, f"{name} lost what its base held"
