"""However the program that made a lab ends, nothing of the lab stays: no process, no mount, no interface, no file.

Killed outright it cannot remove its directory; everything else is gone even then.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.host import wait_for

CHILD = """
import sys, time
sys.path.insert(0, {here!r})
from lab.lab import Lab
from lab.signals import stop_on_signals
stop_on_signals()
with Lab(None, {guest!r}) as lab:
    print(lab.dir, flush=True)
    time.sleep(60)
"""


def run(lab, options):
    for number, keeps_directory in (signal.SIGTERM, False), (signal.SIGKILL, True):
        before = traces()
        code = CHILD.format(here=str(Path(__file__).parent), guest=str(lab.guest_source))
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        directory = Path(child.stdout.readline().strip())
        assert directory.is_dir(), directory
        assert processes(directory), "no process bears the lab's directory: this test would see nothing"
        child.send_signal(number)
        child.wait(60)
        wait_for(f"the lab's processes to end after signal {number}", lambda: not processes(directory), 20)
        if keeps_directory:
            subprocess.run(["rm", "-rf", directory], check=True)
        assert not directory.exists(), f"{directory} is left after signal {number}"
        left = traces() - before
        assert not left, f"left after signal {number}: {left}"


def processes(directory):
    """Ids of processes that have the lab's directory on their command line (process 1 of each host has)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def traces():
    mounts = {line for line in Path("/proc/self/mounts").read_text().splitlines() if "zonepool" in line}
    return mounts | {p.name for p in Path("/sys/class/net").glob("*")}
