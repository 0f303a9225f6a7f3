"""Pools and volumes survive restarts of libvirtd and of zonepoold, and what was uploaded comes back unchanged."""

import os
import re

SIZE = 24 << 20


def run(lab, options):
    host = lab.a
    lab.make_pool(host, "tank")
    host.virsh("pool-autostart", "tank")
    host.virsh("vol-create-as", "tank", "disk", str(SIZE))
    # Data, a hole, data.
    content = os.urandom(SIZE // 4) + bytes(SIZE // 2) + os.urandom(SIZE // 4)
    host.path("/srv/up.raw").write_bytes(content)
    host.virsh("vol-upload", "disk", "/srv/up.raw", "--pool", "tank")
    before = picture(host)

    host.daemons["libvirtd"].stop()
    lab.start_libvirtd(host)
    unchanged(host, before, "after a restart of libvirtd")

    host.daemons["zonepoold"].stop()
    lab.start_zonepoold(host)
    unchanged(host, before, "after a restart of zonepoold")

    lab.kill_zonepoold(host)
    host.daemons["libvirtd"].stop()
    lab.start_zonepoold(host)
    lab.start_libvirtd(host)
    unchanged(host, before, "after both")

    host.virsh("vol-download", "disk", "/srv/down.raw", "--pool", "tank")
    assert host.path("/srv/down.raw").read_bytes() == content, "the volume's content changed"
    host.path("/srv/up.raw").unlink()
    host.path("/srv/down.raw").unlink()


def unchanged(host, before, when):
    for was, now in zip(before, picture(host)):
        assert was == now, f"{when}: was {was!r}, is {now!r}"


def picture(host):
    # libvirt does not keep these in a definition.
    definition = lines_but("capacity|allocation|available", host.virsh("pool-dumpxml", "tank", "--inactive"))
    # What is available is less by the catalog's pages, which the first checkpoint makes.
    pool = lines_but("available", host.virsh("pool-dumpxml", "tank"))
    return [definition, pool] + [host.virsh(*argv) for argv in (
        ["pool-list", "--all"], ["vol-list", "tank"], ["vol-info", "disk", "--pool", "tank"],
        ["vol-dumpxml", "disk", "--pool", "tank"])]


def lines_but(names, xml):
    return [line for line in xml.splitlines() if not re.search(f"<({names})", line)]
