"""What a user is told once on standard error, whichever run of whichever worker finds it first."""

import sys
from typing import Any

_said: set[str] = set()
_by_all: Any = None


def share(said: Any) -> None:
    """Say nothing that another process has said: ``said`` is an array of characters that all of them see."""
    global _by_all  # noqa: PLW0603 - a worker process has no other place for it
    _by_all = said


def say_once(line: str) -> None:
    """Say a line, unless it was said before."""
    if line not in _said and not (_by_all and _was_said(line)):
        print(line, file=sys.stderr, flush=True)
    _said.add(line)


def _was_said(line: str) -> bool:
    """Whether another process has said a line; if none has, this one has now."""
    entry = line.encode() + b"\n"
    with _by_all.get_lock():
        before: bytes = _by_all.value
        _by_all.value = (before if entry in before else before + entry)[-len(_by_all) + 1 :]
    return entry in before
