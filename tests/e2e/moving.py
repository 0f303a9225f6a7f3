"""What the tests of failing migrations share: a guest whose migration takes long enough to be disturbed."""

import threading

from lab.guest import vhost_disk
from lab.host import wait_for


def start(lab, name):
    """A guest on host A that dirties much RAM: copying it takes seconds. Both hosts have the pool."""
    for host in lab.a, lab.b:
        lab.make_pool(host, "tank")
    lab.a.virsh("vol-create-as", "tank", "disk", "1G")
    guest = lab.guest(name, [vhost_disk("tank", "disk", "vda")], settings="wl.fill_mib=32 wl.dirty_mib=16")
    guest.define(lab.a)
    guest.start(lab.a)
    guest.expect_progress(lab.a)
    return guest


def migrate_disturbed(lab, guest, disturb):
    """Starts A -> B with little bandwidth and calls disturb() once RAM is being copied, so after the bulk of the disks
    and before the hand-over; then lets it finish. Returns the Hop, whatever became of it."""
    lab.a.virsh("migrate-setspeed", guest.name, "10")
    result = {}
    mover = threading.Thread(target=lambda: result.update(hop=lab.migrate(guest, lab.a, check=False)))
    mover.start()
    try:
        wait_for("RAM to be copied", lambda: ram_is_copied(lab, guest), 60)
        disturb()
    finally:
        lab.a.virsh("migrate-setspeed", guest.name, "10000", check=False)
        mover.join(100)
    lab.a.virsh("migrate-setspeed", guest.name, "10000")
    return result["hop"]


def ram_is_copied(lab, guest):
    info = lab.a.virsh("domjobinfo", guest.name, check=False)
    return "Memory processed:" in info and "Memory processed:  0.000" not in info


def expect_still_on_source(lab, guest, hop):
    """The migration failed, and the guest goes on where it was as if nothing had been."""
    assert hop.exit != 0, "the migration was to fail, and did not"
    assert guest.state(lab.a) == "running", f"on the source the guest is {guest.state(lab.a)!r}: {hop.text}"
    guest.expect_progress(lab.a)
    assert guest.state(lab.b) in ("", "shut off"), guest.state(lab.b)
    assert not [b for b in guest.heartbeats() if b.host == "B"], "the guest ran on the target"
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
