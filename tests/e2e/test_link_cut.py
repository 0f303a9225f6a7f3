"""The cable between the hosts is pulled during a migration and plugged again: exactly one host runs the guest."""

import moving
from lab.host import wait_for


def run(lab, options):
    guest = moving.start(lab, "torn")

    def disturb():
        lab.link(False)
        # libvirt gives up after 2 s x 5 without an answer.
        wait_for("the source to give up", lambda: not moving.ram_is_copied(lab, guest), 60, 0.5)
        lab.link(True)

    hop = moving.migrate_disturbed(lab, guest, disturb)
    wait_for("the target to clean up", lambda: guest.state(lab.b) in ("", "shut off"), 60, 0.5)
    moving.expect_still_on_source(lab, guest, hop)
    return hop.text.splitlines()[-1]
