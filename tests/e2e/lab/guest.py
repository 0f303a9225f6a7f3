"""The test guest: its domain XML, and what its workload says on the serial line (tests/e2e/guest/workload.c)."""

import os
import re
import selectors
import socket
import sys
import threading
import time
import uuid

from .host import LabError, wait_for

# QEMU 7.2 without KVM loses track of some guest RAM written during a migration when the size of the RAM is a multiple
# of 256 KiB. 8 KiB more avoid that; libvirt rounds sizes, so they are given on QEMU's own command line.
ODD_RAM_KIB = 256 * 1024 + 8

BOOT_S = 40  # for the kernel to run its first program; 2 to 10 s are usual

DOMAIN = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>256</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>{directory}/vmlinuz</kernel>
    <initrd>{directory}/initrd.gz</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 wl.disks={ndisks} {settings}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{disks}
    <serial type='unix'><source mode='connect' path='/run/serial-{name}.sock'/><target port='0'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-object'/>
    <qemu:arg value='memory-backend-memfd,id=oddram,share=on,size={ram_bytes}'/>
    <qemu:arg value='-machine'/>
    <qemu:arg value='memory-backend=oddram'/>
    <qemu:arg value='-m'/>
    <qemu:arg value='{ram_kib}k'/>
  </qemu:commandline>
</domain>
"""

VHOST_DISK = """    <disk type='vhostuser' device='disk'>
      <driver name='qemu' type='raw'/>
      <source type='unix' path='{socket}'><reconnect enabled='yes' timeout='1'/></source>
      <target dev='{target}' bus='virtio'/>
    </disk>"""


def vhost_disk(pool, volume, target):
    return VHOST_DISK.format(socket=f"/run/zonepool/{pool}/{volume}.sock", target=target)


class Console:
    """Listens on every host for the guest's serial line, stamps each line with this machine's clock, keeps it."""

    def __init__(self, hosts, name):
        self.lines = []      # (time, host's name, text); appended by the thread, never changed
        self.echo = None     # called with (time, host, text) by the thread
        self.live = None     # the connection that last said something
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self.wake, waker = socket.socketpair()
        self.selector.register(waker, selectors.EVENT_READ, None)
        self.waker = waker
        for host in hosts:
            listener = socket.socket(socket.AF_UNIX)
            path = str(host.path(f"/run/serial-{name}.sock"))
            if os.path.exists(path):
                os.unlink(path)
            listener.bind(path)
            listener.listen(8)
            self.selector.register(listener, selectors.EVENT_READ, ("listen", host.name, None))
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self):
        while not self.stopping:
            for key, _ in self.selector.select():
                if key.data is None:
                    key.fileobj.recv(64)
                elif key.data[0] == "listen":
                    connection, _ = key.fileobj.accept()
                    self.selector.register(connection, selectors.EVENT_READ, ("line", key.data[1], bytearray()))
                else:
                    self._receive(key)

    def _receive(self, key):
        _, host, pending = key.data
        try:
            data = key.fileobj.recv(65536)
        except OSError:
            data = b""
        now = time.time()
        if not data:
            self.selector.unregister(key.fileobj)
            key.fileobj.close()
            return
        self.live = key.fileobj
        pending += data
        while (end := pending.find(b"\n")) >= 0:
            line = (now, host, pending[:end].decode("ascii", "replace").strip())
            del pending[:end + 1]
            self.lines.append(line)
            if self.echo:
                self.echo(*line)

    def send(self, text):
        self.live.sendall(text.encode() + b"\n")

    def close(self):
        self.stopping = True
        self.wake.send(b"x")
        self.thread.join(10)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()


class Heartbeat:
    __slots__ = ("time", "host", "n", "seq", "bytes", "errors")

    def __init__(self, when, host, fields):
        self.time, self.host = when, host
        self.n, self.seq, self.bytes, self.errors = (int(f) for f in fields)


class Guest:
    """A domain with the workload in it. disks: the XML of each, in order (vda, vdb, ...)."""

    HEARTBEAT = re.compile(r"HB n=(\d+) seq=(\d+) bytes=(\d+) err=(\d+)")

    def __init__(self, lab, name, disks, vcpus=2, settings=""):
        self.lab = lab
        self.name = name
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.xml = DOMAIN.format(
            name=name, uuid=self.uuid, vcpus=vcpus, directory=lab.guest_dir, ndisks=len(disks), settings=settings,
            disks="\n".join(disks), ram_bytes=ODD_RAM_KIB * 1024, ram_kib=ODD_RAM_KIB)
        self.console = Console(lab.hosts.values(), name)
        self.sweeps = 0

    # --- life

    def define(self, host):
        host.virsh("define", host.write(f"/run/{self.name}.xml", self.xml))

    def start(self, host):
        """Starts the domain and waits until its workload has filled its disks."""
        since = self._boot(host)
        self.wait_line(r"WL-FILLED ", 90, since)

    def _boot(self, host):
        """Starts the domain until its first program runs; returns the console's length before that.

        Without KVM a kernel hangs early in its boot now and then, before any driver is loaded. A guest whose
        first program has not said a word never touched a disk of ours, and is started again."""
        for last in False, False, True:
            since = len(self.console.lines)
            self.sweeps = 0
            host.virsh("start", self.name)
            try:
                self.wait_line(r"WL-INIT", BOOT_S, since)
                return since
            except LabError:
                if last or len(self.console.lines) > since or self.state(host) != "running":
                    raise
            print(f"guest {self.name}: its kernel was silent for {BOOT_S} s and is started again", file=sys.stderr)
            host.virsh("destroy", self.name)
        raise AssertionError("not reached")

    def state(self, host):
        return host.virsh("domstate", self.name, check=False)

    def close(self):
        self.console.close()

    # --- the serial line

    def wait_line(self, pattern, timeout_s, since=0):
        """Returns (time, host, match) of the first line from index since on that matches."""
        wanted = re.compile(pattern)
        position = since

        def look():
            nonlocal position
            while position < len(self.console.lines):
                when, host, text = self.console.lines[position]
                position += 1
                found = wanted.search(text)
                if found:
                    return when, host, found
                if re.search(r"WL-FATAL|Kernel panic", text):
                    raise LabError(f"guest {self.name}: {text}")
            return None

        return wait_for(f"guest {self.name} to print {pattern!r}", look, timeout_s)

    def heartbeats(self, since=0):
        found = ((t, h, self.HEARTBEAT.search(text)) for t, h, text in self.console.lines[since:])
        return [Heartbeat(t, h, m.groups()) for t, h, m in found if m]

    def last_heartbeat(self):
        for when, host, text in reversed(self.console.lines):
            match = self.HEARTBEAT.search(text)
            if match:
                return Heartbeat(when, host, match.groups())
        raise LabError(f"guest {self.name} never printed a heartbeat")

    def expect_progress(self, host, timeout_s=20):
        """The workload goes on, on this host: sequence numbers rise. Returns the heartbeat that shows it."""
        before, position = self.last_heartbeat(), len(self.console.lines)

        def look():
            for beat in self.heartbeats(position):
                if beat.host == host.name and beat.seq > before.seq + 20:
                    return beat
            return None

        return wait_for(f"guest {self.name} to work on host {host.name}", look, timeout_s, 0.2)

    def errors(self):
        """Every line that says something went wrong in the guest."""
        return [text for _, _, text in self.console.lines if re.search(r"WL-ERR|WL-FATAL|Kernel panic|I/O error", text)]

    def sweep(self, timeout_s=120):
        """Has every block of every disk verified; returns (blocks, errors so far)."""
        since = len(self.console.lines)
        self.console.send("sweep")
        self.sweeps += 1
        _, _, match = self.wait_line(rf"WL-SWEEP n={self.sweeps} blocks=(\d+) err=(\d+)", timeout_s, since)
        return int(match[1]), int(match[2])

    def stall_ms(self, since=0):
        """The longest gap between two heartbeats."""
        beats = self.heartbeats(since)
        return max((round((b.time - a.time) * 1000) for a, b in zip(beats, beats[1:])), default=0)
