"""Ctrl-C while this process trains: the first asks to save the run in hand, the second interrupts at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SAVING = "interrupted: saving the run in hand; press Ctrl-C again to stop at once"


@contextmanager
def saving() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C was pressed, which raises nothing the first time.

    Where signals cannot be taken (in another thread, or when the program looks after them itself), Ctrl-C stays what it
    is.
    """
    pressed = threading.Event()

    def note(*_: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(RuntimeError):  # it came while that stream was being written
            print(SAVING, file=sys.stderr, flush=True)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
