"""A migration that a person aborts leaves the guest running on the source, and can be tried again."""

import moving


def run(lab, options):
    guest = moving.start(lab, "wanted")
    hop = moving.migrate_disturbed(lab, guest, lambda: lab.a.virsh("domjobabort", guest.name))
    moving.expect_still_on_source(lab, guest, hop)
    lab.migrate(guest, lab.a)
    guest.expect_progress(lab.b)
    assert guest.errors() == [], guest.errors()[:3]
