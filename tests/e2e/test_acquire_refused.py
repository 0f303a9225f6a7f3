"""The target's daemon is dead when it must take over: its lock driver refuses, and the guest runs on at the source.

Afterwards, with the daemon back, the same migration succeeds.
"""

import moving


def run(lab, options):
    guest = moving.start(lab, "refused")
    hop = moving.migrate_disturbed(lab, guest, lambda: lab.kill_zonepoold(lab.b))
    moving.expect_still_on_source(lab, guest, hop)
    lab.start_zonepoold(lab.b)
    lab.migrate(guest, lab.a)
    guest.expect_progress(lab.b)
    assert guest.errors() == [], guest.errors()[:3]
    return hop.text.splitlines()[-1]
