"""The two hosts together: network, daemons, pools, migrations, and what the daemons' event logs say."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .guest import Guest
from .host import Host, LabError, wait_for
from .signals import uninterrupted

STORAGE_BACKEND_DIR = "/usr/lib/zonepool/storage-backend"
PEER_PORT = 7480

ZONEPOOLD_CONF = """insecure_lab_transport = 1
peer_listen = "{ip}:{port}"
"""

POOL = """<pool type='vstorage' xmlns:zonepool='https://zonepool.org/schemas/pool/1'>
  <name>{name}</name>
  <target><path>/run/zonepool/mnt/{name}</path></target>
  <zonepool:options>
{devices}
{peers}
  </zonepool:options>
</pool>
"""
DEVICE = "    <zonepool:device path='{path}' size='{size}' zone='{zone}'/>"
PEER = "    <zonepool:peer host='{host}' port='{port}'/>"


class Hop:
    """One migration: when it ran, between whom, and what virsh said."""

    def __init__(self, source, target, first_line):
        self.source, self.target = source, target
        self.first_line = first_line       # index into the guest's console at the start
        self.started = time.time()
        self.ended = None
        self.exit = None
        self.text = ""


class Lab:
    """with Lab(stage, guest) as lab: both hosts are up inside, and nothing is left of them outside.

    stage: what `meson install --destdir` made, or None for hosts without zonepool. guest: tests/e2e/guest/build's
    output. logs: directory that gets the hosts' logs at the end.
    """

    def __init__(self, stage, guest, logs=None):
        self.stage = Path(stage).resolve() if stage else None
        self.guest_source = Path(guest)
        self.guest_dir = "/srv/guest"
        self.logs = logs
        self.dir = None
        self.hosts = {}
        self.guests = []

    # --- up and down

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="zonepool-lab.", dir="/var/tmp"))
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.down()

    def _up(self):
        for name in "AB":
            host = self.hosts[name] = Host(name, self.dir, self.stage)
            host.up()
            shutil.copytree(self.guest_source, host.path(self.guest_dir),
                            ignore=lambda _, names: [n for n in names if n not in ("vmlinuz", "initrd.gz")])
        a, b = self.a, self.b
        in_a = ["nsenter", "-t", str(a.pid), "-n", "ip", "link"]
        subprocess.run(in_a + ["add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(b.pid)], check=True)
        for host in a, b:
            host.run("ip", "addr", "add", f"{host.ip}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
        for host in a, b:
            if self.stage:
                host.write("/etc/zonepool/zonepoold.conf", ZONEPOOLD_CONF.format(ip=host.ip, port=PEER_PORT))
                self.start_zonepoold(host, wait=False)
            host.configure_libvirt("zonepool" if self.stage else None)
        for host in a, b:
            if self.stage:
                self.wait_zonepoold(host)
            self.start_libvirtd(host)

    def down(self):
        with uninterrupted():
            self._down()

    def _down(self):
        for guest in self.guests:
            guest.close()
        self.guests = []
        if self.logs:
            for host in self.hosts.values():
                host.save_logs(self.logs)
        for host in self.hosts.values():
            host.down()
        self.hosts = {}
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    @property
    def a(self):
        return self.hosts["A"]

    @property
    def b(self):
        return self.hosts["B"]

    def other(self, host):
        return self.b if host is self.a else self.a

    # --- daemons

    def start_libvirtd(self, host):
        host.start_libvirtd({"LIBVIRT_STORAGE_BACKEND_DIR": STORAGE_BACKEND_DIR} if self.stage else None)

    def start_zonepoold(self, host, wait=True):
        host.spawn("zonepoold", ["zonepoold"])
        if wait:
            self.wait_zonepoold(host)

    def wait_zonepoold(self, host):
        daemon = host.daemons["zonepoold"]

        def answers():
            if not daemon.running():
                raise LabError(f"host {host.name}: zonepoold ended: {daemon.log.read_text()[-2000:]}")
            done = host.run("zonepool", "pool", "list", "--json", check=False)
            return done.returncode == 0 and all(
                pool["state"] != "importing" for pool in json.loads(done.stdout)["pools"])

        wait_for(f"host {host.name}'s zonepoold", answers, 30, 0.1)

    def kill_zonepoold(self, host):
        """As a crash would: no warning, no clean-up."""
        daemon = host.daemons["zonepoold"]
        daemon.kill(signal.SIGKILL)
        daemon.nsenter.wait(15)

    def zonepool(self, host, *argv):
        """The command line tool with --json, decoded."""
        return json.loads(host.run("zonepool", *argv, "--json").stdout)

    def link(self, up):
        """Plugs or pulls the cable between the hosts."""
        self.a.run("ip", "link", "set", "eth0", "up" if up else "down")

    # --- pools, through virsh

    def pool_xml(self, host, name, size="1G", zone="16M", ndevices=2):
        """Over file-backed zoned devices, with the other host as peer."""
        devices = [DEVICE.format(path=f"/srv/{name}-{i}.img", size=size, zone=zone) for i in range(ndevices)]
        peer = PEER.format(host=self.other(host).ip, port=PEER_PORT)
        return POOL.format(name=name, devices="\n".join(devices), peers=peer)

    def make_pool(self, host, name, **options):
        host.virsh("pool-define", host.write(f"/run/{name}.pool.xml", self.pool_xml(host, name, **options)))
        host.virsh("pool-build", name)
        host.virsh("pool-start", name)

    def volume(self, host, pool, name):
        """What the daemon says about a volume."""
        return self.zonepool(host, "volume", "info", f"{pool}/{name}")

    # --- guests

    def guest(self, name, disks, **options):
        guest = Guest(self, name, disks, **options)
        self.guests.append(guest)
        return guest

    def migrate(self, guest, source, check=True, timeout_s=90, options=(), progress=None):
        """virsh migrate --live to the other host. progress(): called every 0.2 s while it runs."""
        target = self.other(source)
        hop = Hop(source, target, len(guest.console.lines))
        argv = source.enter() + ["virsh", "-q", "migrate", "--live", "--p2p", *options, guest.name,
                                 f"qemu+tcp://host{target.name}/system"]
        virsh = subprocess.Popen(argv, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + timeout_s
        try:
            while virsh.poll() is None:
                if time.monotonic() > deadline:
                    raise LabError(f"the migration {source.name} -> {target.name} did not end within {timeout_s} s")
                if progress:
                    progress()
                time.sleep(0.2 if progress else 0.05)
        finally:
            if virsh.poll() is None:
                virsh.kill()
            hop.text = virsh.communicate()[0].strip()
        hop.exit, hop.ended = virsh.returncode, time.time()
        if check and hop.exit != 0:
            raise LabError(f"migration {source.name} -> {target.name}: {hop.text}")
        return hop

    def incoming(self, guest, host):
        """The host's account of the migration that brings, or last brought, the guest there; None before it."""
        found = self.zonepool(host, "migrate", "status")["migrations"]
        found = [m for m in found if m["domain"] == guest.uuid and m["direction"] == "incoming"]
        return found[-1] if found else None

    def moved_bytes(self, guest, hop):
        """Block data that the target's daemon received in this hop, repeats included."""
        status = self.incoming(guest, hop.target)
        if not status:
            raise LabError(f"host {hop.target.name}: zonepoold does not know the migration it took part in")
        return status["moved_bytes"]

    # --- between tests

    def reset(self):
        """Back to two idle hosts: no domain, no pool, no device, every daemon up, the cable plugged."""
        self.link(True)
        for guest in self.guests:
            guest.close()
        self.guests = []
        for host in self.hosts.values():
            if not host.daemons["libvirtd"].running():
                self.start_libvirtd(host)
            if self.stage and not host.daemons["zonepoold"].running():
                self.start_zonepoold(host)
        for host in self.hosts.values():
            for domain in host.virsh("list", "--all", "--name").split():
                host.virsh("destroy", domain, check=False)
                host.virsh("undefine", domain, check=False)
        for host in self.hosts.values():
            for pool in host.virsh("pool-list", "--all", "--name").split():
                self._remove_pool(host, pool)
            for image in host.path("/srv").glob("*.img"):
                image.unlink()

    def _remove_pool(self, host, pool):
        """A migration that was refused a moment ago may still hold a volume; not for long."""
        deadline = time.monotonic() + 15
        while pool in host.virsh("pool-list", "--name").split():
            done = host.run("virsh", "-q", "pool-destroy", pool, check=False)
            if done.returncode and time.monotonic() > deadline:
                raise LabError(f"host {host.name}: pool {pool} cannot be stopped: {done.stderr.strip()}")
        host.virsh("pool-delete", pool, check=False)
        host.virsh("pool-undefine", pool)

    # --- event logs

    def events(self, host, since=0.0):
        """The daemon's events at or after a time (seconds), oldest first; a line cut short by a crash is left out."""
        path = host.path("/var/log/zonepool/events.jsonl")
        found = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("t_ns", 0) / 1e9 >= since:
                found.append(event)
        return found
