"""Pools and volumes survive restarts of libvirtd and of zonepoold, and what was uploaded comes back unchanged."""

import os

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
    assert picture(host) == before, f"after a restart of libvirtd: {picture(host)}"

    host.daemons["zonepoold"].stop()
    lab.start_zonepoold(host)
    assert picture(host) == before, f"after a restart of zonepoold: {picture(host)}"

    lab.kill_zonepoold(host)
    host.daemons["libvirtd"].stop()
    lab.start_zonepoold(host)
    lab.start_libvirtd(host)
    assert picture(host) == before, f"after both: {picture(host)}"

    host.virsh("vol-download", "disk", "/srv/down.raw", "--pool", "tank")
    assert host.path("/srv/down.raw").read_bytes() == content, "the volume's content changed"
    host.path("/srv/up.raw").unlink()
    host.path("/srv/down.raw").unlink()


def picture(host):
    return [host.virsh(*argv) for argv in (
        ["pool-list", "--all"], ["pool-dumpxml", "tank", "--inactive"], ["vol-list", "tank"],
        ["vol-info", "disk", "--pool", "tank"], ["vol-dumpxml", "disk", "--pool", "tank"])]
