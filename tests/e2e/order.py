"""Proves from both daemons' event logs that a hop kept the order which keeps the data safe.

Both hosts log the time of one clock, so events of both are one sequence. What must hold (docs/ownership.md):

  source  every volume suspended -> final delta sent -> GIVEN durable -> OK sent; its gates stay shut afterwards
  target  delta received -> Set Controller State of every volume -> TAKE sent -> OWNED durable -> controllers resumed
          -> ACTIVE durable -> a gate opens -> the first request is let through to a volume
"""


class Log:
    """The events of one host in the time of a hop, and how to find the one that matters."""

    def __init__(self, lab, host, hop, volumes):
        self.name = host.name
        self.volumes = volumes
        self.events = [e for e in lab.events(host, hop.started) if e["t_ns"] / 1e9 <= hop.ended + 2]

    def all(self, event, **members):
        return [e for e in self.events if e["event"] == event and all(e.get(k) == v for k, v in members.items())]

    def time(self, event, which, **members):
        """Time of the first (which 0) or last (which -1) such event; there must be one."""
        found = self.all(event, **members)
        assert found, f"host {self.name} logged no {event} {members or ''}"
        return found[which]["t_ns"]

    def first_requests(self):
        """Volume -> times at which it let a request through, the first of a connection or of an open gate."""
        times = {}
        for e in self.all("first-request"):
            times.setdefault((e["pool"], e["volume"]), []).append(e["t_ns"])
        return {v: times[v] for v in self.volumes if v in times}

    def opened(self):
        """Times at which the gate of one of the volumes opened."""
        return [e["t_ns"] for e in self.all("gate", open=True) if (e["pool"], e["volume"]) in self.volumes]


def prove(lab, guest, hop, volumes):
    """volumes: (pool, volume) of each of the guest's disks."""
    source, target = Log(lab, hop.source, hop, volumes), Log(lab, hop.target, hop, volumes)
    domain = guest.uuid
    n = len(volumes)
    suspended, state_set = source.all("migrate-source-suspended"), target.all("migrate-state-set")
    assert len(suspended) == n, f"{len(suspended)} of {n} volumes were suspended"
    assert len(state_set) == n, f"{len(state_set)} of {n} volumes got their controller's state"
    opened = target.opened()
    assert len(opened) == n, f"{len(opened)} of {n} volumes were opened on the target"
    served = target.first_requests()
    assert served, "no volume let a request through on the target: the guest writes there"

    in_order([
        ("the source's last volume suspended", suspended[-1]["t_ns"]),
        ("the final delta sent", source.time("migrate-delta-sent", 0)),
        ("the delta received", target.time("migrate-delta-received", -1)),
        ("the first controller's state set", state_set[0]["t_ns"]),
        ("the last controller's state set", state_set[-1]["t_ns"]),
        ("TAKE sent", target.time("owner-send", 0, message="TAKE")),
        ("GIVEN on the source", source.time("owner", 0, domain=domain, to="GIVEN")),
        ("OK sent", source.time("owner-send", 0, message="OK")),
        ("OWNED on the target", target.time("owner", 0, domain=domain, to="OWNED")),
        ("the controllers resumed", target.time("controller-resumed", 0)),
        ("ACTIVE on the target", target.time("owner", 0, domain=domain, to="ACTIVE")),
        ("the target's first gate opened", min(opened)),
        ("the target's first request", min(min(times) for times in served.values())),
    ])
    for (pool, volume), times in served.items():
        gate = target.time("gate", 0, open=True, pool=pool, volume=volume)
        assert min(times) >= gate, f"{pool}/{volume} let a request through before its gate opened"
    late = [t for t in source.opened() if t > suspended[0]["t_ns"]]
    assert not late, "the source opened a gate after it was suspended"
    late = [t for times in source.first_requests().values() for t in times if t > suspended[0]["t_ns"]]
    assert not late, "the source let a request through after it was suspended"


def in_order(steps):
    for (before, t), (after, u) in zip(steps, steps[1:]):
        assert t <= u, f"{after} came {(t - u) / 1e6:.3f} ms before {before}"
