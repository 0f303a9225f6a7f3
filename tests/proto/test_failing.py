#!/usr/bin/env python3
"""Devices that fail under a daemon: what operators see, and how a pool is made whole again. ERRFS names the failing
file system (errfs.c). Usage: test_failing.py ZONEPOOLD ZONEPOOL [NAME...]"""
import errno
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from test_devices import CHUNK, Writer, device, devices, stored  # noqa: E402
from zpd import MIB, Daemon, refused, run_tests, wait_for  # noqa: E402

QUICK = "missing_device_wait_s = 0\n"
ERRFS = os.environ.get("ERRFS") or pathlib.Path(__file__).resolve().parents[2] / "build/tests/proto/errfs"


class Failing:
    """A directory of the daemon's whose files fail when told to."""

    def __init__(self, d):
        self.d, self.backing, self.path = d, d.dir / "backing", d.dir / "errfs"
        self.backing.mkdir()
        self.path.mkdir()
        self.process = subprocess.Popen([ERRFS, self.backing, self.path])
        wait_for("errfs is mounted", lambda: os.path.ismount(self.path))

    def fail(self, name, number, only=""):
        (self.backing / f"{name}.new").write_text(f"{number} {only}\n")
        os.rename(self.backing / f"{name}.new", self.backing / f"{name}.fail")

    def mend(self, name):
        (self.backing / f"{name}.fail").unlink()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.d.kill()  # it has files open there
        subprocess.run(["umount", "-l", self.path], check=False)
        self.process.wait(10)


def pool(d):
    return d.json("pool", "status", "tank")


def rebuilt(d):
    wait_for("everything has its copies", lambda: pool(d)["redundancy"]["rebuild_bytes"] == 0, 60)


def mirrored(d, *files, size="16M"):
    d.cli("pool", "create", "tank", *(w for f in files for w in ("--device", f"{f},size=64M,zone=1M")))
    d.cli("volume", "create", "tank/v", size, "--copies", "2")
    w = Writer(d, "v", 16 * MIB // CHUNK, 1)
    w.fill()
    return w


def out_of_use(d, name):
    """The status says so, and the log and the events say why and what to do."""
    wait_for(f"{name} is out of use", lambda: devices(d)[name]["error"], 30)
    told = [e for e in d.events() if e["event"] == "device-failed"]
    assert [os.path.basename(e["path"]) for e in told] == [name], told
    log = d.err.read_text()
    assert f"{name} is out of use: {told[0]['why']}" in log and "zonepool device return tank" in log, log
    assert told[0]["why"] in d.cli("device", "status", "tank")
    return told[0]["why"]


def goes_on(w):
    rounds = w.rounds
    wait_for("writes go on", lambda: w.rounds > rounds + 3 or w.fault, 30)


def verified(d, w):
    """All copies are right, by themselves."""
    rebuilt(d)
    w.check()
    found = d.json("device", "scrub", "tank")
    assert found["damaged_blocks"] == found["wrong_copies"] == 0, found


def test_one_of_two_mirrors_fails_and_is_returned(daemon, tool):
    with Daemon(daemon, tool, QUICK) as d, Failing(d) as f:
        d.start()
        w = mirrored(d, d.dir / "a", f.path / "b")
        with w:
            f.fail("b", errno.EIO)
            goes_on(w)
            why = out_of_use(d, "b")
            assert why == "Input/output error" or "its file system has failed" in why, why
            assert not devices(d)["a"]["error"] and not pool(d)["readonly"]
            refused("Input/output error", d.cli, "device", "return", "tank", f.path / "b")
            goes_on(w)
            f.mend("b")
            d.cli("device", "return", "tank", f.path / "b")
            assert not devices(d)["b"]["error"]
            goes_on(w)
        verified(d, w)
        d.kill()
        os.rename(d.dir / "a", d.dir / "a.away")  # b has its share of everything
        d.start()
        d.cli("pool", "import", "--degraded", "tank", f.path / "b")
        w.check()


def test_one_of_two_mirrors_fails_and_is_replaced(daemon, tool):
    with Daemon(daemon, tool, QUICK) as d, Failing(d) as f:
        d.start()
        w = mirrored(d, d.dir / "a", f.path / "b")
        with w:
            f.fail("b", errno.EIO)
            goes_on(w)
            out_of_use(d, "b")
            d.cli("device", "replace", "tank", f.path / "b", device(d, "c"))
            goes_on(w)
        assert stored(d) == ["a", "c"]
        verified(d, w)


def test_a_member_that_only_fails_to_write(daemon, tool):
    """A full file system: what is there is read, nothing is lost, and it is taken back when there is room."""
    with Daemon(daemon, tool, QUICK) as d, Failing(d) as f:
        d.start()
        w = mirrored(d, d.dir / "a", f.path / "b")
        with w:
            f.fail("b", errno.ENOSPC, "w")
            goes_on(w)
            assert out_of_use(d, "b") == "its file system is full"
            f.mend("b")
            d.cli("device", "return", "tank", f.path / "b")
            goes_on(w)
        verified(d, w)


def test_a_member_file_is_cut_short(daemon, tool):
    for keep in (0, 8 * MIB):
        with Daemon(daemon, tool, QUICK) as d:
            d.start()
            w = mirrored(d, d.dir / "a", d.dir / "b")
            with w:
                os.truncate(d.dir / "b", keep)
                goes_on(w)
                assert "cut short" in out_of_use(d, "b")
                assert not pool(d)["readonly"]
                d.cli("device", "replace", "tank", d.dir / "b", device(d, "c"))
                goes_on(w)
            assert stored(d) == ["a", "c"]
            verified(d, w)


def test_the_only_member_is_cut_short(daemon, tool):
    """Nothing can be saved; but the daemon lives, reads fail and show no zeroes, and the others are served."""
    with Daemon(daemon, tool, QUICK) as d:
        d.start()
        d.cli("pool", "create", "tank", "--device", device(d, "a"))
        d.cli("pool", "create", "other", "--device", device(d, "z"))
        for name in ("tank", "other"):
            d.cli("volume", "create", f"{name}/v", "4M")
        w = Writer(d, "v", 4 * MIB // CHUNK, 1)
        w.fill()
        os.truncate(d.dir / "a", 0)
        for what in (w.fill, w.check):
            try:
                what()
            except OSError as why:
                assert why.errno in (errno.EIO, errno.EROFS), why
            else:
                assert what == w.check, "a write succeeded"
        assert "cut short" in out_of_use(d, "a")
        d.cli("volume", "create", "other/w", "4M")
        assert d.process.poll() is None


def test_a_failed_pool_is_imported_when_its_device_is_there(daemon, tool):
    with Daemon(daemon, tool, QUICK) as d:
        d.start()
        d.cli("pool", "create", "tank", "--device", device(d, "a"), "--device", device(d, "b"))
        d.cli("volume", "create", "tank/v", "16M")
        w = Writer(d, "v", 16 * MIB // CHUNK, 1)
        w.fill()
        d.kill()
        for name in ("a", "b"):
            os.rename(d.dir / name, d.dir / f"{name}.away")
        d.start()
        assert pool(d)["state"] == "failed" and "No such file" in pool(d)["error"], pool(d)
        os.rename(d.dir / "a.away", d.dir / "a")  # not enough: the reason is another one now
        wait_for("it is tried again", lambda: "is missing" in (pool(d)["error"] or ""))
        assert pool(d)["state"] == "failed" and stored(d) == ["a", "b"], pool(d)
        os.rename(d.dir / "b.away", d.dir / "b")
        wait_for("it is imported", lambda: pool(d)["state"] == "active")
        w.check()
        assert d.err.read_text().count("its devices have changed") == 2, "it was tried for nothing"


def test_a_failed_pool_is_imported_by_its_name(daemon, tool):
    with Daemon(daemon, tool, QUICK) as d:
        d.start()
        refused("name its devices", d.cli, "pool", "import", "tank")
        w = mirrored(d, d.dir / "a", d.dir / "b")
        d.kill()
        os.rename(d.dir / "b", d.dir / "b.away")
        d.start()
        assert pool(d)["state"] == "failed"
        for words in ((), (d.dir / "a",), (d.dir / "b.away", d.dir / "nothing")):
            refused("", d.cli, "pool", "import", "tank", *words)
            assert pool(d)["state"] == "failed" and pool(d)["error"], pool(d)  # it is still known
            assert sorted(os.path.basename(v["path"]) for v in pool(d)["devices"]) == ["a", "b"]
        assert stored(d) == ["a", "b"]
        d.cli("pool", "import", "tank", "--degraded")
        assert pool(d)["state"] == "active" and devices(d)["b"]["missing"]
        d.cli("pool", "import", "tank")  # it is there already
        w.check()


def lose_single_copies(d):
    """A device is cut short that had single copies: the writer of their volume, and the device. None: something
    with one copy was being written just then, which makes the pool read-only (docs/pool.md)."""
    d.start()
    mirrored(d, *(d.dir / n for n in "abc"), size="16M")  # so tables have two copies
    d.cli("volume", "create", "tank/once", "24M", "--copies", "1")
    w = Writer(d, "once", 24 * MIB // CHUNK, 2)
    w.fill()
    gone = max(devices(d).values(), key=lambda v: v["live_bytes"])["path"]
    refused("is not leaving", d.cli, "device", "give-up", "tank", gone)
    with open(w.path(), "rb") as v:
        os.fsync(v.fileno())  # what followed the last flush too: groups have got summaries since
    os.truncate(gone, 0)
    os.sync()
    try:
        with open(d.run / "mnt/tank/v", "r+b", buffering=0) as v:
            for _ in range(64):  # until it is noticed
                v.write(bytes(CHUNK))
                os.fsync(v.fileno())
    except OSError as why:
        assert why.errno == errno.EIO, why
        wait_for("the pool is read-only", lambda: pool(d)["readonly"])
        return None
    return w, gone


def give_up(d, w, gone):
    name = os.path.basename(gone)
    out_of_use(d, name)
    text = refused("cannot be read", d.cli, "device", "remove", "tank", gone)
    assert f"'zonepool device give-up tank {gone}'" in text, text
    text = refused("nothing is given up yet", d.cli, "device", "give-up", "tank", gone)
    lost = devices(d)[name]["stuck_bytes"]
    assert lost and f"--bytes {lost}'" in text, text
    listed = d.json("device", "give-up", "tank", gone)
    assert [(v["volume"], v["bytes"]) for v in listed["lost"]] == [("once", lost)], listed
    refused("were confirmed", d.cli, "device", "give-up", "tank", gone, "--bytes", lost - 1)
    assert devices(d)[name]["stuck_bytes"] == lost
    d.cli("device", "give-up", "tank", gone, "--bytes", lost)
    assert name not in devices(d) and len(devices(d)) == 2
    for _ in range(2):
        failed = 0
        fd = os.open(w.path(), os.O_RDONLY)
        for block in range(24 * MIB // 4096):
            at = block * 4096
            try:
                got = os.pread(fd, 4096, at)
            except OSError as why:
                assert why.errno == errno.EIO, why
                failed += 4096
            else:
                chunk = at // CHUNK
                assert got == w.data(chunk, 1)[at % CHUNK:at % CHUNK + 4096], f"block {block} is something else"
        os.close(fd)
        assert failed == lost, (failed, lost)
        d.kill()
        d.start()
    w.fill()
    w.check()


def test_what_only_a_lost_device_had_is_given_up(daemon, tool):
    for _ in range(3):
        with Daemon(daemon, tool, QUICK) as d:
            lost = lose_single_copies(d)
            if lost:
                give_up(d, *lost)
                return
    raise AssertionError("the pool became read-only three times")


if __name__ == "__main__":
    run_tests(globals())
