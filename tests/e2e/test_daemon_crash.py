"""zonepoold dies under a running guest and is started again: the guest waits, and goes on without an error."""

from lab.guest import vhost_disk


def run(lab, options):
    lab.make_pool(lab.a, "tank")
    lab.a.virsh("vol-create-as", "tank", "disk", "1G")
    guest = lab.guest("survivor", [vhost_disk("tank", "disk", "vda")], settings="wl.fill_mib=32 wl.threads=4 wl.pause_us=0")
    guest.define(lab.a)
    guest.start(lab.a)
    for _ in range(5 if options.full else 2):
        guest.expect_progress(lab.a)
        lab.kill_zonepoold(lab.a)
        lab.start_zonepoold(lab.a)
        guest.expect_progress(lab.a, 30)
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
    return f"longest pause {guest.stall_ms()} ms"
