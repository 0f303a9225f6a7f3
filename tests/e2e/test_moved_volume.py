"""After a migration libvirt still lists the volume on its old host: every verb there says where it is, and leaves it alone."""

from lab.guest import vhost_disk


def run(lab, options):
    for host in lab.a, lab.b:
        lab.make_pool(host, "tank")
    lab.a.virsh("vol-create-as", "tank", "disk", "128M")
    guest = lab.guest("mover", [vhost_disk("tank", "disk", "vda")], settings="wl.fill_mib=8 wl.area_mib=16")
    guest.define(lab.a)
    guest.start(lab.a)
    lab.migrate(guest, lab.a)
    guest.expect_progress(lab.b)

    lab.a.path("/srv/x.raw").write_bytes(bytes(4096))
    on = ["disk", "--pool", "tank"]
    for argv in (["vol-info", *on], ["vol-dumpxml", *on], ["vol-download", *on, "/srv/y.raw"],
                 ["vol-upload", *on, "/srv/x.raw"], ["vol-clone", *on, "copy"]):
        text = lab.a.virsh_refused(*argv)
        assert "disk" in text and "another host" in text, f"virsh {' '.join(argv)}: {text}"
    for argv in ["vol-wipe", *on], ["vol-resize", *on, "256M"], ["vol-delete", *on]:
        text = lab.a.virsh_refused(*argv)
        assert "disk" in text, f"virsh {' '.join(argv)}: {text}"
    guest.expect_progress(lab.b)

    lab.a.virsh("pool-refresh", "tank")
    assert lab.a.virsh("vol-list", "tank") == "", lab.a.virsh("vol-list", "tank")
    # The name is still taken there: the copy is what makes moving back cheap.
    text = lab.a.virsh_refused("vol-create-as", "tank", "disk", "1M")
    assert "disk" in text, text
    lab.b.virsh("pool-refresh", "tank")
    assert "disk" in lab.b.virsh("vol-list", "tank")

    lab.migrate(guest, lab.b)
    guest.expect_progress(lab.a)
    lab.a.virsh("pool-refresh", "tank")
    assert "disk" in lab.a.virsh("vol-list", "tank")
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
    for raw in lab.a.path("/srv").glob("*.raw"):
        raw.unlink()
