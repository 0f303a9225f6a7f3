#!/usr/bin/env python3
"""Devices come and go through the command line while files of the pool are written; the daemon is killed on the
way. Usage: test_devices.py ZONEPOOLD ZONEPOOL [NAME...]"""
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
from zpd import MIB, Daemon, refused, run_tests, wait_for  # noqa: E402

CHUNK = 64 << 10


class Writer:
    """Overwrites chunks of a volume through the mount, and knows what each must hold."""

    def __init__(self, d, volume, chunks, seed, hot=None):
        """hot: it is the first so many chunks that are overwritten; else all."""
        self.d, self.volume, self.chunks, self.hot = d, volume, chunks, hot or chunks
        self.rng, self.model = random.Random(seed), {}
        self.stopping, self.fault, self.rounds = False, None, 0
        self.thread = threading.Thread(target=self.run)

    def path(self):
        return self.d.run / "mnt/tank" / self.volume

    def data(self, chunk, version):
        seed = hashlib.sha256(f"{self.volume} {chunk} {version}".encode()).digest()
        return (seed * (CHUNK // len(seed)))[:CHUNK]

    def write(self, fd, chunk):
        version = self.model.get(chunk, 0) + 1
        os.pwrite(fd, self.data(chunk, version), chunk * CHUNK)
        self.model[chunk] = version

    def fill(self):
        fd = os.open(self.path(), os.O_WRONLY)
        for chunk in range(self.chunks):
            self.write(fd, chunk)
        os.fsync(fd)
        os.close(fd)

    def run(self):
        try:
            fd = os.open(self.path(), os.O_WRONLY)
            while not self.stopping:
                for _ in range(8):
                    self.write(fd, self.rng.randrange(self.hot))
                os.fsync(fd)
                self.rounds += 1
            os.close(fd)
        except OSError as why:
            self.fault = why

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive(), "a writer hangs"
        assert self.fault is None, f"a write failed: {self.fault}"

    def check(self):
        with open(self.path(), "rb") as f:
            for chunk in range(self.chunks):
                f.seek(chunk * CHUNK)
                assert f.read(CHUNK) == self.data(chunk, self.model[chunk]), f"{self.volume}: chunk {chunk}"


def device(d, name, size="64M"):
    return f"{d.dir}/{name},size={size},zone=1M"


def devices(d):
    return {os.path.basename(v["path"]): v for v in d.json("device", "status", "tank")["devices"]}


def stored(d):
    return sorted(os.path.basename(p) for p in json.loads((d.state / "pools/tank.json").read_text())["devices"])


def make(d, *names, volume="24M"):
    d.cli("pool", "create", "tank", *(w for n in names for w in ("--device", device(d, n))))
    d.cli("volume", "create", "tank/v", volume)


def test_devices_come_and_go_under_load(daemon, tool):
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", "b")
        w = Writer(d, "v", 24 * MIB // CHUNK, 1)
        w.fill()
        with w:
            before = d.json("pool", "status", "tank")["capacity_bytes"]
            d.cli("device", "add", "tank", device(d, "c"))
            assert d.json("pool", "status", "tank")["capacity_bytes"] > before
            assert stored(d) == ["a", "b", "c"]
            d.cli("device", "evacuate", "tank", d.dir / "a")
            now = devices(d)["a"]
            assert now["state"] == "evacuated" and now["live_bytes"] == 0, now
            d.cli("device", "keep", "tank", d.dir / "a")
            assert devices(d)["a"]["state"] == "member"
            d.cli("device", "remove", "tank", d.dir / "b")
            d.cli("device", "replace", "tank", d.dir / "c", device(d, "e"))
            assert sorted(devices(d)) == ["a", "e"], devices(d)
            rounds = w.rounds
            wait_for("writes go on", lambda: w.rounds > rounds + 5)
        assert stored(d) == ["a", "e"]
        w.check()
        d.cli("pool", "export", "tank")
        d.cli("pool", "import", "tank", d.dir / "e", d.dir / "a")
        w.check()
        names = [e["event"] for e in d.events()]
        assert names.count("device-added") == 2 and names.count("device-removed") == 2, names
        # what has left is plain again, and good for another pool
        wait_for("b is plain", lambda: "zonepool" not in d.cli("pool", "scan", d.dir / "b").lower())
        d.cli("pool", "create", "other", "--device", f"{d.dir}/b", "--overwrite")
        d.cli("pool", "export", "other")


def test_a_removal_goes_on_after_a_kill(daemon, tool):
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", "b", "c")
        w = Writer(d, "v", 24 * MIB // CHUNK, 2)
        w.fill()
        d.cli("device", "remove", "tank", d.dir / "a", "--no-wait")
        d.kill()
        d.start()
        wait_for("a has left", lambda: sorted(devices(d)) == ["b", "c"], 60)
        wait_for("and is not listed", lambda: stored(d) == ["b", "c"])
        w.check()
        d.kill()
        d.start()
        w.check()


def test_killed_at_any_moment_a_device_is_in_or_out(daemon, tool):
    rng = random.Random(3)
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", "b")
        w = Writer(d, "v", 16 * MIB // CHUNK, 3)
        w.fill()
        for i in range(6):
            extra = [n for n in devices(d) if n.startswith("x")]
            words = (("remove", "tank", f"{d.dir}/{extra[0]}") if extra else
                     ("add", "tank", device(d, f"x{i}")))
            ask = subprocess.Popen([tool, "--socket", d.socket, "device", *words], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.3)  # the moment is what varies
            d.kill()
            ask.wait(30)
            d.start()
            assert d.json("pool", "status", "tank")["state"] == "active", d.json("pool", "status", "tank")
            wait_for("no device is on its way",
                     lambda: all(v["state"] == "member" for v in devices(d).values()), 60)
            wait_for("the list is what is there", lambda: set(stored(d)) >= set(devices(d)))
            w.check()


def test_what_is_refused_names_the_device_and_the_remedy(daemon, tool):
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", "b", volume="80M")
        Writer(d, "v", 75 * MIB // CHUNK, 4).fill()
        text = refused("cannot leave pool tank", d.cli, "device", "remove", "tank", d.dir / "a")
        assert f"{d.dir}/a" in text and "add a device or delete data first" in text, text
        refused("has no device", d.cli, "device", "remove", "tank", d.dir / "nothing")
        refused("is a member of pool tank already", d.cli, "device", "add", "tank", f"{d.dir}/a")
        refused("is not being evacuated", d.cli, "device", "keep", "tank", d.dir / "a")
        refused("no pool 'none'", d.cli, "device", "status", "none")
        (d.dir / "full").write_bytes(os.urandom(64 * MIB))
        refused("full", d.cli, "device", "add", "tank", d.dir / "full")
        assert (d.dir / "full").stat().st_size == 64 * MIB
        refused("zones", d.cli, "device", "add", "tank", f"{d.dir}/small,size=8M,zone=1M")
        assert not (d.dir / "small").exists(), "a refused device was left behind"
        assert stored(d) == ["a", "b"] and sorted(devices(d)) == ["a", "b"]
        d.cli("device", "add", "tank", d.dir / "full", "--overwrite")
        d.cli("device", "remove", "tank", d.dir / "a")
        assert sorted(devices(d)) == ["b", "full"]
        # an import of a list that is older than the pool's is that of the pool that is there
        d.cli("pool", "import", "tank", d.dir / "a", d.dir / "b")
        assert sorted(devices(d)) == ["b", "full"]


def test_scrub_finds_what_was_damaged_and_says_where(daemon, tool):
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", "b")
        # What is overwritten while the scrub runs may be missed by it; the rest may not.
        w = Writer(d, "v", 24 * MIB // CHUNK, 5, hot=3 * MIB // CHUNK)
        w.fill()
        with w:
            sound = d.json("device", "scrub", "tank")
            assert sound["state"] == "done" and sound["damaged_blocks"] == 0, sound
            assert sound["verified_bytes"] >= 20 * MIB, sound
        w.fill()
        d.cli("pool", "export", "tank")
        wanted = w.data(77, w.model[77])[:4096]
        for name in ("a", "b"):
            image = (d.dir / name).read_bytes()
            at = image.rfind(w.data(77, w.model[77]))
            if at >= 0:
                with open(d.dir / name, "r+b") as f:
                    f.seek(at + 8192)
                    f.write(bytes(len(wanted)))
        d.cli("pool", "import", "tank", d.dir / "a", d.dir / "b")
        found = d.json("device", "scrub", "tank")
        assert found["damaged_blocks"] >= 1, found
        assert {"volume": "v", "offset_bytes": 77 * CHUNK + 8192} in [
            {k: f[k] for k in ("volume", "offset_bytes")} for f in found["findings"]], found
        assert "volume v" in d.cli("device", "scrub", "tank", "--status")
        refused("is not being scrubbed", d.cli, "device", "scrub", "tank", "--pause")


def balance(d, *words):
    return d.json("device", "balance", "tank", *words)


def test_data_even_out_after_a_device_was_added(daemon, tool):
    with Daemon(daemon, tool) as d:
        d.start()
        make(d, "a", volume="40M")
        w = Writer(d, "v", 36 * MIB // CHUNK, 6)
        w.fill()
        assert balance(d, "--pause")["state"] == "paused"
        d.cli("device", "add", "tank", f"{d.dir}/b,size=128M,zone=2M")
        apart = balance(d)
        assert apart["least_used_permille"] < 100 < 500 < apart["most_used_permille"], apart
        d.kill()
        d.start()
        assert balance(d) == {**apart, "state": "paused"}, balance(d)
        assert "devices are used" in d.cli("device", "status", "tank")
        refused("no pool 'none'", d.cli, "device", "balance", "none")
        balance(d, "--resume")
        wait_for("it is even", lambda: balance(d)["state"] == "idle", 60)
        even = d.json("device", "status", "tank")["balance"]
        assert even["most_used_permille"] - even["least_used_permille"] <= 100, even
        assert 5 * MIB < even["moved_bytes"] < 36 * MIB, even
        assert devices(d)["a"]["live_bytes"] < 24 * MIB < 36 * MIB, devices(d)
        names = [e["event"] for e in d.events()]
        assert names.count("pool-balancing") == names.count("pool-balanced") == 1, names
        w.check()
        d.kill()
        d.start()
        w.check()
        assert balance(d)["state"] == "idle" and balance(d)["moved_bytes"] == 0, balance(d)


if __name__ == "__main__":
    run_tests(globals())
