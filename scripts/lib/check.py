"""What scripts/check does once the packages are there.

Every step records results (suite, name, passed or failed or skipped, seconds); a line is printed for each. A step whose
build failed counts as one failure, and its tests do not run. Steps run one after the other: the end-to-end tests measure
pauses, and two builds at once would only wait for each other.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-check"
LOGS = BUILD / "logs"
STEP_TIMEOUT_S = 1500

SEEDS, SEEDS_FULL = 2000, 50000
BRINK_SEEDS = 1000
STATES, STATES_FULL, STATES_LEAST = 10000, 0, 100000  # bounds of the crash enumeration; 0: its own, which is at least that
FUZZ_SECONDS = int(os.environ.get("ZONEPOOL_FUZZ_SECONDS", 60))

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Results:
    def __init__(self):
        self.count = {"ok": 0, "FAIL": 0, "skip": 0}

    def add(self, status, suite, name, seconds, note=""):
        self.count[status] += 1
        print(f"{status:<5}{suite:<10}{name:<58}{seconds:8.1f} s{'  ' + note if note else ''}", flush=True)

    def last_line(self):
        return f"{self.count['ok']} passed, {self.count['FAIL']} failed, {self.count['skip']} skipped"


RESULTS = Results()


def run(log_name, argv, env=None, timeout_s=STEP_TIMEOUT_S, on_line=None):
    """Runs a command with its output in a log file (and given to on_line); returns (exit status, last lines, seconds).

    The command has its own process group: when time is up or the user interrupts, all of it ends.
    """
    log = LOGS / f"{log_name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with open(log, "w", encoding="utf-8", errors="replace") as out:
        process = subprocess.Popen([str(a) for a in argv], cwd=ROOT, env={**os.environ, **(env or {})},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", start_new_session=True)
        # An alarm, so that a silent command cannot block the reading for ever.
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGTERM))
        signal.alarm(timeout_s)
        tail = []
        try:
            for line in process.stdout:
                out.write(line)
                tail = tail[-29:] + [line.rstrip()]
                if on_line:
                    on_line(line.rstrip())
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            raise
        finally:
            signal.alarm(0)
    return process.returncode, tail, time.monotonic() - started


def show(tail):
    for line in tail:
        print("      | " + line, flush=True)


def build(directory, *options, env=None):
    """Builds; True on success. Counts as one result."""
    name = directory.name
    status, tail, seconds = run(f"build-{name}", [ROOT / "scripts/build", directory, *options], env)
    RESULTS.add("FAIL" if status else "ok", "build", " ".join([name, *options]), seconds)
    if status:
        show(tail)
    return status == 0


def telling_part(lines, most=30):
    """A sanitizer's report is told by its beginning, anything else by its end."""
    for i, line in enumerate(lines):
        if re.search(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:", line):
            return lines[i:i + most]
    return lines[-most:]


MESON_RESULT = {"OK": "ok", "EXPECTEDFAIL": "ok", "SKIP": "skip"}


def meson_test(suite, directory, *arguments, env=None, prefix=()):
    """Runs the build's tests and records each by itself."""
    log = directory / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status, tail, seconds = run(f"test-{suite}", [*prefix, "meson", "test", "-C", directory, "--no-rebuild", *arguments],
                                env)
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        test = json.loads(line)
        name = test["name"].replace("zonepool:", "")
        result = MESON_RESULT.get(test["result"], "FAIL")
        note = ""
        if result == "skip":
            note = (test.get("stdout") or "").strip().splitlines()[-1:]
            note = note[0] if note else ""
        RESULTS.add(result, suite, name, test["duration"], note)
        if result == "FAIL":
            output = (test.get("stdout") or "") + (test.get("stderr") or "")
            show([f"{test['result']}: {' '.join(test['command'])}"] + telling_part(output.splitlines()))
    if not lines:
        RESULTS.add("FAIL", suite, "meson test ran no test", seconds)
        show(tail)


def tests_of(directory, suite):
    listed = subprocess.run(["meson", "introspect", "--tests", directory], capture_output=True, text=True, check=True)
    return [t["name"] for t in json.loads(listed.stdout) if suite in "".join(t["suite"])]


# --- steps


def step_build(options):
    return build(BUILD, "--werror", "-Dbuildtype=debugoptimized")


def step_unit(options):
    meson_test("test", BUILD)


def step_sim(options):
    seeds = SEEDS_FULL if options.full else SEEDS
    status, tail, seconds = run("sim", [ROOT / "scripts/sim", "--seeds", seeds], timeout_s=36000 if options.full else 900)
    match = re.fullmatch(r"sim: seeds=(\d+) states=(\d+) lost=(\d+)", tail[-1] if tail else "")
    good = status == 0 and match and int(match[1]) >= seeds and match[3] == "0"
    RESULTS.add("ok" if good else "FAIL", "sim", f"{seeds} seeds", seconds, tail[-1] if tail else "")
    if not good:
        show(tail)
    states = STATES_FULL if options.full else STATES
    argv = [ROOT / "scripts/sim", "--exhaustive"] + (["--states", states] if states else [])
    status, tail, seconds = run("exhaustive", argv, timeout_s=7200 if options.full else 600)
    match = re.fullmatch(r"sim: exhaustive states=(\d+) pruned=\d+ lost=0", tail[-1] if tail else "")
    good = status == 0 and match and int(match[1]) >= (states or STATES_LEAST)
    RESULTS.add("ok" if good else "FAIL", "sim", "every short sequence, every crash", seconds, tail[-1] if tail else "")
    if not good:
        show(tail)


def step_mutants(options):
    """scripts/mutants prints `ok NAME ...` for a mutant that the simulator found and `FAIL NAME ...` for one it missed."""
    seen = []
    clock = [time.monotonic()]

    def on_line(line):
        match = re.match(r"(ok|FAIL|skip)\s+(\S+)\s*(.*)", line)
        if match:
            now = time.monotonic()
            RESULTS.add(match[1], "mutant", match[2], now - clock[0], match[3])
            clock[0] = now
            seen.append(match[1])

    status, tail, seconds = run("mutants", [ROOT / "scripts/mutants"], on_line=on_line)
    if not seen or (status and "FAIL" not in seen):
        RESULTS.add("FAIL", "mutant", f"scripts/mutants: exit {status}", seconds)
        show(tail)


def step_brink(options):
    """--full: full pools of many geometries and densities; some are a test of every run."""
    status, tail, seconds = run("brink", [BUILD / "tests/model/test_pool_brink", "1000", str(BRINK_SEEDS), "4"],
                                timeout_s=36000)
    RESULTS.add("FAIL" if status else "ok", "model", f"pool-brink, {BRINK_SEEDS} seeds", seconds)
    if status:
        show(tail)


def step_asan(options):
    """Warnings are not errors here: GCC gives false ones when it instruments."""
    directory = ROOT / "build-check-asan"
    if build(directory, "-Db_sanitize=address,undefined"):
        meson_test("asan", directory, "-t", "5", env=SANITIZER_ENV)


def step_tsan(options):
    """The daemon's protocol and front-end tests."""
    directory = ROOT / "build-check-tsan"
    if build(directory, "-Db_sanitize=thread"):
        # ThreadSanitizer of GCC 12 cannot live with as much address randomization as new kernels use.
        meson_test("tsan", directory, "-t", "8", "--suite", "proto", env=SANITIZER_ENV, prefix=("setarch", "-R"))


def step_fuzz(options):
    """--full: every fuzzer for a minute; the corpora replay as unit tests in every run."""
    directory = ROOT / "build-check-fuzz"
    if not build(directory, "-Dfuzzers=true", "-Db_sanitize=address,undefined", "-Dc_args=-fsanitize=fuzzer-no-link",
                 env={"CC": "clang"}):
        return
    for fuzzer in sorted((directory / "tests/fuzz").glob("fuzz_*")):
        if not fuzzer.is_file():
            continue
        found = directory / "corpus" / fuzzer.name
        found.mkdir(parents=True, exist_ok=True)
        status, tail, seconds = run(fuzzer.name, [
            fuzzer, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-print_final_stats=1",
            f"-artifact_prefix={LOGS}/{fuzzer.name}-", found, ROOT / "tests/fuzz/corpus" / fuzzer.name[5:]], SANITIZER_ENV)
        RESULTS.add("FAIL" if status else "ok", "fuzz", fuzzer.name, seconds)
        if status:
            show(tail)


def runner(suite, arguments=(), timeout_s=STEP_TIMEOUT_S):
    """tests/SUITE/run prints `ok|FAIL|skip NAME SECONDS note`; anything else it prints goes to the log."""
    seen = []

    def on_line(line):
        match = re.match(r"(ok|FAIL|skip) (\S+) ([\d.]+)\s*(.*)", line)
        if match:
            RESULTS.add(match[1], suite, match[2], float(match[3]), match[4])
            seen.append(match[1])

    argv = [sys.executable, ROOT / "tests" / suite / "run", "--build", BUILD, "--logs", LOGS / suite, *arguments]
    status, tail, seconds = run(suite, argv, on_line=on_line, timeout_s=timeout_s)
    if not seen or (status and "FAIL" not in seen):
        RESULTS.add("FAIL", suite, f"tests/{suite}/run: exit {status}", seconds)
        show(tail)


def step_guest(options):
    """Real zoned devices of a kernel in a guest; under 5 minutes on 2 cores."""
    runner("guest", timeout_s=900)


def step_e2e(options):
    runner("e2e", ["--full"] if options.full else [])


def leftovers():
    """What a lab could leave behind on this machine."""
    found = [str(p) for p in Path("/var/tmp").glob("zonepool-*")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if "zonepool" in line]
    return found


def step_quickstart(options):
    before = leftovers()
    status, tail, seconds = run("quickstart", [ROOT / "scripts/quickstart"], timeout_s=480)
    good = status == 0 and tail and re.fullmatch(
        r"quickstart: ok verify_errors=0 hops=2 allocated_mib=\d+ moved_mib=\d+ stall_ms=\d+", tail[-1])
    RESULTS.add("ok" if good else "FAIL", "e2e", "quickstart", seconds, tail[-1] if tail else "")
    if not good:
        show(tail)
    left = [x for x in leftovers() if x not in before]
    RESULTS.add("FAIL" if left else "ok", "e2e", "quickstart-leaves-nothing-behind", 0, " ".join(left))


STEPS = [
    ("build", step_build),
    ("unit", step_unit),
    ("sim", step_sim),
    ("mutants", step_mutants),
    ("brink", step_brink),
    ("guest", step_guest),
    ("e2e", step_e2e),
    ("quickstart", step_quickstart),
    ("asan", step_asan),
    ("tsan", step_tsan),
    ("fuzz", step_fuzz),
]


FULL_ONLY = {"brink", "fuzz"}


def main():
    parser = argparse.ArgumentParser(prog="check", description="Build with warnings as errors, run every test.")
    parser.add_argument("--full", action="store_true", help="also what is too long for every day")
    parser.add_argument("--only", default="", metavar="STEP,...",
                        help="only these steps: " + ", ".join(name for name, _ in STEPS))
    options = parser.parse_args()
    only = [s for s in options.only.split(",") if s]
    unknown = set(only) - {name for name, _ in STEPS}
    if unknown:
        parser.error(f"no such step: {', '.join(sorted(unknown))}")

    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    started = time.monotonic()
    for name, step in STEPS:
        if (only and name not in only) or (name in FULL_ONLY and not options.full and not only):
            continue
        # Without the build there is nothing to test; one failure says it.
        if step(options) is False:
            break
    print(f"logs: {LOGS.relative_to(ROOT)}, {time.monotonic() - started:.0f} s")
    print(RESULTS.last_line())
    return 1 if RESULTS.count["FAIL"] or not RESULTS.count["ok"] else 0


if __name__ == "__main__":
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda *_: sys.exit(130))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(RESULTS.last_line())
        sys.exit(130)
