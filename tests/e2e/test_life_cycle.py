"""A domain on a vhost-user disk through all that plain virsh does to it, with the lock driver and the hook told each time."""


from lab.guest import vhost_disk
from lab.host import wait_for


def run(lab, options):
    host = lab.a
    lab.make_pool(host, "tank")
    host.virsh("vol-create-as", "tank", "disk", "256M")
    guest = lab.guest("cycle", [vhost_disk("tank", "disk", "vda")], settings="wl.fill_mib=16 wl.area_mib=32")
    guest.define(host)
    listing = host.path(f"/run/zonepool/domains/{guest.uuid}")

    guest.start(host)
    assert listing.read_text() == "tank/disk\n", listing.read_text()
    guest.expect_progress(host)

    host.virsh("suspend", "cycle")
    host.virsh("resume", "cycle")
    guest.expect_progress(host)

    # libvirtd does not know what happened while it was away; the domain runs on and is announced again.
    listing.unlink()
    host.daemons["libvirtd"].stop()
    lab.start_libvirtd(host)
    assert guest.state(host) == "running", guest.state(host)
    wait_for("the domain's file after libvirtd's restart", listing.exists, 10)
    guest.expect_progress(host)

    host.virsh("managedsave", "cycle", timeout_s=120)
    assert not listing.exists(), "a saved domain is still listed"
    host.virsh("start", "cycle", timeout_s=120)
    assert listing.exists()
    guest.expect_progress(host)

    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"

    # QEMU dies: the volume is free again.
    pid = int(host.path("/run/libvirt/qemu/cycle.pid").read_text())
    host.run("kill", "-KILL", pid)
    wait_for("the domain to be seen as dead", lambda: guest.state(host) == "shut off", 15)
    wait_for("the domain's file to go", lambda: not listing.exists(), 10)
    host.virsh("vol-resize", "disk", "512M", "--pool", "tank")

    # Nothing starts without the daemon, and the text says why.
    lab.kill_zonepoold(host)
    text = host.virsh_refused("start", "cycle")
    assert "zonepoold" in text and "domain 'cycle'" in text, text
    assert not listing.exists(), "a refused start left the domain's file"
    lab.start_zonepoold(host)
    guest.start(host)
    host.virsh("destroy", "cycle")
    wait_for("the domain's file to go", lambda: not listing.exists(), 10)
    return f"{blocks} blocks"
