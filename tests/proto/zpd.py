"""A private zonepoold for tests: its own directories, its own sockets, started and killed at will."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


class Refused(Exception):
    """The command line tool said no: .code is its exit code, .text what it said."""

    def __init__(self, code, text):
        super().__init__(f"exit {code}: {text}")
        self.code = code
        self.text = text


class Daemon:
    def __init__(self, zonepoold, zonepool, config="", name="d"):
        self.program, self.tool = zonepoold, zonepool
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"zp-{name}-"))
        self.run, self.state, self.logs = (self.dir / n for n in ("run", "state", "log"))
        self.socket = self.run / "zonepoold.sock"
        self.config = self.dir / "zonepoold.conf"
        self.config.write_text(config)
        self.err = self.dir / "stderr"
        self.process = None

    def arguments(self):
        return [self.program, "--config", self.config, "--rundir", self.run, "--statedir", self.state,
                "--logdir", self.logs, "--foreground"]

    def start(self, timeout=20, ready=True):
        """Starts, and waits for READY as a service manager would; or else until it answers."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(self.dir / "notify")
        if os.path.exists(address):
            os.unlink(address)
        notify.bind(address)
        notify.settimeout(timeout)
        with open(self.err, "ab") as err:
            self.process = subprocess.Popen(self.arguments(), stderr=err,
                                            env={**os.environ, "NOTIFY_SOCKET": address})
        try:
            if ready:
                assert notify.recv(100) == b"READY=1"
            else:
                wait_for("the daemon answers", self.answers)
        except socket.timeout:
            raise AssertionError(f"not ready in {timeout} s: {self.err.read_text()}") from None
        finally:
            notify.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=30):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def clean(self):
        if self.process and self.process.poll() is None:
            self.kill()
        subprocess.run(["umount", "-l", self.run / "mnt"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stdout.write(f"---- {self.dir}/stderr\n{self.err.read_text() if self.err.exists() else ''}")
        self.clean()

    def cli(self, *words):
        """Runs the tool; returns what it printed."""
        done = subprocess.run([self.tool, "--socket", self.socket, *map(str, words)], timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Refused(done.returncode, done.stderr.strip())
        return done.stdout

    def json(self, *words):
        return json.loads(self.cli(*words, "--json"))

    def call(self, method, **params):
        """One request by hand. Returns the answering object."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(str(self.socket))
            s.sendall((json.dumps({"id": 1, "method": method, "params": params}) + "\n").encode())
            return json.loads(s.makefile().readline())

    def answers(self):
        try:
            return self.call("pool.list")
        except OSError:
            return None

    def events(self):
        path = self.logs / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def refused(expected, do, *args):
    """do(*args) must be refused with a text that holds expected. Returns the text."""
    try:
        do(*args)
    except Refused as no:
        assert expected in no.text, f"refused, but not with '{expected}': {no.text}"
        assert no.code == 1, no
        assert no.text.splitlines()[-1].startswith("zonepool: "), no.text  # progress may stand above
        return no.text
    raise AssertionError(f"not refused (expected: {expected}): {args}")


def wait_for(what, test, timeout=10):
    deadline = time.monotonic() + timeout
    while not test():
        assert time.monotonic() < deadline, f"timeout: {what}"
        time.sleep(0.02)


def run_tests(module):
    """Runs every test_* function; names as arguments choose. The programs are given first."""
    daemon, tool, *names = sys.argv[1:]
    failed = 0
    for name, test in list(module.items()):
        if not name.startswith("test_") or (names and name not in names):
            continue
        start = time.monotonic()
        try:
            test(daemon, tool)
            print(f"ok {name} ({time.monotonic() - start:.2f} s)", flush=True)
        except Exception as why:  # any failure is the test's; the next one still runs
            import traceback
            traceback.print_exc()
            print(f"FAILED {name}: {why}", flush=True)
            failed += 1
    sys.exit(1 if failed else 0)
