"""What must be refused is refused with a text that names the culprit, and nothing has changed afterwards."""

import hashlib

import label_version

from lab.guest import vhost_disk
from volumes import refused


def run(lab, options):
    host = lab.a
    checks = [device_with_data, unknown_xml, newer_format]
    for check in checks:
        check(lab, host)
    lab.make_pool(host, "tank")
    host.virsh("vol-create-as", "tank", "disk", "256M")
    guest = lab.guest("user", [vhost_disk("tank", "disk", "vda")], settings="wl.fill_mib=16 wl.area_mib=32")
    guest.define(host)
    guest.start(host)
    in_use = [name_taken, volume_in_use, pool_in_use, target_lacks_pool, target_lacks_space, target_has_other_volume]
    for check in in_use:
        before = picture(host)
        check(lab, host, guest)
        assert picture(host) == before, f"{check.__name__} changed something: {before} -> {picture(host)}"
        guest.expect_progress(host)
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
    return f"{len(checks) + len(in_use)} kinds"


def picture(host):
    """What virsh shows of the pool and its volumes, without what a running guest changes."""
    return (host.virsh("pool-list", "--all"), host.virsh("vol-list", "tank"),
            [line for line in host.virsh("vol-info", "disk", "--pool", "tank").splitlines() if "Allocation" not in line],
            host.virsh("list", "--all", "--name"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- on an idle host


def device_with_data(lab, host):
    """A device with somebody's data is taken only when overwriting is asked for."""
    device = host.path("/srv/data-0.img")
    with open(device, "wb") as image:
        image.truncate(128 << 20)
    host.run("mkswap", "/srv/data-0.img")
    before = digest(device)
    host.virsh("pool-define", host.write("/run/data.xml", lab.pool_xml(host, "data", size="128M", zone="4M", ndevices=1)))
    refused(host, "pool-build", "data", saying=["/srv/data-0.img", "swap"])
    assert digest(device) == before, "a refused pool-build wrote to the device"
    host.virsh("pool-build", "data", "--overwrite")
    host.virsh("pool-start", "data")
    host.virsh("pool-destroy", "data")
    # A pool of our own is data, too.
    before = digest(device)
    refused(host, "pool-build", "data", saying=["/srv/data-0.img", "data"])
    assert digest(device) == before, "a refused pool-build wrote to the device"
    host.virsh("pool-delete", "data")
    host.virsh("pool-undefine", "data")


def unknown_xml(lab, host):
    good = lab.pool_xml(host, "odd", ndevices=1)
    for bad, saying in [
        (good.replace("<zonepool:options>", "<zonepool:options><zonepool:raid level='5'/>"), ["raid"]),
        (good.replace("zone='16M'", "zone='16Q'"), ["zone", "16Q"]),
        (good.replace("zone='16M'", "zone='16M' colour='red'"), ["colour"]),
    ]:
        assert bad != good
        refused(host, "pool-define", host.write("/run/odd.xml", bad), saying=saying)
        assert host.virsh("pool-list", "--all", "--name") == ""


def newer_format(lab, host):
    """Written by a later version: named as such, not touched, not called damaged."""
    lab.make_pool(host, "later", size="128M", zone="4M", ndevices=1)
    host.virsh("pool-destroy", "later")
    device = host.path("/srv/later-0.img")
    label_version.raise_version(device)
    before = digest(device)
    refused(host, "pool-start", "later", saying=["later", "another format"])
    assert digest(device) == before, "a refused pool-start wrote to the device"
    host.virsh("pool-undefine", "later")
    device.unlink()


# --- with a guest running on tank/disk


def name_taken(lab, host, guest):
    refused(host, "vol-create-as", "tank", "disk", "64M", saying=["disk", "exist"])


def volume_in_use(lab, host, guest):
    for argv in ["vol-delete"], ["vol-wipe"], ["vol-resize"]:
        tail = ["512M"] if argv == ["vol-resize"] else []
        refused(host, *argv, "disk", *tail, "--pool", "tank", saying=["disk", "in use"])


def pool_in_use(lab, host, guest):
    refused(host, "pool-destroy", "tank", saying=["disk", "in use"])


def migrate_refused(lab, host, guest, saying):
    hop = lab.migrate(guest, host, check=False)
    assert hop.exit != 0, "the migration was to be refused"
    for word in saying:
        assert word in hop.text, f"expected {word!r} in: {hop.text}"
    assert guest.state(host) == "running"
    assert lab.b.virsh("list", "--all", "--name") == "", "the target kept a domain"


def target_lacks_pool(lab, host, guest):
    migrate_refused(lab, host, guest, ["tank"])


def target_lacks_space(lab, host, guest):
    """Its pool is smaller than what the volume holds."""
    lab.make_pool(lab.b, "tank", size="20M", zone="1M", ndevices=1)
    migrate_refused(lab, host, guest, ["tank", "too full"])
    assert lab.b.virsh("vol-list", "tank") == "", "the target kept a volume"
    lab.b.virsh("pool-destroy", "tank")
    lab.b.virsh("pool-delete", "tank")
    lab.b.virsh("pool-undefine", "tank")
    lab.b.path("/srv/tank-0.img").unlink()


def target_has_other_volume(lab, host, guest):
    """The name is taken there by a volume that is not this one."""
    lab.make_pool(lab.b, "tank")
    lab.b.virsh("vol-create-as", "tank", "disk", "256M")
    before = lab.volume(lab.b, "tank", "disk")
    migrate_refused(lab, host, guest, ["disk"])
    assert lab.volume(lab.b, "tank", "disk")["uuid"] == before["uuid"]
