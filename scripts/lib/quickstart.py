"""What scripts/quickstart shows once zonepool is built: everything through plain virsh, as a user would type it."""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from lab.guest import vhost_disk  # noqa: E402
from lab.host import LabError  # noqa: E402
from lab.lab import Lab  # noqa: E402
from lab.prepare import guest as guest_image, stage  # noqa: E402
from lab.signals import stop_on_signals  # noqa: E402

BUILD = ROOT / "build-quickstart"
POOL, VOLUME, GUEST = "tank", "disk0", "demo"
MIB = 1 << 20


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n== {text}")


def virsh(host, *argv):
    """Runs and shows it, as on that host's terminal."""
    say(f"host{host.name}# virsh {' '.join(argv)}")
    text = host.virsh(*argv, timeout_s=120)
    for line in text.splitlines():
        say(f"    {line}")
    return text


def watch(seconds, guest):
    """Lets the guest work, and shows that it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        beat = guest.last_heartbeat()
        say(f"    guest on host{beat.host}: {beat.seq} writes, {beat.bytes // MIB} MiB written, {beat.errors} errors")


class Progress:
    """A line now and then of where a migration stands, as the target's daemon sees it."""

    def __init__(self, lab, guest, target):
        self.lab, self.guest, self.target = lab, guest, target
        self.next = 0
        self.last = None

    def __call__(self):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 0.5
        status = self.lab.incoming(self.guest, self.target)
        if status and status != self.last:
            self.last = status
            say(f"    {status['state'].lower()}: {status['moved_bytes'] // MIB} MiB moved, "
                f"{status['remaining_bytes'] // MIB} MiB to go, pass {status['passes']}")


def make_pools(lab):
    step("a pool over two file-backed zoned devices, on each host")
    for host in lab.a, lab.b:
        host.write("/run/pool.xml", lab.pool_xml(host, POOL, size="2G", zone="16M"))
        virsh(host, "pool-define", "/run/pool.xml")
        virsh(host, "pool-build", POOL)
        virsh(host, "pool-start", POOL)
    virsh(lab.a, "vol-create-as", POOL, VOLUME, "1G")
    virsh(lab.a, "vol-info", VOLUME, "--pool", POOL)


def start_guest(lab):
    step("a guest that writes, reads back, and checks its disk against its memory")
    guest = lab.guest(GUEST, [vhost_disk(POOL, VOLUME, "vda")], settings="wl.fill_mib=128 wl.area_mib=192")
    lab.a.write("/run/demo.xml", guest.xml)
    virsh(lab.a, "define", "/run/demo.xml")
    say(f"host{lab.a.name}# virsh start {GUEST}")
    guest.start(lab.a)
    watch(3, guest)
    return guest


def hop(lab, guest, source):
    target = lab.other(source)
    step(f"live migration: host{source.name} -> host{target.name}")
    allocated = lab.volume(source, POOL, VOLUME)["allocated_bytes"]
    before = guest.last_heartbeat()
    say(f"host{source.name}# virsh migrate --live --p2p {GUEST} qemu+tcp://host{target.name}/system")
    done = lab.migrate(guest, source, progress=Progress(lab, guest, target))
    after = guest.expect_progress(target)
    result = {
        "way": f"{source.name} -> {target.name}",
        "seconds": done.ended - done.started,
        "allocated": allocated,
        "written": after.bytes - before.bytes,
        "moved": lab.moved_bytes(guest, done),
        "stall_ms": guest.stall_ms(done.first_line),
    }
    watch(2, guest)
    return result


def report(guest, hops, blocks):
    step("report")
    say(f"    {'hop':<8}{'seconds':>9}{'allocated MiB':>15}{'written MiB':>13}{'moved MiB':>11}{'stall ms':>10}")
    for h in hops:
        say(f"    {h['way']:<8}{h['seconds']:>9.1f}{h['allocated'] / MIB:>15.1f}{h['written'] / MIB:>13.1f}"
            f"{h['moved'] / MIB:>11.1f}{h['stall_ms']:>10}")
    beat = guest.last_heartbeat()
    say(f"    the guest wrote {beat.bytes // MIB} MiB in {beat.seq} writes; at the end it verified all of its {blocks} blocks")
    say("    allocated: what the volume held when the hop began; written: by the guest during the hop;")
    say("    moved: block data that the hosts exchanged; stall: the longest gap in the guest's heartbeats")
    for line in guest.errors()[:10]:
        say(f"    {line}")


def main():
    stop_on_signals()
    with stage(BUILD) as tree:
        image = guest_image(BUILD)
        step("two private hosts, a stock libvirtd and a zonepoold on each")
        with Lab(tree, image, BUILD / "logs/quickstart") as lab:
            make_pools(lab)
            guest = start_guest(lab)
            hops = [hop(lab, guest, lab.a), hop(lab, guest, lab.b)]
            step("every block of the disk, once more")
            blocks, errors = guest.sweep()
            errors = max(errors, len(guest.errors()))
            report(guest, hops, blocks)
    # Said when all is taken down.
    say(f"\nquickstart: {'FAILED' if errors else 'ok'} verify_errors={errors} hops={len(hops)} "
        f"allocated_mib={hops[0]['allocated'] // MIB} moved_mib={sum(h['moved'] for h in hops) // MIB} "
        f"stall_ms={max(h['stall_ms'] for h in hops)}")
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"quickstart: FAILED: {error}\nlogs: {BUILD / 'logs/quickstart'}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("quickstart: interrupted; everything is taken down", file=sys.stderr)
        sys.exit(130)
