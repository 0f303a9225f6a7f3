"""A guest with 2 vCPUs and 2 disks in 2 pools moves six times between the hosts.

Its own check of RAM against disk finds nothing; each hop moves little more than what was allocated plus what the guest
wrote meanwhile; and the event logs of the daemons prove the order that keeps the data safe.
"""

import order
from lab.guest import vhost_disk

POOLS = ("fast", "slow")
ALLOWANCE = 1.05


def run(lab, options):
    hops = 30 if options.full else 6
    for host in lab.a, lab.b:
        for pool in POOLS:
            lab.make_pool(host, pool)
    for pool in POOLS:
        lab.a.virsh("vol-create-as", pool, "disk", "1G")
    guest = lab.guest("mover", [vhost_disk(POOLS[0], "disk", "vda"), vhost_disk(POOLS[1], "disk", "vdb")], vcpus=2,
                      settings="wl.fill_mib=48 wl.area_mib=64 wl.threads=2")
    guest.define(lab.a)
    guest.start(lab.a)

    source, stalls, ratios = lab.a, [], []
    for number in range(1, hops + 1):
        guest.expect_progress(source)
        allocated = sum(lab.volume(source, pool, "disk")["allocated_bytes"] for pool in POOLS)
        before = guest.last_heartbeat()
        hop = lab.migrate(guest, source)
        after = guest.expect_progress(hop.target)
        moved = lab.moved_bytes(guest, hop)
        allowed = ALLOWANCE * (allocated + after.bytes - before.bytes)
        assert 0 < moved <= allowed, f"hop {number}: moved {moved} bytes, allowed {allowed:.0f}"
        order.prove(lab, guest, hop, [(pool, "disk") for pool in POOLS])
        assert guest.errors() == [], f"hop {number}: {guest.errors()[:3]}"
        stalls.append(guest.stall_ms(hop.first_line))
        ratios.append(moved / (allocated + after.bytes - before.bytes))
        source = hop.target
    blocks, errors = guest.sweep()
    assert errors == 0 and guest.errors() == [], f"{errors} errors in {blocks} blocks: {guest.errors()[:3]}"
    return f"{hops} hops, moved/(allocated+written) <= {max(ratios):.3f}, stalls {'/'.join(map(str, stalls))} ms"
