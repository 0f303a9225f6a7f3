"""Signals, so that whatever ends the program a lab is taken down."""

import contextlib
import signal

ENDING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def stop_on_signals():
    """SIGTERM and SIGHUP end the program as Ctrl-C does: by an exception, through every `with`. A shell that starts
    it in the background has SIGINT ignored; it is not here."""
    def end(number, _):
        raise KeyboardInterrupt(f"signal {number}")

    for number in ENDING:
        signal.signal(number, end)


@contextlib.contextmanager
def uninterrupted():
    """An impatient second Ctrl-C must not stop what cleans up after the first. For the main thread."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
