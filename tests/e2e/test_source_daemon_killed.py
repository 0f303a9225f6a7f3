"""The source's daemon dies before the target has taken over: whatever was under way is refused, and the guest runs on
at the source once the daemon is back."""

import moving


def run(lab, options):
    guest = moving.start(lab, "orphan")

    def disturb():
        lab.kill_zonepoold(lab.a)
        lab.start_zonepoold(lab.a)

    hop = moving.migrate_disturbed(lab, guest, disturb)
    moving.expect_still_on_source(lab, guest, hop)
    lab.migrate(guest, lab.a)
    guest.expect_progress(lab.b)
    assert guest.errors() == [], guest.errors()[:3]
    return hop.text.splitlines()[-1]
