#!/usr/bin/env python3
"""Every method with parameters of every wrong kind, lines of rubbish, clients that vanish: the daemon answers or
hangs up, stays alive, and nothing changes. Usage: test_control_garbage.py ZONEPOOLD ZONEPOOL [test...]
The seed is printed; SEED=N repeats a run."""
import json
import os
import random
import socket
import sys

sys.path.insert(0, os.path.dirname(__file__))
from zpd import Daemon, run_tests, wait_for  # noqa: E402

METHODS = """daemon.status pool.create pool.import pool.export pool.destroy pool.scan pool.list pool.status
volume.create volume.clone volume.list volume.info volume.resize volume.reserve volume.delete volume.wipe volume.map volume.reclaim
migrate.incoming migrate.status migrate.cancel domain.seed domain.released lock.inquire lock.acquire
lock.release""".split()
NAMES = """pool name volume source devices uuid size_bytes overwrite import peers options offset_bytes force domain disks
pid state register path""".split()
UUID = "11111111-2222-4333-8444-555555555555"


def values(rng, d):
    return rng.choice([None, True, False, 0, 1, -1, 4096, 2**53, 2**63 - 1, 1.5, "", "tank", "a", "none",
                       "../..", "x" * 5000, "\u00e4", UUID, str(d.dir / "none.img"), [], {},
                       [None], ["tank"], [[]], [{"pool": "tank", "volume": "a"}], [{"pool": 1}],
                       [{"path": str(d.dir / "none.img")}], [str(d.dir / "none.img")] * 300,
                       {"checksums": 1}, {"a": {"b": {"c": []}}}])


def state(d):
    """What must not change. A pool's counters and generation may."""
    volumes = d.json("volume", "list", "--all")["volumes"]
    pools = [(p["name"], p["state"], p["nvolumes"]) for p in d.json("pool", "list")["pools"]]
    return volumes, pools


def connect(d):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(str(d.socket))
    return s


def prepared(zonepoold, zonepool):
    d = Daemon(zonepoold, zonepool)
    d.start()
    d.cli("pool", "create", "tank", "--device", f"{d.dir}/tank.img,size=64M,zone=1M")
    d.cli("volume", "create", "tank/a", "8M")
    return d


def test_parameters_of_every_kind(zonepoold, zonepool):
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    with prepared(zonepoold, zonepool) as d:
        before = state(d)
        with connect(d) as s:
            lines = s.makefile()
            for n in range(3000):
                # What may succeed and change something is not the subject: leave its parameters incomplete.
                method = rng.choice(METHODS)
                params = {name: values(rng, d) for name in rng.sample(NAMES, rng.randrange(5))}
                if method in ("volume.delete", "volume.wipe", "pool.export") or "clone" in method:
                    params["extra"] = 1
                if method == "volume.reserve":
                    params.pop("reserved_bytes", None)
                if method == "volume.create":
                    params.pop("size_bytes", None)
                if method == "volume.resize":
                    params["size_bytes"] = values(rng, d)
                    if params["size_bytes"] == 2**53:
                        params["size_bytes"] = 0
                s.sendall((json.dumps({"id": n, "method": method, "params": params}) + "\n").encode())
                answer = json.loads(lines.readline())
                assert answer["id"] == n, answer
                assert "result" in answer or answer["error"]["message"], answer
        assert d.process.poll() is None
        assert state(d) == before
        assert d.stop() == 0


def test_rubbish(zonepoold, zonepool):
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    good = b'{"id":1,"method":"volume.list","params":{"pool":"tank"}}\n'
    with prepared(zonepoold, zonepool) as d:
        before = state(d)
        for n in range(400):
            text = bytearray(good * rng.randrange(1, 4))
            for _ in range(rng.randrange(1, 6)):
                kind = rng.randrange(4)
                at = rng.randrange(len(text)) if text else 0
                if kind == 0 and text:
                    text[at] = rng.randrange(256)
                elif kind == 1:
                    text[at:at] = rng.randbytes(rng.randrange(40))
                elif kind == 2:
                    del text[at:at + rng.randrange(20)]
                else:
                    text[at:at] = b"[" * rng.randrange(3000)
            with connect(d) as s:
                s.sendall(text)
                if n % 3:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
        with connect(d) as s:
            s.sendall(good)
            assert "result" in json.loads(s.makefile().readline())
        assert state(d) == before
        assert d.stop() == 0


def test_clients_that_vanish_in_the_middle_of_work(zonepoold, zonepool):
    with prepared(zonepoold, zonepool) as d:
        for n in range(30):
            with connect(d) as s:
                for verb, params in (("volume.create", {"name": f"v{n}", "size_bytes": 1 << 20}),
                                     ("volume.clone", {"name": f"c{n}", "source": "a"}),
                                     ("volume.map", {"volume": "a"})):
                    s.sendall((json.dumps({"id": 1, "method": verb, "progress": True,
                                           "params": {"pool": "tank", **params}}) + "\n").encode())
        # A copy whose source is being copied already is refused: how many there are is chance.
        wait_for("all to be made", lambda: {f"v{n}" for n in range(30)} <= {
            v["name"] for v in d.json("volume", "list")["volumes"]})
        wait_for("rest", lambda: all(v["in_use"] is None for v in d.json("volume", "list")["volumes"]))
        assert d.stop() == 0


if __name__ == "__main__":
    run_tests(globals())
