#!/usr/bin/env python3
"""What is promised of volumes, through the daemon: clones and snapshots cost what they should, the largest
sizes, each verb of snapshots and what it refuses, and what is shown. Usage: test_volumes.py ZONEPOOLD ZONEPOOL
[test...]"""
import contextlib
import ctypes
import json
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from zpd import MIB, Daemon, refused, run_tests, wait_for  # noqa: E402

TIB = 1 << 40
BLOCK = 4096


@contextlib.contextmanager
def pool(zonepoold, zonepool, devices=2, size="256M", *more):
    with Daemon(zonepoold, zonepool) as d:
        d.start()
        words = [w for i in range(devices)
                 for w in ("--device", f"{d.dir}/tank{i}.img,size={size},zone=4M")]
        d.cli("pool", "create", "tank", *words, *more)
        yield d


def no_mount(d):
    mounted = os.path.ismount(d.run / "mnt")
    if not mounted:
        print("no FUSE here: left out")
    return not mounted


def write(path, offset, data):
    fd = os.open(path, os.O_WRONLY)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path, offset, length):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


def ask_all(d, method, params, at_once=64):
    """One connection, many requests under way. Every one must succeed."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(str(d.socket))
        answers, sent = s.makefile(), 0
        for done in range(len(params)):
            while sent < len(params) and sent - done < at_once:
                s.sendall((json.dumps({"id": sent, "method": method, "params": params[sent]}) + "\n").encode())
                sent += 1
            answer = json.loads(answers.readline())
            assert "result" in answer, answer


def counters(d):
    p = d.json("pool", "status", "tank")
    return p["generation"], p["counters"]["user_write_bytes"], p["counters"]["device_write_bytes"], p["allocated_bytes"]


def test_a_thousand_clones_of_an_image(zonepoold, zonepool):
    count = 1000
    with pool(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        image = d.json("volume", "create", "tank/image", "64M")["path"]
        data = os.urandom(4 * MIB)
        write(image, 0, data)
        before = counters(d)
        start = time.monotonic()
        ask_all(d, "volume.clone", [{"pool": "tank", "source": "image", "name": f"c{i}"} for i in range(count)])
        print(f"{count} clones in {time.monotonic() - start:.2f} s")
        after = counters(d)
        assert after[1] == before[1] and after[3] == before[3], (before, after)  # no block was copied
        assert after[2] - before[2] < count * 4 * BLOCK, (before, after)
        volumes = d.json("volume", "list", "tank")["volumes"]
        assert len(volumes) == count + 1
        assert all(v["allocated_bytes"] == 0 and v["shared_bytes"] == 4 * MIB for v in volumes)
        for name in ("c0", f"c{count - 1}"):
            assert read(d.run / "mnt/tank" / name, MIB, MIB) == data[MIB:2 * MIB]
        write(d.run / "mnt/tank/c7", 0, b"x" * BLOCK)
        assert read(d.run / "mnt/tank/c8", 0, BLOCK) == read(image, 0, BLOCK) == data[:BLOCK]
        assert d.json("volume", "info", "tank/c7")["allocated_bytes"] == BLOCK
        assert counters(d)[3] == after[3] + BLOCK


def test_the_first_write_after_a_snapshot_is_one_block_and_its_record(zonepoold, zonepool):
    with pool(zonepoold, zonepool) as d:
        if no_mount(d):
            return
        path = d.json("volume", "create", "tank/a", "64M")["path"]
        write(path, 0, os.urandom(4 * MIB))
        for i in range(20):
            d.cli("snapshot", "create", "tank/a", f"s{i}")
            before = counters(d)
            write(path, i * BLOCK, b"new" + bytes([i]) * (BLOCK - 3))
            after = counters(d)
            if after[0] == before[0]:  # no checkpoint came between
                break
        grown = [b - a for a, b in zip(before, after)]
        assert grown == [0, BLOCK, 2 * BLOCK, BLOCK], grown  # the block, and the header that has its record


def test_sizes_to_64_tib(zonepoold, zonepool):
    with pool(zonepoold, zonepool) as d:
        whole = 64 * TIB
        text = f"size_bytes must be a multiple of 512, of 512 to {whole} (64 TiB)"
        refused(text, d.cli, "volume", "create", "tank/a", str(whole + 512))
        refused(text, d.cli, "volume", "create", "tank/a", "65T")
        d.cli("volume", "create", "tank/a", "1T")
        refused(text, d.cli, "volume", "resize", "tank/a", str(whole + 512))
        v = d.json("volume", "resize", "tank/a", "64T")
        assert v["size_bytes"] == whole and v["allocated_bytes"] == 0
        if no_mount(d):
            return
        path = v["path"]
        assert os.path.getsize(path) == whole
        write(path, whole - BLOCK, b"e" * BLOCK)
        write(path, TIB - BLOCK, b"t" * BLOCK)
        assert d.json("volume", "map", "tank/a")["extents"] == [
            {"offset_bytes": TIB - BLOCK, "length_bytes": BLOCK}, {"offset_bytes": whole - BLOCK, "length_bytes": BLOCK}]
        d.cli("snapshot", "create", "tank/a", "s")
        assert d.json("volume", "resize", "tank/a", "1T", "--shrink")["size_bytes"] == TIB
        assert d.json("volume", "resize", "tank/a", "64T")["allocated_bytes"] == 0
        assert read(path, whole - BLOCK, BLOCK) == bytes(BLOCK) and read(path, TIB - BLOCK, BLOCK) == b"t" * BLOCK
        refused(text, d.cli, "volume", "clone", "tank/a", "b", "--size", "65T")
        d.cli("snapshot", "revert", "tank/a", "s")
        assert d.stop() == 0
        d.start()
        assert read(path, whole - BLOCK, BLOCK) == b"e" * BLOCK
        d.cli("volume", "delete", "tank/a", "--delete-snapshots")
        wait_for("space", lambda: d.json("pool", "status", "tank")["allocated_bytes"] == 0)


def test_snapshot_verbs_and_what_they_refuse(zonepoold, zonepool):
    with pool(zonepoold, zonepool) as d:
        v = d.json("volume", "create", "tank/a", "64M")
        assert d.json("snapshot", "list", "tank/a") == {"snapshots": []}
        for verb, words in (("create", ["s"]), ("list", []), ("delete", ["s"]), ("revert", ["s"]), ("diff", ["s"])):
            refused("no volume 'z'", d.cli, "snapshot", verb, "tank/z", *words)
            refused("no pool 'none'", d.cli, "snapshot", verb, "none/z", *words)
        for verb in ("delete", "revert", "diff"):
            refused("volume tank/a has no snapshot 's'", d.cli, "snapshot", verb, "tank/a", "s")
        for name in ("", "..", "a b", "a/b", "x" * 128):
            no = d.call("snapshot.create", pool="tank", volume="a", name=name)
            assert no["error"]["code"] == "EINVAL", (name, no)
        if no_mount(d):
            return
        write(v["path"], 0, b"a" * (2 * MIB))
        d.cli("snapshot", "create", "tank/a", "one")
        write(v["path"], MIB, b"b" * (8 * BLOCK))
        fd = os.open(v["path"], os.O_RDWR)
        keep_size_punch_hole = 3
        libc = ctypes.CDLL(None, use_errno=True)
        punched = libc.fallocate(fd, keep_size_punch_hole, ctypes.c_long(0), ctypes.c_long(65536)) == 0
        os.fsync(fd)
        os.close(fd)
        assert punched, os.strerror(ctypes.get_errno())
        d.cli("snapshot", "create", "tank/a", "two")
        write(v["path"], 32 * MIB, b"c" * BLOCK)
        hole = {"offset_bytes": 0, "length_bytes": 65536, "zeroes": True}
        data = {"offset_bytes": MIB, "length_bytes": 8 * BLOCK, "zeroes": False}
        late = {"offset_bytes": 32 * MIB, "length_bytes": BLOCK, "zeroes": False}
        assert d.json("snapshot", "diff", "tank/a", "one", "two") == {"changes": [hole, data]}
        assert d.json("snapshot", "diff", "tank/a", "one") == {"changes": [hole, data, late]}
        assert d.json("snapshot", "diff", "tank/a", "two") == {"changes": [late]}
        lines = [line.split() for line in d.cli("snapshot", "diff", "tank/a", "one").splitlines()]
        assert lines == [["offset", "length", "now"], ["0", "65536", "zeroes"], [str(MIB), str(8 * BLOCK), "data"],
                         [str(32 * MIB), str(BLOCK), "data"]], lines
        lines = [line.split() for line in d.cli("snapshot", "list", "tank/a").splitlines()]
        assert len(lines) == 3 and {line[0] for line in lines[1:]} == {"one", "two"}, lines
        d.cli("snapshot", "delete", "tank/a", "one")
        refused("has no snapshot 'one'", d.cli, "snapshot", "diff", "tank/a", "one", "two")
        assert d.json("snapshot", "diff", "tank/a", "two") == {"changes": [late]}
        wait_for("release", lambda: d.json("volume", "info", "tank/a")["in_use"] is None)
        d.cli("snapshot", "revert", "tank/a", "two")
        assert d.json("snapshot", "diff", "tank/a", "two") == {"changes": []}
        assert read(v["path"], 32 * MIB, BLOCK) == bytes(BLOCK)


def test_what_is_shown(zonepoold, zonepool):
    """A volume's own write amplification, room for each redundancy, and how the tables fare in RAM."""
    with pool(zonepoold, zonepool, 3, "72M") as d:
        shown = d.cli("pool", "status", "tank")
        one, two, three = d.json("pool", "status", "tank")["redundancy"]["available_by_copies"]
        assert one > two > three > 0
        assert re.search(r"^available: +\S+ MiB\n +\S+ MiB with 2 copies\n +\S+ MiB with 3 copies$", shown, re.M), shown
        d.cli("volume", "create", "tank/a", "96M")
        assert "write amplification" not in d.cli("volume", "info", "tank/a")
        if no_mount(d):
            return
        path, fill = d.run / "mnt/tank/a", os.urandom(MIB)
        for i in range(80):
            write(path, i * MIB, fill)
        for i in range(2000):  # some blocks here and there: cleaning has to move the others
            if i % 500 == 0:
                fd = os.open(path, os.O_WRONLY)
            os.pwrite(fd, fill[:16 * BLOCK], (i * 7919 % 20464) * BLOCK)
            if i % 500 == 499:
                os.fsync(fd)
                os.close(fd)
        v = d.json("volume", "info", "tank/a")
        assert v["user_write_bytes"] >= 80 * MIB and v["moved_write_bytes"] > 0, v
        shown = d.cli("volume", "info", "tank/a")
        print(f"{v['moved_write_bytes'] / v['user_write_bytes']:.3f} moved for each block written")
        factor = (v["user_write_bytes"] + v["moved_write_bytes"]) / v["user_write_bytes"]
        found = re.search(r"^moved: +\S+ \S+, write amplification (\d+\.\d\d)$", shown, re.M)
        assert found and abs(float(found.group(1)) - factor) < 0.1, (shown, factor)
        assert re.search(r"^tables: .* in RAM of at most .*, found there \d+\.\d %$", d.cli("pool", "status", "tank"), re.M)


if __name__ == "__main__":
    run_tests(globals())
