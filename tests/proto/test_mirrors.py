#!/usr/bin/env python3
"""Volumes of several copies while devices are missing, come back and are replaced. Usage: test_mirrors.py ZONEPOOLD
ZONEPOOL [NAME...]"""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from test_devices import CHUNK, Writer, device, devices, stored  # noqa: E402
from zpd import MIB, Daemon, refused, run_tests, wait_for  # noqa: E402

AT_ONCE = "missing_device_wait_s = 0\n"


def make(d, *names, copies=2):
    d.cli("pool", "create", "tank", *(w for n in names for w in ("--device", device(d, n))))
    d.cli("volume", "create", "tank/v", "16M", "--copies", str(copies))
    w = Writer(d, "v", 16 * MIB // CHUNK, 1)
    w.fill()
    return w


def pool(d):
    return d.json("pool", "status", "tank")


def away(d, name):
    os.rename(d.dir / name, d.dir / f"{name}.away")


def back(d, name):
    os.rename(d.dir / f"{name}.away", d.dir / name)


def rebuilt(d):
    wait_for("everything has its copies", lambda: pool(d)["redundancy"]["rebuild_bytes"] == 0)


def test_a_start_goes_on_without_a_device_where_that_cannot_be_wrong(daemon, tool):
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b", "c")
        d.kill()
        away(d, "c")
        d.start()
        assert pool(d)["state"] == "active", pool(d)
        now = devices(d)["c"]
        assert now["missing"] and now["error"], now
        assert stored(d) == ["a", "b", "c"]
        told = [e for e in d.events() if e["event"] == "device-missing"]
        assert len(told) == 1 and told[0]["path"] == str(d.dir / "c"), told
        assert "missing" in d.cli("pool", "status", "tank")
        w.check()
        w.fill()
        rebuilt(d)
        d.kill()
        back(d, "c")
        d.start()  # and is taken back; what it has is not read until it is made anew
        assert not devices(d)["c"]["missing"], devices(d)
        w.check()


def test_a_start_waits_for_a_device_that_is_late(daemon, tool):
    with Daemon(daemon, tool, "missing_device_wait_s = 600\n") as d:
        d.start()
        w = make(d, "a", "b", "c")
        d.kill()
        away(d, "c")
        d.start(ready=False)
        wait_for("it waits", lambda: pool(d)["state"] == "importing")
        back(d, "c")
        wait_for("it is imported", lambda: pool(d)["state"] == "active")
        assert not devices(d)["c"]["missing"] and devices(d)["c"]["stale_bytes"] == 0
        w.check()


def test_a_start_without_half_of_the_devices_asks(daemon, tool):
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b")
        d.kill()
        away(d, "b")
        d.start()
        now = pool(d)
        assert now["state"] == "failed" and str(d.dir / "b") in now["error"], now
        assert f"zonepool pool import --degraded tank {d.dir}/a'" in now["error"], now
        refused("is missing", d.cli, "pool", "import", "tank", d.dir / "a")
        d.cli("pool", "import", "--degraded", "tank", d.dir / "a")
        w.check()
        w.fill()
        d.kill()
        d.start()  # it is on record by now that b is out
        assert pool(d)["state"] == "active", pool(d)
        w.check()


def test_a_start_does_not_go_on_without_the_only_copy(daemon, tool):
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b", "c", copies=1)
        d.kill()
        away(d, "c")
        d.start()
        now = pool(d)
        assert now["state"] == "failed" and "v has 1 copies" in now["error"], now
        back(d, "c")
        wait_for("it is imported by itself", lambda: pool(d)["state"] == "active")
        w.check()


def test_a_device_comes_back_while_the_pool_is_in_use(daemon, tool):
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b", "c")
        d.kill()
        away(d, "c")
        d.start()
        with w:  # writes go on all the while
            rounds = w.rounds
            wait_for("something is written", lambda: w.rounds > rounds + 3)
            back(d, "c")
            wait_for("it is taken back by itself", lambda: not devices(d)["c"]["missing"])
        rebuilt(d)
        assert devices(d)["c"]["stale_bytes"] == 0
        wait_for("and it is told", lambda: [e["path"] for e in d.events() if e["event"] == "device-returned"] ==
                 [str(d.dir / "c")])
        w.check()
        d.kill()
        away(d, "a")  # now c has its share of everything
        d.start()
        w.check()
        os.rename(d.dir / "a.away", d.dir / "elsewhere")
        d.cli("pool", "create", "other", "--device", device(d, "stranger"), "--no-import")
        refused("belongs to pool 'other'", d.cli, "device", "return", "tank", d.dir / "stranger")
        d.cli("device", "return", "tank", d.dir / "elsewhere")
        assert stored(d) == ["b", "c", "elsewhere"], stored(d)
        refused("in use", d.cli, "device", "return", "tank", d.dir / "b")
        rebuilt(d)
        w.check()


def test_a_lost_device_is_replaced_from_its_mirrors(daemon, tool):
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b", "c")
        d.kill()
        os.unlink(d.dir / "c")
        d.start()
        with w:
            d.cli("device", "replace", "tank", d.dir / "c", device(d, "e"))
        assert sorted(devices(d)) == ["a", "b", "e"] and stored(d) == ["a", "b", "e"], devices(d)
        rebuilt(d)
        w.check()
        d.kill()
        os.unlink(d.dir / "a")  # another one, and its successor takes its place
        d.start()
        d.cli("device", "replace", "tank", d.dir / "a", device(d, "a"))
        assert sorted(devices(d)) == ["a", "b", "e"] and stored(d) == ["a", "b", "e"], devices(d)
        assert not devices(d)["a"]["missing"]
        rebuilt(d)
        d.kill()
        away(d, "b")
        d.start()
        w.check()


def test_a_replacement_goes_on_after_a_kill(daemon, tool):
    rng = random.Random(7)
    with Daemon(daemon, tool, AT_ONCE) as d:
        d.start()
        w = make(d, "a", "b", "c")
        for i in range(4):
            old, new = sorted(devices(d))[0], f"x{i}"
            ask = subprocess.Popen([tool, "--socket", d.socket, "device", "replace", "tank", d.dir / old,
                                    device(d, new)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.3)  # the moment is what varies
            d.kill()
            ask.wait(30)
            d.start()
            wait_for("it is done, or never was", lambda: len(devices(d)) == 3 and
                     all(v["state"] == "member" for v in devices(d).values()), 60)
            assert (new in devices(d)) != (old in devices(d)), devices(d)
            w.check()


if __name__ == "__main__":
    run_tests(globals())
