"""A domain without our disks starts, suspends, resumes and stops on a host whose zonepoold is dead.

The lock driver and the hook are host-wide: a fault of ours must not keep other people's domains from running.
"""

DISK = """    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/><source file='/srv/other.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>"""


def run(lab, options):
    host = lab.a
    lab.kill_zonepoold(host)
    with open(host.path("/srv/other.img"), "wb") as image:
        image.truncate(128 << 20)
    guest = lab.guest("other", [DISK])
    guest.define(host)
    guest.start(host)
    host.virsh("suspend", "other")
    assert guest.state(host) == "paused", guest.state(host)
    host.virsh("resume", "other")
    guest.expect_progress(host)
    assert guest.errors() == [], guest.errors()[:3]
    host.virsh("destroy", "other")
    assert guest.state(host) == "shut off", guest.state(host)
