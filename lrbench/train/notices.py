"""Messages on standard error that appear once, whichever run of whichever worker has them first."""

import sys
from typing import Any

_said: set[str] = set()
_by_all: Any = None


def share(said: Any) -> None:
    """Share messages between processes, in an array of characters, so that none repeats another's."""
    global _by_all  # noqa: PLW0603 - a worker process has no other place for it
    _by_all = said


def say_once(line: str) -> None:
    """Print a line on standard error, unless it was printed before."""
    if line not in _said and not (_by_all and _was_said(line)):
        print(line, file=sys.stderr, flush=True)
    _said.add(line)


def _was_said(line: str) -> bool:
    """Whether another process has printed a line. If none has, this process claims it."""
    entry = line.encode() + b"\n"
    with _by_all.get_lock():
        before: bytes = _by_all.value
        _by_all.value = (before if entry in before else before + entry)[-len(_by_all) + 1 :]
    return entry in before
