"""A paused guest moves, too: it is resumed on the target and finds its disk as it left it, and works on."""

import moving


def run(lab, options):
    guest = moving.start(lab, "asleep")
    lab.a.virsh("suspend", guest.name)
    lab.migrate(guest, lab.a)
    assert guest.state(lab.b) == "paused", guest.state(lab.b)
    assert guest.state(lab.a) in ("", "shut off"), guest.state(lab.a)
    lab.b.virsh("resume", guest.name)
    guest.expect_progress(lab.b)
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
