#!/usr/bin/env python3
"""The command line tool against a live daemon: the life of pools and volumes, refusals that change
nothing, restarts, kills. Usage: test_cli.py ZONEPOOLD ZONEPOOL [test...]"""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(__file__))
from zpd import MIB, Daemon, refused, run_tests, wait_for  # noqa: E402


def make_pool(d, name="tank", devices=2, size="256M", *more):
    words = []
    for i in range(devices):
        words += ["--device", f"{d.dir}/{name}{i}.img,size={size},zone=4M"]
    return d.json("pool", "create", name, *words, *more)


def has_mount(d):
    return os.path.ismount(d.run / "mnt")


def no_mount(d):
    if not has_mount(d):
        print("no FUSE here: left out")
    return not has_mount(d)


@contextlib.contextmanager
def started(zonepoold, zonepool):
    with Daemon(zonepoold, zonepool) as d:
        d.start()
        yield d


def write_file(path, data, offset=0):
    fd = os.open(path, os.O_WRONLY)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def read_file(path, length, offset=0):
    fd = os.open(path, os.O_RDONLY)
    try:
        out = b""
        while len(out) < length:
            got = os.pread(fd, length - len(out), offset + len(out))
            assert got
            out += got
        return out
    finally:
        os.close(fd)


def close_dead(fd):
    """Closing a file whose mount has gone is an error that closes it all the same."""
    try:
        os.close(fd)
    except OSError:
        pass


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def test_life_of_a_pool(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        assert d.json("pool", "list") == {"pools": []}
        pool = make_pool(d)
        assert pool["state"] == "active" and pool["nvolumes"] == 0
        assert len(pool["devices"]) == 2 and pool["capacity_bytes"] > 300 * MIB
        assert json.load(open(d.state / "pools/tank.json"))["uuid"] == pool["uuid"]

        d.cli("volume", "create", "tank/a", "64M")
        text = d.cli("pool", "status", "tank")
        assert "volumes:    1" in text and "tank1.img" in text
        assert re.search(r"tables: +\S+ \S+, \S+ \S+ in RAM of at most ", text), text
        assert d.json("pool", "status", "tank")["table"]["cache_cap_bytes"] >= 16 * MIB
        assert "64.0 MiB" in d.cli("volume", "list")
        found = d.json("pool", "scan", d.dir / "tank0.img", d.dir / "tank1.img", "/dev/null")
        assert [p["name"] for p in found["pools"]] == ["tank"] and found["pools"][0]["imported"]

        d.cli("pool", "export", "tank")
        assert d.json("pool", "list") == {"pools": []}
        assert not (d.state / "pools/tank.json").exists() and not (d.run / "tank").exists()
        found = d.json("pool", "scan", d.dir / "tank1.img")["pools"][0]
        assert found["name"] == "tank" and not found["complete"] and not found["imported"]

        again = d.json("pool", "import", "tank", d.dir / "tank1.img", d.dir / "tank0.img")
        assert again["uuid"] == pool["uuid"] and again["nvolumes"] == 1
        # Asked twice it is done once.
        assert d.json("pool", "import", "tank", d.dir / "tank0.img", d.dir / "tank1.img") == \
            d.json("pool", "status", "tank")
        d.cli("pool", "export", "tank")
        d.cli("pool", "destroy", "tank", d.dir / "tank0.img", d.dir / "tank1.img")
        assert d.json("pool", "scan", d.dir / "tank0.img", d.dir / "tank1.img") == {"pools": []}
        make_pool(d)  # plain files again: nothing needs to be overwritten
        assert d.stop() == 0
        names = [e["event"] for e in d.events()]
        for event in ("daemon-ready", "pool-created", "pool-imported", "volume-created",
                      "pool-exported", "pool-destroyed", "daemon-stopped"):
            assert event in names, event


def test_refused_pool_creation_changes_nothing(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        good, bad = d.dir / "good.img", d.dir / "bad.img"
        good.write_bytes(bytes(72 * MIB))
        bad.write_bytes(bytes(72 * MIB) + b"precious" + bytes(1000))
        before = digest(good), digest(bad)
        size = f"{d.dir}/new.img,size=128M"

        refused("holds data", d.cli, "pool", "create", "p", "--device", size, "--device", good,
                "--device", bad)
        refused("at least 16", d.cli, "pool", "create", "p", "--device", good, "--device",
                f"{d.dir}/new.img,size=128M,zone=64M")
        refused("give the size", d.cli, "pool", "create", "p", "--device", good, "--device",
                d.dir / "new.img")
        refused("named twice", d.cli, "pool", "create", "p", "--device", good, "--device", good)
        refused("capacity", d.cli, "pool", "create", "p", "--device", f"{good},zone=1M,capacity=2M")
        for name in ("a/b", ".a", "-a", "", "x" * 64, "a b", "mnt", "domains", "zonepoold.sock"):
            no = d.call("pool.create", name=name, devices=[{"path": str(good)}])
            assert no["error"]["code"] == "EINVAL" and "name" in no["error"]["message"], no
        for params, says in (({"name": "p", "devices": []}, "at least one"),
                             ({"name": "p", "devices": ["x"]}, "an object"),
                             ({"name": "p", "devices": [{"path": "x"}]}, "absolute"),
                             ({"name": "p", "devices": [{"path": str(good), "sise": 1}]}, "'sise'"),
                             ({"name": "p"}, "'devices' is missing"),
                             ({"name": "p", "devices": [{"path": str(good)}], "peers": ["nope"]},
                              "HOST:PORT"),
                             ({"name": "p", "devices": [{"path": str(good)}],
                               "options": {"colour": 1}}, "'colour'")):
            no = d.call("pool.create", **params)
            assert no["error"]["code"] == "EINVAL" and says in no["error"]["message"], no
        assert (digest(good), digest(bad)) == before and not (d.dir / "new.img").exists()
        assert d.json("pool", "list") == {"pools": []} and not os.listdir(d.state / "pools")

        make_pool(d, "tank")
        refused("imported already", make_pool, d, "tank")
        refused("in use by pool tank", d.cli, "pool", "create", "other", "--overwrite", "--device",
                d.dir / "tank0.img")
        d.cli("pool", "export", "tank")
        refused("holds a zonepool device", d.cli, "pool", "create", "other", "--device",
                d.dir / "tank0.img")
        d.cli("pool", "import", "tank", d.dir / "tank0.img", d.dir / "tank1.img")
        d.cli("pool", "create", "p", "--overwrite", "--device", bad)


def test_refused_imports_and_destructions(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d, "a")
        make_pool(d, "b")
        a, b = ([d.dir / f"{n}{i}.img" for i in range(2)] for n in "ab")
        refused("is imported", d.cli, "pool", "destroy", "a", *a)
        refused("in use by pool a", d.cli, "pool", "import", "c", *a)
        refused("no pool 'c'", d.cli, "pool", "export", "c")
        refused("no pool 'c'", d.cli, "pool", "status", "c")
        d.cli("pool", "export", "a")
        d.cli("pool", "export", "b")
        refused("belongs to pool 'a', not 'c'", d.cli, "pool", "import", "c", *a)
        refused("belongs to pool 'b', not 'a'", d.cli, "pool", "import", "a", a[0], b[1])
        refused("missing", d.cli, "pool", "import", "a", a[0])
        refused("none.img", d.cli, "pool", "import", "a", a[0], d.dir / "none.img")
        refused("belongs to pool 'a', not 'b'", d.cli, "pool", "destroy", "b", b[0], a[0])
        d.cli("pool", "import", "a", *a)
        d.cli("pool", "import", "b", *b)
        assert sorted(os.listdir(d.state / "pools")) == ["a.json", "b.json"]


def test_reservations_and_sizes(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        capacity = make_pool(d)["capacity_bytes"]
        v = d.json("volume", "create", "tank/a", "64M", "--reserve", "32M")
        assert v["reserved_bytes"] == 32 * MIB and v["allocated_bytes"] == 0 and v["held_requests"] == 0
        assert d.json("pool", "status", "tank")["reserved_bytes"] == 32 * MIB
        assert re.search(r"reserved: +32.0 MiB", d.cli("volume", "info", "tank/a"))
        assert "32.0 MiB" in d.cli("volume", "list", "tank")
        # What does not fit is refused, by name and with a remedy, and nothing is changed.
        refused("reserve less", d.cli, "volume", "create", "tank/b", str(2 * capacity // 512 * 512),
                "--reserve", str(capacity // 512 * 512))
        refused("at most the volume's size", d.cli, "volume", "create", "tank/b", "1M", "--reserve", "2M")
        refused("at most the volume's size", d.cli, "volume", "reserve", "tank/a", "65M")
        refused("multiple of 512", d.cli, "volume", "reserve", "tank/a", "1000")
        refused("no volume 'b'", d.cli, "volume", "reserve", "tank/b", "1M")
        assert d.json("volume", "info", "tank/a") == v
        assert d.json("volume", "reserve", "tank/a", "64M")["reserved_bytes"] == 64 * MIB
        assert d.json("volume", "resize", "tank/a", "128M")["reserved_bytes"] == 64 * MIB
        w = d.json("volume", "resize", "tank/a", "32M", "--shrink")
        assert w["size_bytes"] == w["reserved_bytes"] == 32 * MIB
        w = d.json("volume", "resize", "tank/a", "48M", "--reserve", "48M")
        assert w["size_bytes"] == w["reserved_bytes"] == 48 * MIB
        # A snapshot needs it once more.
        big = capacity * 2 // 3 // MIB * MIB
        d.cli("volume", "resize", "tank/a", str(big), "--reserve", str(big))
        d.cli("snapshot", "create", "tank/a", "empty")  # which keeps nothing
        d.cli("snapshot", "delete", "tank/a", "empty")
        refused("cannot shrink", d.cli, "volume", "resize", "tank/a", "32M")
        d.kill()
        d.start()
        assert d.json("volume", "info", "tank/a")["reserved_bytes"] == big
        assert d.json("pool", "status", "tank")["unbacked_bytes"] == 0
        assert d.json("volume", "reserve", "tank/a", "0")["reserved_bytes"] == 0
        assert d.json("pool", "status", "tank")["reserved_bytes"] == 0


def test_shrunk_volume_grows_with_zeroes(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "8M")["path"]
        if no_mount(d):
            return
        write_file(path, b"x" * (8 * MIB))
        with open(path, "rb"):
            refused("tank/a", d.cli, "volume", "resize", "tank/a", "1M", "--shrink")
        v = d.json("volume", "resize", "tank/a", str(2 * MIB + 512), "--shrink")
        assert v["size_bytes"] == 2 * MIB + 512 and v["allocated_bytes"] == 2 * MIB + 4096
        assert os.path.getsize(path) == 2 * MIB + 512
        d.cli("volume", "resize", "tank/a", "8M")
        assert read_file(path, 8 * MIB) == b"x" * (2 * MIB + 512) + bytes(6 * MIB - 512)


def test_life_of_a_volume(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d)
        v = d.json("volume", "create", "tank/a", "64M")
        assert v["size_bytes"] == 64 * MIB and v["allocated_bytes"] == 0 and v["in_use"] is None
        assert v["owner"]["state"] == "ACTIVE" and not v["hidden"]
        assert os.path.exists(v["socket"]) and v["path"].endswith("/mnt/tank/a")
        assert d.json("volume", "info", "tank/a") == v
        assert [x["name"] for x in d.json("volume", "list", "tank")["volumes"]] == ["a"]

        refused("has a volume 'a' already", d.cli, "volume", "create", "tank/a", "1M")
        refused("no pool 'none'", d.cli, "volume", "create", "none/a", "1M")
        refused("no volume 'b'", d.cli, "volume", "info", "tank/b")
        refused("cannot shrink", d.cli, "volume", "resize", "tank/a", "32M")
        refused("multiple of 512", d.cli, "volume", "create", "tank/b", "1000")
        refused("multiple of 512", d.cli, "volume", "create", "tank/b", "0")
        refused("64 TiB", d.cli, "volume", "create", "tank/b", "65T")
        refused("choose a shorter name", d.cli, "volume", "create", "tank/" + "b" * 100, "1M")
        for name in ("..", ".x", "a b", "x" * 128, ""):
            no = d.call("volume.create", pool="tank", name=name, size_bytes=MIB)
            assert no["error"]["code"] == "EINVAL", no
        assert d.json("volume", "info", "tank/a") == v
        assert os.listdir(d.run / "tank") == ["a.sock"]

        assert d.json("volume", "resize", "tank/a", "100M")["size_bytes"] == 100 * MIB
        assert d.json("volume", "map", "tank/a") == {"extents": []}
        d.cli("volume", "delete", "tank/a")
        assert d.json("volume", "list") == {"volumes": []}
        assert os.listdir(d.run / "tank") == []
        refused("no volume 'a'", d.cli, "volume", "delete", "tank/a")


def test_data_through_the_mount_clone_map_and_wipe(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        data = os.urandom(3 * MIB)
        write_file(path, data, 5 * MIB)
        write_file(path, b"x", 63 * MIB)
        v = d.json("volume", "info", "tank/a")
        assert v["allocated_bytes"] == 3 * MIB + 4096, v
        extents = d.json("volume", "map", "tank/a")["extents"]
        assert extents == [{"offset_bytes": 5 * MIB, "length_bytes": 3 * MIB},
                           {"offset_bytes": 63 * MIB, "length_bytes": 4096}], extents

        c = d.json("volume", "clone", "tank/a", "b", "--size", "80M")
        assert c["name"] == "b" and c["size_bytes"] == 80 * MIB and c["in_use"] is None
        # Blocks are shared until one of the two is written; then that block is its own.
        assert c["allocated_bytes"] == 0 and c["shared_bytes"] == v["allocated_bytes"], c
        assert c["uuid"] != v["uuid"]
        assert d.json("pool", "status", "tank")["allocated_bytes"] == v["allocated_bytes"]
        assert read_file(c["path"], 3 * MIB, 5 * MIB) == data
        assert read_file(c["path"], 8, 63 * MIB) == b"x" + bytes(7)
        refused("has a volume 'b' already", d.cli, "volume", "clone", "tank/a", "b")
        refused("must have at least", d.cli, "volume", "clone", "tank/a", "c", "--size", "1M")
        refused("no volume 'z'", d.cli, "volume", "clone", "tank/z", "c")

        write_file(path, b"y" * 4096, 5 * MIB)
        assert d.json("volume", "info", "tank/a")["allocated_bytes"] == 4096
        assert read_file(c["path"], 3 * MIB, 5 * MIB) == data

        w = d.json("volume", "wipe", "tank/a")
        assert w["allocated_bytes"] == 0 and w["size_bytes"] == 64 * MIB
        assert read_file(path, MIB, 5 * MIB) == bytes(MIB)
        assert read_file(d.run / "mnt/tank/b", 3 * MIB, 5 * MIB) == data
        assert d.stop() == 0


def test_volume_in_use_is_left_alone(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"data" * 1024, 0)
        before = d.json("volume", "info", "tank/a")
        assert before["in_use"] == "fuse"
        for words in (("delete", "tank/a"), ("resize", "tank/a", "80M"), ("wipe", "tank/a")):
            refused("tank/a is in use by fuse", d.cli, "volume", *words)
        refused("tank/a is in use by fuse", d.cli, "pool", "export", "tank")
        assert d.json("volume", "info", "tank/a") == before
        assert d.json("pool", "status", "tank")["nvolumes"] == 1
        assert os.pread(fd, 8, 0) == b"datadata"
        os.close(fd)
        wait_for("release", lambda: d.json("volume", "info", "tank/a")["in_use"] is None)

        fd = os.open(path, os.O_RDONLY)
        refused("open for reading", d.cli, "volume", "delete", "tank/a")
        refused("open for reading", d.cli, "pool", "export", "tank")
        d.cli("volume", "resize", "tank/a", "80M")
        os.close(fd)
        wait_for("release", lambda: not d.call("pool.export", pool="tank").get("error"))


def test_connected_peer_counts_as_use(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d)
        d.cli("volume", "create", "tank/a", "64M")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(d.run / "tank/a.sock"))
            wait_for("connection", lambda: d.json("volume", "info", "tank/a")["in_use"] == "vhost-user")
            for words in (("delete", "tank/a"), ("resize", "tank/a", "80M"), ("wipe", "tank/a")):
                refused(f"in use by vhost-user (process {os.getpid()})", d.cli, "volume", *words)
            refused("tank/a is in use by vhost-user", d.cli, "pool", "export", "tank")
            names = [v["name"] for v in d.json("volume", "list", "tank")["volumes"]]
            assert names == ["a"]
        wait_for("hang-up", lambda: d.json("volume", "info", "tank/a")["in_use"] is None)
        d.cli("volume", "delete", "tank/a")


def test_snapshots(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        old, new = os.urandom(4 * MIB), os.urandom(MIB)
        write_file(path, old, 0)
        fd = os.open(path, os.O_RDWR)  # in use: snapshots are taken all the same
        d.cli("snapshot", "create", "tank/a", "monday")
        refused("has a snapshot 'monday' already", d.cli, "snapshot", "create", "tank/a", "monday")
        os.pwrite(fd, new, MIB)
        os.fsync(fd)
        refused("in use by fuse", d.cli, "snapshot", "revert", "tank/a", "monday")
        clone = d.json("volume", "clone", "tank/a", "live")
        assert read_file(clone["path"], MIB, MIB) == new
        os.close(fd)
        wait_for("release", lambda: d.json("volume", "info", "tank/a")["in_use"] is None)
        s, = d.json("snapshot", "list", "tank/a")["snapshots"]
        assert s["name"] == "monday" and s["size_bytes"] == 64 * MIB and s["time"] > 0, s
        assert s["allocated_bytes"] == 4 * MIB
        assert d.json("snapshot", "diff", "tank/a", "monday")["changes"] == [
            {"offset_bytes": MIB, "length_bytes": MIB, "zeroes": False}]
        refused("no snapshot 'friday'", d.cli, "snapshot", "diff", "tank/a", "monday", "friday")
        clone = d.json("volume", "clone", "tank/a", "was", "--snapshot", "monday")
        assert read_file(clone["path"], 4 * MIB, 0) == old

        # Where it was, through a restart; and what nobody sees any more is given back.
        d.cli("volume", "resize", "tank/a", "80M")
        assert d.json("snapshot", "revert", "tank/a", "monday")["size_bytes"] == 64 * MIB
        assert os.path.getsize(path) == 64 * MIB
        assert read_file(path, 4 * MIB, 0) == old
        assert d.stop() == 0
        d.start()
        assert read_file(path, 4 * MIB, 0) == old
        assert read_file(d.run / "mnt/tank/live", MIB, MIB) == new
        assert d.json("volume", "info", "tank/was")["origin"] == {"volume": "a", "snapshot": "monday"}
        assert d.json("volume", "info", "tank/live")["origin"] == {"volume": "a", "snapshot": None}
        assert "clone of:   tank/a, snapshot monday" in d.cli("volume", "info", "tank/was")
        assert d.json("volume", "info", "tank/a")["origin"] is None
        refused("volume tank/a has 1 snapshot: monday; delete it first", d.cli, "volume", "delete", "tank/a")
        d.cli("volume", "delete", "tank/live")
        d.cli("volume", "delete", "tank/was")
        d.cli("snapshot", "delete", "tank/a", "monday")
        refused("no snapshot 'monday'", d.cli, "snapshot", "delete", "tank/a", "monday")
        wait_for("space", lambda: d.json("pool", "status", "tank")["allocated_bytes"] == 4 * MIB)
        assert read_file(path, 4 * MIB, 0) == old
        d.cli("volume", "delete", "tank/a")
        wait_for("space", lambda: d.json("pool", "status", "tank")["allocated_bytes"] == 0)


def test_a_volume_goes_with_its_snapshots_and_clones_stay(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        versions = [os.urandom(MIB) for _ in range(3)]
        for i, data in enumerate(versions):
            write_file(path, data)
            d.cli("snapshot", "create", "tank/a", f"s{i}")
        clones = [d.json("volume", "clone", "tank/a", f"c{i}", "--snapshot", f"s{i}") for i in range(3)]
        refused("volume tank/a has 3 snapshots: s0, s1, s2; delete them first (zonepool snapshot delete), or with it",
                d.cli, "volume", "delete", "tank/a")
        fd = os.open(path, os.O_RDONLY)
        refused("open for reading", d.cli, "volume", "delete", "tank/a", "--delete-snapshots")
        os.close(fd)
        assert len(d.json("snapshot", "list", "tank/a")["snapshots"]) == 3, "a refusal deleted some"
        wait_for("release", lambda: "pending" in d.call("volume.delete", pool="tank", volume="a",
                                                        snapshots=True).get("result", {}))
        refused("no volume 'a'", d.cli, "volume", "info", "tank/a")
        for clone, data in zip(clones, versions):
            assert read_file(clone["path"], MIB) == data
            assert d.json("volume", "info", "tank/" + clone["name"])["origin"] is None

        # A list that is too long for a line of text is cut, and says so.
        d.cli("volume", "create", "tank/many", "1M")
        for i in range(5):
            d.cli("snapshot", "create", "tank/many", f"{i}" * 90)
        text = refused("volume tank/many has 5 snapshots: ", d.cli, "volume", "delete", "tank/many")
        assert " and 3 more; delete them first" in text and "--delete-snapshots" in text, text
        d.cli("volume", "delete", "tank/many", "--delete-snapshots")
        for clone in clones:
            d.cli("volume", "delete", "tank/" + clone["name"])
        wait_for("space", lambda: d.json("pool", "status", "tank")["allocated_bytes"] == 0)


def test_copies_of_new_volumes(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        pool = make_pool(d, "tank", 2, "256M", "--copies", "2")
        assert pool["options"]["copies"] == 2
        one, two, three = pool["redundancy"]["available_by_copies"]
        assert one > 1.9 * two > 0 and three == 0, pool["redundancy"]
        assert d.json("volume", "create", "tank/a", "64M")["copies"] == 2
        assert d.json("volume", "create", "tank/b", "64M", "--copies", "1")["copies"] == 1
        assert d.json("volume", "clone", "tank/b", "c")["copies"] == 1, "a clone is as what it is cloned from"
        refused("copies: 4; 1 to 3", d.cli, "volume", "create", "tank/x", "64M", "--copies", "4")
        refused("copies: 0; 1 to 3", d.cli, "volume", "create", "tank/x", "64M", "--copies", "0")
        # Kept over a restart; an import of what is imported may change it, and one that does not say leaves it.
        assert d.stop() == 0
        d.start()
        assert d.json("volume", "create", "tank/d", "64M")["copies"] == 2
        images = [d.dir / "tank0.img", d.dir / "tank1.img"]
        assert d.json("pool", "import", "tank", *images)["options"]["copies"] == 2
        assert d.json("pool", "import", "tank", *images, "--copies", "3")["options"]["copies"] == 3
        refused("fewer devices in use than copies", d.cli, "volume", "create", "tank/x", "64M")
        refused("copies: 9; 1 to 3", d.cli, "pool", "import", "tank", *images, "--copies", "9")


def test_stop_does_not_wait_for_who_holds_a_file_open(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"data", 0)
        os.fsync(fd)
        assert d.stop() == 0
        assert not has_mount(d) and not os.path.exists(d.socket)
        try:
            os.pread(fd, 4, 0)
            raise AssertionError("a file of a daemon that has gone can be read")
        except OSError:
            pass
        finally:
            close_dead(fd)
        d.start()
        assert read_file(path, 4) == b"data"


def test_second_signal_stops_at_once_and_loses_nothing(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"data", 0)
        os.fsync(fd)
        # Both are there when the daemon looks: two of a kind would be one.
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            d.process.send_signal(number)
        assert d.process.wait(10) == 1
        assert not has_mount(d)
        close_dead(fd)
        assert "stopping at once" in d.err.read_text()
        d.start()
        assert read_file(path, 4) == b"data"


def test_import_again_takes_new_peers(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d, "tank", 1, "128M", "--peer", "10.0.0.2:7950")
        image = d.dir / "tank0.img"
        stored = d.state / "pools/tank.json"
        assert d.json("pool", "status", "tank")["peers"] == ["10.0.0.2:7950"]
        peers = ["hostb.example.org:7950", "[fe80::1]:7950"]
        d.cli("pool", "import", "tank", image, "--peer", peers[0], "--peer", peers[1])
        assert d.json("pool", "status", "tank")["peers"] == peers
        assert json.loads(stored.read_text())["peers"] == peers
        # Not named: as they are.
        assert d.json("pool", "import", "tank", image)["peers"] == peers
        for peer in ("nowhere", "host_b.example.org:7950", "10.0.0.300:7950", "10.0.0.2:", ":7950x", "10.0.0.2:99999"):
            refused("HOST:PORT", d.cli, "pool", "import", "tank", image, "--peer", peer)
        d.kill()
        d.start()
        assert d.json("pool", "status", "tank")["peers"] == peers


def test_killed_daemon_leaves_a_mount_that_the_next_one_replaces(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        make_pool(d)
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        fd = os.open(path, os.O_RDWR)
        d.kill()
        d.start()
        write_file(path, b"again")
        close_dead(fd)
        assert read_file(path, 5) == b"again"


def test_kill_and_restart_keep_volumes_and_data(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        mount = has_mount(d)
        make_pool(d)
        uuid = d.json("volume", "create", "tank/a", "64M")["uuid"]
        host = d.json("daemon", "status")
        data = os.urandom(2 * MIB)
        for turn in range(4):
            if mount:
                write_file(d.run / "mnt/tank/a", data, turn * 4 * MIB)
            d.cli("volume", "create", f"tank/v{turn}", "1M")
            if turn % 2:
                assert d.stop() == 0
            else:
                d.kill()
            d.start()
            names = sorted(v["name"] for v in d.json("volume", "list", "tank")["volumes"])
            assert names == ["a"] + [f"v{i}" for i in range(turn + 1)]
            v = d.json("volume", "info", "tank/a")
            assert v["uuid"] == uuid and os.path.exists(v["socket"])
            if mount:
                for old in range(turn + 1):
                    assert read_file(v["path"], len(data), old * 4 * MIB) == data
        now = d.json("daemon", "status")
        assert now["host_uuid"] == host["host_uuid"] and now["incarnation"] != host["incarnation"]


def test_device_that_a_killed_daemon_still_holds_is_waited_for_at_start(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d)
        d.kill()
        with open(d.dir / "tank1.img", "rb") as held:  # as the kernel does until its last I/O ended
            fcntl.flock(held, fcntl.LOCK_EX)
            release = threading.Timer(1.5, fcntl.flock, (held, fcntl.LOCK_UN))
            release.start()
            d.start()
            release.join()
        assert d.json("pool", "status", "tank")["state"] == "active"


def test_second_daemon_on_a_run_directory_is_refused(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        second = subprocess.run(d.arguments(), stderr=subprocess.PIPE, text=True, timeout=20,
                                check=False)
        assert second.returncode == 1
        assert f"another zonepoold (pid {d.process.pid}) uses" in second.stderr, second.stderr
        assert d.json("daemon", "status")["pid"] == d.process.pid
        with Daemon(zonepoold, zonepool, name="e") as e:
            e.start()
            make_pool(d)
            refused("in use by another zonepool daemon", e.cli, "pool", "import", "tank", d.dir / "tank0.img",
                    d.dir / "tank1.img")


def test_pool_that_cannot_be_imported_is_shown_and_keeps_no_other(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d, "good")
        make_pool(d, "bad")
        assert d.stop() == 0
        os.rename(d.dir / "bad1.img", d.dir / "elsewhere")
        (d.state / "pools/worse.json").write_text("{")
        thief = json.loads((d.state / "pools/good.json").read_text())
        thief["name"] = "thief"  # after good: its devices are taken
        (d.state / "pools/thief.json").write_text(json.dumps(thief))
        d.start()
        pools = {p["name"]: p for p in d.json("pool", "list")["pools"]}
        assert pools["good"]["state"] == "active"
        assert pools["bad"]["state"] == "failed" and "bad1.img" in pools["bad"]["error"]
        assert pools["thief"]["state"] == "failed" and "pool good" in pools["thief"]["error"]
        assert pools["worse"]["state"] == "failed" and "worse.json" in pools["worse"]["error"]
        refused("could not be imported", d.cli, "volume", "create", "bad/a", "1M")
        os.rename(d.dir / "elsewhere", d.dir / "bad1.img")
        bad = d.json("pool", "import", "bad", d.dir / "bad0.img", d.dir / "bad1.img")
        assert bad["state"] == "active"
        d.cli("pool", "export", "worse")
        d.cli("pool", "export", "thief")
        assert sorted(os.listdir(d.state / "pools")) == ["bad.json", "good.json"]


def test_settings_and_options_that_are_wrong_keep_the_daemon_from_starting(zonepoold, zonepool):
    with Daemon(zonepoold, zonepool, config="log_level = \"info\"\nmax_pause_ms = 1\n") as d:
        wrong = subprocess.run(d.arguments(), stderr=subprocess.PIPE, text=True, check=False)
        assert wrong.returncode == 1 and "zonepoold.conf:2: max_pause_ms must be" in wrong.stderr
        assert not d.run.exists()
    for words, code in ((["--nonsense"], 2), (["extra"], 2), (["--config", "/nonexistent"], 1),
                        (["--rundir", "relative"], 1), (["--version"], 0), (["--help"], 0),
                        (["--help-config"], 0)):
        done = subprocess.run([zonepoold, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        assert done.returncode == code, (words, done)
        assert bool(done.stderr) == (code != 0) and bool(done.stdout) == (code == 0)


def test_commands_used_wrongly_and_help(zonepoold, zonepool):
    def run(*words):
        return subprocess.run([zonepool, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)

    for words in ([], ["nonsense"], ["pool"], ["pool", "nonsense"], ["pool", "create"],
                  ["pool", "list", "extra"], ["volume", "create", "tank/a"],
                  ["volume", "create", "a", "1M"], ["volume", "create", "tank/a", "1Q"],
                  ["volume", "create", "tank/a/b", "1M"], ["pool", "create", "p"], ["--socket"],
                  ["pool", "create", "p", "--device", "/x,size=1G,colour=red"],
                  ["pool", "create", "p", "--device", "/x,size"], ["pool", "list", "--colour"],
                  ["pool", "list", "-x"], ["pool", "create", "p", "--overwrite=1"]):
        assert run(*words).returncode == 2, words
    down = run("--socket", "/nonexistent/sock", "pool", "list")
    assert down.returncode == 1 and down.stderr.startswith("zonepool: zonepoold does not run")
    top = run("--help").stdout
    assert "Exit codes" in top and run("--version").stdout.startswith("zonepool ")
    for group in ("pool", "volume", "migrate", "daemon"):
        assert run(group, "--help").returncode == 0
    for line in top.splitlines():
        words = line.split()
        if line.startswith("  ") and words and words[0] in ("pool", "volume", "migrate", "daemon"):
            shown = run(words[0], words[1], "--help")
            assert shown.returncode == 0 and shown.stdout.startswith(f"usage: zonepool {words[0]} ")


def test_disk_xml_is_what_libvirt_takes(zonepoold, zonepool):
    with started(zonepoold, zonepool) as d:
        make_pool(d)
        make_pool(d, "dozer")
        d.cli("volume", "create", "tank/a", "1M")
        text = d.cli("disk-xml", "a")
        assert text == d.cli("disk-xml", "tank/a")
        import xml.etree.ElementTree as tree
        disk = tree.fromstring("<x>" + text + "</x>").find("disk")
        assert disk.attrib == {"type": "vhostuser", "device": "disk"}
        source = disk.find("source")
        assert source.attrib == {"type": "unix", "path": str(d.run / "tank/a.sock")}
        assert source.find("reconnect").attrib == {"enabled": "yes", "timeout": "1"}
        assert {e.tag for e in disk} == {"driver", "source", "target"}
        assert disk.find("driver").attrib == {"name": "qemu", "type": "raw"}
        assert "access mode='shared'" in text
        d.cli("volume", "create", "dozer/a", "1M")
        refused("give POOL/VOLUME", d.cli, "disk-xml", "a")
        refused("no pool has a volume 'b'", d.cli, "disk-xml", "b")


if __name__ == "__main__":
    run_tests(globals())
