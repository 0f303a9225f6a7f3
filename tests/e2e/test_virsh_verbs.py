"""Every virsh verb for pools and volumes does what it says, and what is refused is refused in words."""

import os
import signal
import time

from volumes import MIB, on, refused


def run(lab, options):
    host = lab.a
    pool_is_made(lab, host)
    sources_are_found(host)
    volume_is_made(host)
    bytes_go_in_and_out(host)
    volume_is_cloned(host)
    volume_grows(host)
    volume_is_wiped_and_deleted(host)
    wishes_that_cannot_be_met(host)
    open_file_keeps_volume(host)
    disk_of_type_volume(lab, host)
    daemon_away(lab, host)
    if options.full:
        daemon_silent(host)
    pool_is_unmade(host)


def facts(host, *argv):
    """"Key: value" lines as a dict."""
    lines = host.virsh(*argv).splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def put(host, name, content):
    host.path(f"/srv/{name}").write_bytes(content)
    return f"/srv/{name}"


def download(host, volume, *options):
    host.virsh("vol-download", *on(volume), "/srv/down.raw", *options)
    return host.path("/srv/down.raw").read_bytes()


def pool_is_made(lab, host):
    host.virsh("pool-define", host.write("/run/tank.xml", lab.pool_xml(host, "tank")))
    refused(host, "pool-start", "tank", saying=["tank"])
    host.virsh("pool-build", "tank", "--no-overwrite")
    refused(host, "pool-build", "tank", "--no-overwrite", saying=["/srv/tank-0.img"])
    host.virsh("pool-build", "tank", "--overwrite")
    host.virsh("pool-start", "tank")
    host.virsh("pool-autostart", "tank")
    info = facts(host, "pool-info", "tank")
    assert info["State"] == "running" and info["Autostart"] == "yes" and info["Persistent"] == "yes", info
    xml = host.virsh("pool-dumpxml", "tank")
    for part in ("<zonepool:device path='/srv/tank-0.img' size='1073741824' zone='16777216'/>",
                 "<zonepool:checksum enabled='yes'/>", "<zonepool:peer host="):
        assert part in xml, xml
    capacity = int(xml.split("<capacity unit='bytes'>")[1].split("<")[0])
    assert MIB < capacity < 2 << 30, capacity
    # What is written down is what was read: a definition by its own dump changes nothing.
    host.virsh("pool-define", host.write("/run/tank.xml", host.virsh("pool-dumpxml", "tank", "--inactive")))
    assert "type='vstorage' supported='yes'" in host.virsh("pool-capabilities")
    host.virsh("pool-refresh", "tank")


def sources_are_found(host):
    spec = host.write("/run/spec.xml", "<source><dir path='/srv'/></source>")
    found = host.virsh("find-storage-pool-sources", "vstorage", spec)
    for part in "<name>tank</name>", "<device path='/srv/tank-0.img'/>", "<device path='/srv/tank-1.img'/>":
        assert part in found, found
    spec = host.write("/run/spec.xml", "<source/>")
    refused(host, "find-storage-pool-sources", "vstorage", spec, saying=["names nothing to look at"])
    host.virsh("find-storage-pool-sources", "vstorage")


def volume_is_made(host):
    host.virsh("vol-create-as", "tank", "v1", "64M")
    host.virsh("vol-create", "tank", host.write(
        "/run/v2.xml", "<volume><name>v2</name><capacity unit='bytes'>1048577</capacity></volume>"))
    info = facts(host, "vol-info", *on("v1"))
    assert info["Type"] == "file" and info["Capacity"] == "64.00 MiB" and info["Allocation"] == "0.00 B", info
    xml = host.virsh("vol-dumpxml", *on("v2"))
    assert "<capacity unit='bytes'>1049088</capacity>" in xml, f"rounded up to sectors: {xml}"
    assert "<path>/run/zonepool/mnt/tank/v2</path>" in xml, xml
    assert host.virsh("vol-path", *on("v1")) == "/run/zonepool/mnt/tank/v1"
    assert host.virsh("vol-name", "/run/zonepool/mnt/tank/v1") == "v1"
    key = host.virsh("vol-key", *on("v1"))
    host.virsh("pool-refresh", "tank")
    assert host.virsh("vol-key", *on("v1")) == key, "a refresh changed the key"
    names = [line.split()[0] for line in host.virsh("vol-list", "tank").splitlines()]
    assert sorted(names) == ["v1", "v2"], names


def bytes_go_in_and_out(host):
    content = os.urandom(3 * MIB) + bytes(5 * MIB) + os.urandom(4 * MIB + 512)
    host.virsh("vol-upload", *on("v1"), put(host, "up.raw", content))
    whole = download(host, "v1")
    assert len(whole) == 64 * MIB and whole[:len(content)] == content and not any(whole[len(content):])
    host.virsh("vol-upload", *on("v1"), put(host, "up.raw", b"x" * 4096), "--offset", str(MIB), "--length", "4096")
    assert download(host, "v1", "--offset", str(MIB - 1), "--length", "4098") == \
        content[MIB - 1:MIB] + b"x" * 4096 + content[MIB + 4096:MIB + 4097]
    refused(host, "vol-upload", *on("v1"), "/srv/up.raw", "--offset", str(64 * MIB), "--length", "1",
            saying=["v1", "beyond its end"])
    refused(host, "vol-upload", *on("v2"), put(host, "long.raw", bytes(2 * MIB)), saying=["v2"])
    # A volume is not cut off as a file is, so the holes of a sparse upload would keep what was there.
    refused(host, "vol-upload", *on("v1"), "/srv/up.raw", "--sparse", saying=["sparse upload", "without --sparse"])
    assert download(host, "v1", "--sparse")[:MIB] == content[:MIB]
    assert host.path("/srv/down.raw").stat().st_blocks * 512 < 16 * MIB, "a sparse download stored the holes"


def volume_is_cloned(host):
    original = download(host, "v1")
    host.virsh("vol-clone", *on("v1"), "copy")
    assert download(host, "copy") == original
    assert host.virsh("vol-key", *on("copy")) != host.virsh("vol-key", *on("v1"))
    key = host.virsh("vol-key", *on("copy"))
    host.virsh("pool-refresh", "tank")
    assert host.virsh("vol-key", *on("copy")) == key, "a refresh changed a clone's key"
    refused(host, "vol-clone", *on("v1"), "v2", saying=["v2"])
    assert "1.00 MiB" in host.virsh("vol-info", *on("v2")), "a refused clone touched the volume of that name"


def volume_grows(host):
    host.virsh("vol-resize", *on("v2"), "8M")
    assert facts(host, "vol-info", *on("v2"))["Capacity"] == "8.00 MiB"
    host.virsh("vol-resize", *on("v2"), "1M", "--delta")
    assert facts(host, "vol-info", *on("v2"))["Capacity"] == "9.00 MiB"
    # libvirt refuses to go below what it shows as allocated, which the refused upload above may have left.
    host.virsh("vol-resize", *on("v2"), "16M", "--allocate")
    assert facts(host, "vol-info", *on("v2"))["Allocation"] == "16.00 MiB"
    host.virsh("vol-create-as", "tank", "thick", "8M", "--allocation", "8M")
    assert facts(host, "vol-info", *on("thick"))["Allocation"] == "8.00 MiB"
    host.virsh("vol-delete", *on("thick"))
    host.virsh("vol-create-as", "tank", "thin", "8M")
    host.virsh("vol-resize", *on("thin"), "4M", "--shrink")
    assert facts(host, "vol-info", *on("thin"))["Capacity"] == "4.00 MiB"
    refused(host, "vol-resize", *on("thin"), "2M", saying=["shrink"])
    host.virsh("vol-delete", *on("thin"))


def volume_is_wiped_and_deleted(host):
    host.virsh("vol-wipe", *on("copy"))
    assert not any(download(host, "copy")), "wiped, and not zeroes"
    assert facts(host, "vol-info", *on("copy"))["Allocation"] == "0.00 B"
    refused(host, "vol-wipe", *on("copy"), "--algorithm", "nnsa", saying=["zero, trim"])
    host.virsh("vol-delete", *on("copy"))
    refused(host, "vol-info", *on("copy"), saying=["copy"])
    host.virsh("vol-create-as", "tank", "copy", "1M")
    host.virsh("vol-delete", *on("copy"))


def wishes_that_cannot_be_met(host):
    refused(host, "vol-create-as", "tank", "v1", "1M", saying=["v1"])
    refused(host, "vol-create-as", "tank", "a b", "1M", saying=["a b", "allowed"])
    refused(host, "vol-create-as", "tank", "q", "1M", "--format", "qcow2", saying=["qcow2", "allowed: raw"])
    refused(host, "vol-create-as", "tank", "p", "1M", "--prealloc-metadata", saying=["preallocation"])
    refused(host, "vol-create-as", "tank", "b", "1M", "--backing-vol", "v1", saying=["v1", "at least its"])
    names = host.virsh("vol-list", "tank")
    assert len(names.splitlines()) == 2, names


def open_file_keeps_volume(host):
    """Somebody writes through the mount: everything that would pull the volume away is refused."""
    with open(host.path("/run/zonepool/mnt/tank/v2"), "r+b", buffering=0) as volume:
        volume.write(b"z" * 512)
        for argv in (["vol-delete", *on("v2")], ["vol-wipe", *on("v2")], ["vol-resize", *on("v2"), "32M"],
                     ["vol-upload", *on("v2"), "/srv/up.raw"], ["pool-destroy", "tank"]):
            refused(host, *argv, saying=["v2", "in use"])
        assert facts(host, "pool-info", "tank")["State"] == "running"
    host.virsh("vol-wipe", *on("v2"))


def disk_of_type_volume(lab, host):
    host.virsh("vol-create-as", "tank", "boot", "64M")
    disk = """    <disk type='volume' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/><source pool='tank' volume='boot'/>
      <target dev='vda' bus='virtio'/>
    </disk>"""
    guest = lab.guest("byvolume", [disk], settings="wl.fill_mib=8 wl.area_mib=16")
    guest.define(host)
    guest.start(host)
    guest.expect_progress(host)
    refused(host, "vol-delete", *on("boot"), saying=["boot", "in use"])
    host.virsh("destroy", "byvolume")
    assert guest.errors() == [], guest.errors()[:3]
    host.virsh("vol-delete", *on("boot"))


def daemon_away(lab, host):
    """The pool stays what it was; every verb that needs the daemon says so."""
    before = host.virsh("vol-list", "tank")
    lab.kill_zonepoold(host)
    for argv in (["vol-info", *on("v1")], ["vol-create-as", "tank", "n", "1M"], ["vol-delete", *on("v1")],
                 ["vol-download", *on("v1"), "/srv/down.raw"], ["pool-destroy", "tank"]):
        refused(host, *argv, saying=["zonepoold"])
    host.virsh("pool-refresh", "tank")
    assert host.virsh("vol-list", "tank") == before, "a refresh without the daemon lost the volumes"
    assert facts(host, "pool-info", "tank")["State"] == "running"
    lab.start_zonepoold(host)
    host.virsh("pool-refresh", "tank")
    assert host.virsh("vol-list", "tank") == before


def daemon_silent(host):
    """A daemon that runs and does not answer costs the caller a bounded time, and others nothing."""
    before = host.virsh("vol-list", "tank")
    host.virsh("pool-create-as", "plain", "dir", "--target", "/srv")
    daemon = host.daemons["zonepoold"]
    daemon.kill(signal.SIGSTOP)
    try:
        started = time.monotonic()
        refused(host, "vol-info", *on("v1"), saying=["zonepoold"])
        host.virsh("pool-refresh", "tank")
        assert time.monotonic() - started < 60
        assert host.virsh("vol-list", "tank") == before
        host.virsh("pool-refresh", "plain")
    finally:
        daemon.kill(signal.SIGCONT)
        os.kill(daemon.nsenter.pid, signal.SIGCONT)  # it stops with its child
    host.virsh("vol-info", *on("v1"))
    host.virsh("pool-destroy", "plain")


def pool_is_unmade(host):
    host.virsh("pool-destroy", "tank")
    assert facts(host, "pool-info", "tank")["State"] == "inactive"
    host.virsh("pool-start", "tank")
    assert len(host.virsh("vol-list", "tank").splitlines()) == 2
    host.virsh("pool-destroy", "tank")
    host.virsh("pool-delete", "tank")
    refused(host, "pool-start", "tank", saying=["tank"])
    host.virsh("pool-autostart", "tank", "--disable")
    host.virsh("pool-undefine", "tank")
    assert host.virsh("pool-list", "--all", "--name") == ""
    for image in host.path("/srv").glob("*.raw"):
        image.unlink()
