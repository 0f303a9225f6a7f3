#!/usr/bin/env python3
"""Several clients make, write, copy, grow, wipe and delete volumes at once while the daemon is killed and started
again. Each client keeps a model of what was acknowledged; after every start the daemon must agree with it, but
for the one operation of each client that was cut off. Usage: test_daemon_stress.py ZONEPOOLD ZONEPOOL
The seed is printed; SEED=N repeats the choices (not the timing), ROUNDS=N sets how often it is killed."""
import json
import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
from zpd import MIB, Daemon, run_tests  # noqa: E402

CLIENTS = 4
CHUNK = 64 << 10  # what is written at once, at a multiple of it


class Gone(Exception):
    """The daemon was killed under an operation."""


class Client:
    """Owns the volumes c<n>-*. model: name -> [size, {chunk number: byte}]. doubt: what may have happened."""

    def __init__(self, d, number, seed):
        self.d, self.number, self.rng = d, number, random.Random(seed)
        self.model, self.doubt, self.count, self.done = {}, None, 0, 0
        self.fault = None
        self.stopping = False

    def call(self, method, **params):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(60)
                s.connect(str(self.d.socket))
                s.sendall((json.dumps({"id": 1, "method": method,
                                       "params": {"pool": "tank", **params}}) + "\n").encode())
                line = s.makefile().readline()
        except (ConnectionError, FileNotFoundError) as why:
            raise Gone from why
        if not line:
            raise Gone
        answer = json.loads(line)
        if answer.get("error", {}).get("code") == "ECANCELED":
            raise Gone
        return answer

    def must(self, method, **params):
        answer = self.call(method, **params)
        assert "result" in answer, (method, params, answer)
        return answer["result"]

    def path(self, name):
        return str(self.d.run / "mnt/tank" / name)

    def write(self, name, chunk, byte):
        """One chunk, durable; zero or the former byte may be there if it is cut off."""
        try:
            fd = os.open(self.path(name), os.O_WRONLY)
        except OSError as why:
            raise Gone from why
        try:
            os.pwrite(fd, bytes([byte]) * CHUNK, chunk * CHUNK)
            os.fsync(fd)
        except OSError as why:
            raise Gone from why
        finally:
            try:
                os.close(fd)
            except OSError:
                pass

    def step(self):
        rng, names = self.rng, sorted(self.model)
        what = rng.choice(["create", "write", "write", "write", "write", "clone", "resize", "wipe", "delete"])
        if not names or (what == "create" and len(names) < 6):
            self.count += 1
            name, size = f"c{self.number}-{self.count}", rng.randrange(1, 9) * MIB
            self.doubt = ("create", name, [size, {}])
            self.must("volume.create", name=name, size_bytes=size)
            self.model[name] = [size, {}]
        elif what == "write":
            name = rng.choice(names)
            size, chunks = self.model[name]
            chunk, byte = rng.randrange(size // CHUNK), rng.randrange(1, 256)
            self.doubt = ("write", name, chunk, byte)
            self.write(name, chunk, byte)
            chunks[chunk] = byte
        elif what == "clone" and len(names) < 6:
            self.count += 1
            source, name = rng.choice(names), f"c{self.number}-{self.count}"
            size, chunks = self.model[source]
            self.doubt = ("clone", name)
            self.busy_is_fine("volume.clone", name=name, source=source)
            self.model[name] = [size, dict(chunks)]
        elif what == "resize":
            name = rng.choice(names)
            size = self.model[name][0] + rng.randrange(3) * MIB
            self.doubt = ("resize", name, size)
            self.busy_is_fine("volume.resize", volume=name, size_bytes=size)
            self.model[name][0] = size
        elif what == "wipe":
            name = rng.choice(names)
            self.doubt = ("wipe", name)
            self.busy_is_fine("volume.wipe", volume=name)
            self.model[name][1] = {}
        elif what == "delete" and len(names) > 2:
            name = rng.choice(names)
            self.doubt = ("delete", name)
            self.busy_is_fine("volume.delete", volume=name)
            del self.model[name]
        self.doubt = None
        self.done += 1

    def busy_is_fine(self, method, **params):
        """The kernel closes our files a little after close(): a volume may be busy for that long."""
        deadline = time.monotonic() + 10
        while True:
            answer = self.call(method, **params)
            if "result" in answer:
                return
            assert answer["error"]["code"] == "EBUSY" and time.monotonic() < deadline, (params, answer)

    def run(self):
        try:
            while not self.stopping:
                self.step()
        except Gone:
            pass
        except BaseException as why:  # told by the main thread
            self.fault = why

    def check(self):
        """The daemon against the model, and the doubt resolved by what it says."""
        have = {v["name"]: v for v in self.must("volume.list")["volumes"]
                if v["name"].startswith(f"c{self.number}-")}
        doubt, self.doubt = self.doubt, None
        if doubt and doubt[0] == "create" and doubt[1] in have:
            self.model[doubt[1]] = doubt[2]
        if doubt and doubt[0] == "clone" and doubt[1] in have:
            self.busy_is_fine("volume.delete", volume=doubt[1])  # a partial copy, as documented
            del have[doubt[1]]
        if doubt and doubt[0] == "delete" and doubt[1] not in have:
            del self.model[doubt[1]]
        assert sorted(have) == sorted(self.model), (sorted(have), sorted(self.model), doubt)
        for name, (size, chunks) in self.model.items():
            if doubt and doubt[:2] == ("resize", name):
                assert have[name]["size_bytes"] in (size, doubt[2]), (name, have[name])
                self.model[name][0] = have[name]["size_bytes"]
            else:
                assert have[name]["size_bytes"] == size, (name, size, have[name])
            self.check_data(name, self.model[name][0], chunks, doubt)

    def check_data(self, name, size, chunks, doubt):
        fd = os.open(self.path(name), os.O_RDONLY)
        wiped = bool(doubt) and doubt[:2] == ("wipe", name)
        try:
            for chunk in range(size // CHUNK):
                data, want = os.pread(fd, CHUNK, chunk * CHUNK), chunks.get(chunk, 0)
                if doubt and doubt[:3] == ("write", name, chunk):
                    # Blocks of the old and the new; each of one kind.
                    kinds = {data[i:i + 4096] for i in range(0, CHUNK, 4096)}
                    assert kinds <= {bytes([want]) * 4096, bytes([doubt[3]]) * 4096}, (name, chunk)
                    if len(kinds) > 1:
                        self.write(name, chunk, want)
                    elif data[0]:
                        chunks[chunk] = data[0]
                elif wiped and data == bytes(CHUNK):
                    chunks.pop(chunk, None)
                else:
                    assert data == bytes([want]) * CHUNK, (name, chunk, want, data[:4], doubt)
        finally:
            os.close(fd)


def test_acknowledged_changes_survive_kills(zonepoold, zonepool):
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    rounds = int(os.environ.get("ROUNDS", 8))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    with Daemon(zonepoold, zonepool) as d:
        d.start()
        if not os.path.ismount(d.run / "mnt"):
            print("SKIP: no FUSE here")
            sys.exit(77)
        d.cli("pool", "create", "tank", "--device", f"{d.dir}/a.img,size=256M,zone=2M", "--device",
              f"{d.dir}/b.img,size=192M,zone=4M,capacity=3M")
        clients = [Client(d, i, rng.random()) for i in range(CLIENTS)]
        for n in range(rounds):
            threads = [threading.Thread(target=c.run) for c in clients]
            for t in threads:
                t.start()
            time.sleep(rng.uniform(0.2, 1.2))
            if rng.random() < 0.3:
                for c in clients:
                    c.stopping = True
                for t in threads:
                    t.join(60)
                assert d.stop() == 0
            else:
                d.kill()
            for t in threads:
                t.join(60)
            for c in clients:
                if c.fault:
                    raise c.fault
                c.stopping = False
            d.start()
            for c in clients:
                c.check()
        allocated = d.json("pool", "status", "tank")["allocated_bytes"]
        volumes = d.json("volume", "list")["volumes"]
        # what clones share, and what of the deleted is not gone yet, is nobody's own
        own = sum(v["allocated_bytes"] for v in volumes)
        assert allocated >= own, (allocated, volumes)
        print(f"{rounds} rounds, {sum(c.done for c in clients)} operations, {len(volumes)} volumes")
        assert d.stop() == 0


if __name__ == "__main__":
    run_tests(globals())
