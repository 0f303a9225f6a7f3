"""A private host: mount, net, uts, ipc and pid namespaces over this machine's own files.

What the host changes stays in its namespaces: /run, /etc, /var and /srv are its own, /usr is this machine's with the
installed tree of the project laid over it. Nothing of the real machine is written but the directory given, and a
namespace ends with its first process, which dies with the process that made the Host, however that one ends.
"""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

# Runs as process 1 of the host. $1 name, $2 directory, $3 installed tree ("" for none). /run is a fresh tmpfs and holds
# the writable layers, so no file system below needs to support being one.
INIT = r"""
set -eu
name=$1 dir=$2 stage=$3
hostname "host$name"
mount --make-rprivate /
mkdir -p "$dir/srv"
mount --bind "$dir/srv" /srv
if [ -n "$stage" ]; then
    mkdir -p "$stage/usr" "$stage/etc"
    mount -t overlay -o "ro,lowerdir=$stage/usr:/usr" overlay /usr
fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/layer/etc /run/layer/etc.work /run/layer/var /run/layer/var.work /run/lock
mount -t overlay -o "lowerdir=${stage:+$stage/etc:}/etc,upperdir=/run/layer/etc,workdir=/run/layer/etc.work" overlay /etc
mount -t overlay -o "lowerdir=/var,upperdir=/run/layer/var,workdir=/run/layer/var.work" overlay /var
# This machine's own domains, pools and settings are none of the lab's business.
for d in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt \
         /etc/zonepool /var/lib/zonepool /var/log/zonepool; do
    mkdir -p "$d"
    mount -t tmpfs -o mode=755 tmpfs "$d"
done
for d in /etc/libvirt /etc/zonepool; do
    [ -z "$stage" ] || [ ! -d "$stage$d" ] || cp -a "$stage$d/." "$d/"
done
mount -t tmpfs tmpfs /sys/fs/cgroup 2>/dev/null || true   # without cgroups libvirt does without them
printf '127.0.0.1 localhost\n10.99.0.1 hostA\n10.99.0.2 hostB\n' > /etc/hosts
ip link set lo up
: > /run/ready
trap 'exit 0' TERM
while :; do sleep 3600 & wait $! || true; done
"""

LIBVIRTD_CONF = """
listen_tls = 0
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "{uuid}"
log_filters = "1:qemu.qemu_migration 3:*"
log_outputs = "1:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 2
keepalive_count = 5
"""

QEMU_CONF = """
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_address = "0.0.0.0"
migration_host = "{ip}"
keepalive_interval = 2
keepalive_count = 5
"""

# What runs in a host must not depend on who runs the tests.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}

ADDRESS = {"A": "10.99.0.1", "B": "10.99.0.2"}
UUID = {"A": "aaaaaaaa-0001-4000-8000-00000000000a", "B": "bbbbbbbb-0002-4000-8000-00000000000b"}


class LabError(Exception):
    """The lab itself, or the product in it, did not do what the caller relies on."""


class Skip(Exception):
    """A test cannot run here; the text says why."""


def wait_for(what, condition, timeout_s, step_s=0.05):
    """Returns the first true value of condition(); LabError naming what when none came in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"gave up after {timeout_s} s waiting for {what}")
        time.sleep(step_s)


class Daemon:
    """A process of a host, started by nsenter: its only child is the process itself."""

    def __init__(self, host, name, argv, env):
        self.name = name
        self.log = host.dir / f"{name}.log"
        with open(self.log, "ab") as out:
            self.nsenter = subprocess.Popen(
                host.enter(env) + argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True)

    def pid(self):
        """The process's id on this machine, or None when it has ended."""
        if self.nsenter.poll() is not None:
            return None
        me = self.nsenter.pid
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        return int(children[0]) if children else None

    def running(self):
        return self.nsenter.poll() is None

    def kill(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)

    def stop(self, number=signal.SIGTERM, timeout_s=15):
        """Ends the process and returns its exit status as Popen gives it."""
        self.kill(number)
        try:
            return self.nsenter.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill(signal.SIGKILL)
            self.nsenter.wait(timeout_s)
            raise LabError(f"{self.name} did not end within {timeout_s} s of signal {number}")


class Host:
    """See the head of this file. Not usable before up() and after down()."""

    def __init__(self, name, directory, stage):
        self.name = name
        self.dir = Path(directory) / f"host{name}"
        self.stage = Path(stage) if stage else None
        self.ip = ADDRESS[name]
        self.pid = None
        self.unshare = None
        self.daemons = {}

    # --- the namespaces

    def up(self):
        self.dir.mkdir(parents=True)
        with open(self.dir / "init.log", "wb") as log:
            self.unshare = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork",
                 "--kill-child", "--mount-proc", "--propagation", "private",
                 "bash", "-c", INIT, "init", self.name, str(self.dir), str(self.stage or "")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_for(f"host {self.name}'s namespaces", self._ready, 15)

    def _ready(self):
        if self.unshare.poll() is not None:
            raise LabError(f"host {self.name}: {(self.dir / 'init.log').read_text().strip()}")
        me = self.unshare.pid
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        if not children:
            return False
        self.pid = int(children[0])
        return self.path("/run/ready").exists()

    def down(self):
        """Kills everything in the host; returns when it is gone. Harmless when it never came up."""
        if self.unshare and self.unshare.poll() is None:
            os.kill(self.pid or self.unshare.pid, signal.SIGKILL)
            self.unshare.wait(30)
        for daemon in self.daemons.values():
            daemon.nsenter.wait(30)
        self.pid = None

    def enter(self, env=None):
        prefix = ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "-i", "-p", "--"]
        return prefix + ["env", "-i"] + [f"{k}={v}" for k, v in {**ENVIRONMENT, **(env or {})}.items()]

    def path(self, inside):
        """Where a path of the host is seen from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    # --- commands

    def run(self, *argv, check=True, timeout_s=60):
        try:
            done = subprocess.run(self.enter() + [str(a) for a in argv], cwd="/", capture_output=True, text=True,
                                  timeout=timeout_s, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise LabError(f"host {self.name}: {shlex.join(map(str, argv))}: no end after {timeout_s} s") from None
        if check and done.returncode != 0:
            raise LabError(f"host {self.name}: {shlex.join(map(str, argv))}: exit {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()}")
        return done

    def virsh(self, *argv, check=True, timeout_s=60):
        """Plain virsh; returns what it printed."""
        return self.run("virsh", "-q", *argv, check=check, timeout_s=timeout_s).stdout.strip()

    def virsh_refused(self, *argv, timeout_s=60):
        """virsh that must fail; returns the text that the user sees."""
        done = self.run("virsh", "-q", *argv, check=False, timeout_s=timeout_s)
        if done.returncode == 0:
            raise LabError(f"host {self.name}: virsh {shlex.join(map(str, argv))} should have been refused")
        return done.stderr.strip()

    def write(self, inside, text, mode=0o644):
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return inside

    def spawn(self, name, argv, env=None):
        old = self.daemons.get(name)
        if old and old.running():
            raise LabError(f"host {self.name}: {name} runs already")
        self.daemons[name] = Daemon(self, name, argv, env)
        return self.daemons[name]

    # --- libvirtd

    def configure_libvirt(self, lock_manager=None):
        self.write("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF.format(uuid=UUID[self.name]))
        qemu = QEMU_CONF.format(ip=self.ip)
        if lock_manager:
            qemu += f'lock_manager = "{lock_manager}"\n'
        self.write("/etc/libvirt/qemu.conf", qemu)

    def start_libvirtd(self, env=None):
        daemon = self.spawn("libvirtd", ["libvirtd", "--listen", "-f", "/etc/libvirt/libvirtd.conf"], env)

        def answers():
            if not daemon.running():
                raise LabError(f"host {self.name}: libvirtd ended: {daemon.log.read_text()[-2000:]}")
            return self.run("virsh", "-q", "version", check=False).returncode == 0

        wait_for(f"host {self.name}'s libvirtd", answers, 30, 0.2)

    def save_logs(self, to):
        """Copies what the host logged to a directory of this machine; best effort, the host may be half up."""
        to = Path(to) / f"host{self.name}"
        to.mkdir(parents=True, exist_ok=True)
        sources = list(self.dir.glob("*.log"))
        if self.pid:
            for inside in "/var/log/libvirt", "/var/log/libvirt/qemu", "/var/log/zonepool", "/etc/libvirt/storage":
                sources += [p for p in self.path(inside).glob("*") if p.is_file()]
        for source in sources:
            try:
                (to / source.name).write_bytes(source.read_bytes())
            except OSError:
                pass
