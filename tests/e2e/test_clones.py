"""Copy-on-write clones by virsh: made each way, each its own, and what libvirt shows of them; snapshots and copies."""

import os

from volumes import MIB, MOUNT, number, on, read, refused, shown_base, write


def run(lab, options):
    host = lab.a
    lab.make_pool(host, "tank")
    content = base_image(host)
    clones_by_every_way(host, content)
    base_may_change_and_go(host, content)
    refusals(lab, host)
    volume_goes_with_its_snapshots(host)
    twenty_clones(lab, host)
    copies_by_the_pool(lab, host)


def create_by_xml(host, name, base, more=""):
    xml = f"<volume><name>{name}</name>{more}<backingStore><path>{base}</path></backingStore></volume>"
    host.virsh("vol-create", "tank", host.write(f"/run/{name}.xml", xml))


def base_image(host):
    host.virsh("vol-create-as", "tank", "base", "64M")
    content = os.urandom(4 * MIB)
    write(host, "base", content)
    return content


def clones_by_every_way(host, content):
    """--backing-vol by name and path, <backingStore> with and without a size, vol-clone, vol-create-from."""
    host.virsh("vol-create-as", "tank", "as-name", "64M", "--backing-vol", "base")
    host.virsh("vol-create-as", "tank", "as-path", "96M", "--backing-vol", f"{MOUNT}/base",
               "--backing-vol-format", "raw")
    create_by_xml(host, "xml-path", f"{MOUNT}/base")
    create_by_xml(host, "xml-name", "base", "<capacity unit='MiB'>64</capacity>")
    host.virsh("vol-clone", *on("base"), "cloned")
    host.virsh("vol-create-from", "tank", host.write("/run/from.xml", "<volume><name>from</name></volume>"),
               "base", "--inputpool", "tank")
    clones = ["as-name", "as-path", "xml-path", "xml-name", "cloned", "from"]
    for name in clones:
        assert read(host, name, 4 * MIB) == content, f"{name} does not begin as its base is"
        assert shown_base(host, name) == (f"{MOUNT}/base", "raw"), name
        xml = host.virsh("vol-dumpxml", *on(name))
        assert number(xml, "allocation") == 0, f"blocks were copied: {xml}"
        assert number(xml, "capacity") == (96 if name == "as-path" else 64) * MIB, xml
    assert shown_base(host, "base") is None
    assert not any(read(host, "as-path", 32 * MIB, 64 * MIB)), "what a clone has more than its base is not zeroes"
    host.virsh("pool-refresh", "tank")
    assert shown_base(host, "as-name") == (f"{MOUNT}/base", "raw"), "a refresh lost the base"

    # What one writes the others do not see; a clone of a clone is one, too.
    for i, name in enumerate(clones):
        write(host, name, bytes([i + 1]) * 8192, 4096 * i)
    for i, name in enumerate(clones):
        want = bytearray(content[:MIB])
        want[4096 * i:4096 * i + 8192] = bytes([i + 1]) * 8192
        assert read(host, name) == want, f"{name} has what another wrote"
    assert read(host, "base", 4 * MIB) == content, "a clone wrote to its base"
    host.virsh("vol-clone", *on("cloned"), "second")
    assert shown_base(host, "second") == (f"{MOUNT}/cloned", "raw")
    assert read(host, "second") == read(host, "cloned")
    host.virsh("vol-delete", *on("second"))


def base_may_change_and_go(host, content):
    before = read(host, "from")
    write(host, "base", bytes(4 * MIB))
    assert read(host, "from") == before and read(host, "as-name", MIB, MIB) == content[MIB:2 * MIB]
    host.virsh("vol-delete", *on("base"))
    assert read(host, "from") == before and read(host, "as-name", MIB, MIB) == content[MIB:2 * MIB]
    assert shown_base(host, "from") is None, "a base is shown that is not there any more"
    for name in "as-path", "xml-path", "xml-name", "cloned", "from":
        host.virsh("vol-delete", *on(name))
    assert read(host, "as-name", MIB, MIB) == content[MIB:2 * MIB], "the last clone lost what it shared"


def refusals(lab, host):
    before = host.virsh("vol-list", "tank")
    lab.make_pool(host, "other", size="128M", zone="4M", ndevices=1)
    host.virsh("vol-create-as", "other", "image", "8M")
    create = ["vol-create-as", "tank", "x"]
    refused(host, *create, "32M", "--backing-vol", "as-name",
            saying=["x", "as-name", "at least its 67108864 bytes"])
    refused(host, *create, "64M", "--backing-vol", "as-name", "--backing-vol-format", "qcow2",
            saying=["x", "<backingStore><format>: 'qcow2'; allowed: raw"])
    refused(host, *create, "64M", "--backing-vol", "/run/zonepool/mnt/other/image",
            saying=["'/run/zonepool/mnt/other/image' is of another pool", "a volume of pool 'tank'"])
    for base, saying in [("/srv/tank-0.img", "is no volume of zonepool"), (f"{MOUNT}/none", "no volume 'none'"),
                         (f"{MOUNT}/as-name@none", "no snapshot 'none'"), ("a b", "is no name of a volume")]:
        xml = f"<volume><name>x</name><backingStore><path>{base}</path></backingStore></volume>"
        refused(host, "vol-create", "tank", host.write("/run/x.xml", xml), saying=[saying])
    refused(host, "vol-create-from", "tank", host.write("/run/x.xml", "<volume><name>x</name></volume>"), "image",
            "--inputpool", "other", saying=["image", "of another pool"])
    refused(host, *create, "64M", "--backing-vol", "none", saying=["none"])
    assert host.virsh("vol-list", "tank") == before, "something refused left a volume"


def volume_goes_with_its_snapshots(host):
    """Of a snapshot clones are made by its name; it goes with its volume only when that is asked for."""
    first = read(host, "as-name")
    host.run("zonepool", "snapshot", "create", "tank/as-name", "monday")
    write(host, "as-name", os.urandom(MIB))
    create_by_xml(host, "was", f"{MOUNT}/as-name@monday")
    assert read(host, "was") == first and shown_base(host, "was") == (f"{MOUNT}/as-name@monday", "raw")
    refused(host, "vol-delete", *on("as-name"),
            saying=["tank/as-name has 1 snapshot: monday", "zonepool snapshot delete", "--delete-snapshots"])
    assert "as-name" in host.virsh("vol-list", "tank")
    host.virsh("vol-delete", *on("as-name"), "--delete-snapshots")
    assert "as-name" not in host.virsh("vol-list", "tank")
    assert read(host, "was") == first and shown_base(host, "was") is None
    host.virsh("vol-delete", *on("was"))


def twenty_clones(lab, host):
    host.virsh("vol-create-as", "tank", "image", "64M")
    content = os.urandom(MIB)
    write(host, "image", content)
    commands = "".join(f"vol-create-as tank c{i} 64M --backing-vol image;" for i in range(20))
    host.virsh(commands)
    held = lab.zonepool(host, "pool", "status", "tank")["allocated_bytes"]
    assert held == MIB, f"twenty clones of 1 MiB hold {held} bytes"
    for i in range(20):
        assert read(host, f"c{i}") == content
        assert shown_base(host, f"c{i}") == (f"{MOUNT}/image", "raw")
    write(host, "c7", b"7" * 4096)
    assert all(read(host, f"c{i}", 4096) == (b"7" * 4096 if i == 7 else content[:4096]) for i in range(20))
    host.virsh("vol-delete image --pool tank;" + "".join(f"vol-delete c{i} --pool tank;" for i in range(20) if i != 3))
    assert read(host, "c3") == content


def copies_by_the_pool(lab, host):
    """<zonepool:copies> says how many copies new volumes keep; allocation is of one, physical of all."""
    xml = lab.pool_xml(host, "pair", size="128M", zone="4M")
    pair = xml.replace("<zonepool:peer", "<zonepool:copies default='2'/>\n    <zonepool:peer")
    refused(host, "pool-define", host.write("/run/pair.xml", pair.replace("'2'", "'4'")),
            saying=["<zonepool:copies>", "default='4'; allowed: a whole number from 1 to 3"])
    host.virsh("pool-define", host.write("/run/pair.xml", pair))
    host.virsh("pool-build", "pair")
    host.virsh("pool-start", "pair")
    pool = host.virsh("pool-dumpxml", "pair")
    assert "<zonepool:copies default='2'/>" in pool, pool
    one, two, three = lab.zonepool(host, "pool", "status", "pair")["redundancy"]["available_by_copies"]
    assert number(pool, "available") == two and one > 1.9 * two and three == 0, (pool, one, two, three)
    host.virsh("vol-create-as", "pair", "v", "16M")
    write(host, "/run/zonepool/mnt/pair/v", os.urandom(MIB))
    volume = host.virsh("vol-dumpxml", "v", "--pool", "pair")
    assert number(volume, "allocation") == MIB and number(volume, "physical") == 2 * MIB, volume
    assert lab.volume(host, "pair", "v")["copies"] == 2
    images = [f"/srv/pair-{i}.img" for i in range(2)]
    host.run("zonepool", "pool", "import", "pair", *images, "--copies", "1")
    host.virsh("pool-refresh", "pair")
    pool = host.virsh("pool-dumpxml", "pair")
    # volumes of one copy beside those of two: each kind has open groups, which room is kept for
    assert "<zonepool:copies default='1'/>" in pool and number(pool, "available") > 1.7 * (two - MIB), pool
