"""The origin of plug-ins: which code made a catalog entry, and whether worker processes have the entry too."""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from lrbench.config.prints import Prints
from lrbench.config.sources import SESSION, file_of, module_of

MAIN, ENTRY_POINTS = "the main script", "entry points"


@dataclass(frozen=True)
class Origin:
    """Where a plug-in's entry was made.

    ``file`` is that of its module; None for a session: ``__main__``, a notebook, text given to ``exec``.
    """

    file: str | None
    code: CodeType
    """The code that was running. When the same file is run again, it is another code object."""
    through: str | None
    """What brings the entry to a worker process: the main script, entry points, or a plug-in's file. None: nothing."""
    fingerprint: str
    live: Callable[[], str] | None = None
    """Computes the fingerprint again, where it can change: the globals of a session do."""

    def is_replaced_by(self, other: "Origin") -> bool:
        """Whether the other entry may replace this one: a cell or file that is run again, or a file after a cell."""
        return self.file is None or (self.file == other.file and self.code is not other.code)

    def now(self) -> str:
        """The fingerprint of now."""
        return self.live() if self.live else self.fingerprint

    @property
    def place(self) -> str:
        """Where it was made, for messages."""
        return self.file or "this session"


_loading: list[str] = []


@contextmanager
def loading(through: str) -> Iterator[None]:
    """Mark what is entered inside as reaching worker processes ``through`` a plug-in's file, or ``ENTRY_POINTS``."""
    _loading.append(through)
    try:
        yield
    finally:
        _loading.pop()


def origin_of(caller: FrameType, values: Mapping[str, Any]) -> Origin:
    """The origin of an entry that a frame makes of some values: functions, classes, and plain settings."""
    module = module_of(caller.f_globals)
    file = None if module is None or module in SESSION else file_of(module)

    def collected() -> Prints:
        prints = Prints(module if file else None)
        for name, value in values.items():
            prints.add(name)
            prints.value(value)
        return prints

    prints = collected()
    live = (lambda: collected().digest) if prints.live else None
    through = _loading[-1] if _loading else MAIN if runs_with_main(caller) else None
    return Origin(file, caller.f_code, through, prints.digest, live)


def joined(revision: int | str, fingerprint: str) -> str:
    """The revision of a plug-in's entry: the fingerprint, after the author's own revision if there is one.

    >>> joined(1, "0123456789ab"), joined("b", "0123456789ab")
    ('0123456789ab', 'b-0123456789ab')
    """
    return fingerprint if revision == 1 else f"{revision}-{fingerprint}"


def refuse_edited(module: str) -> None:
    """Raises: BadInput when a file that a module imports was edited after it was imported."""
    Prints(module)


def runs_with_main(frame: FrameType) -> bool:
    """Whether importing the main script runs this frame's code: not in a session, nor under ``if __name__ == ...``."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or not file or not Path(file).is_file():
        return False
    at: FrameType | None = frame
    while at and not (at.f_globals is vars(main) and at.f_code.co_name == "<module>" and at.f_code.co_filename == file):
        at = at.f_back
    return at is not None and not any(at.f_lineno in lines for lines in _guarded(file))


@cache
def _guarded(file: str) -> tuple[range, ...]:
    """The lines of a script that stand under ``if __name__ == ...``."""
    guards = (
        node
        for node in ast.parse(Path(file).read_bytes()).body
        if isinstance(node, ast.If) and _names_itself(node.test)
    )
    return tuple(range(node.lineno, (node.body[-1].end_lineno or node.lineno) + 1) for node in guards)


def _names_itself(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def is_ours(module: object) -> bool:
    """Whether a module of this name is part of lrbench."""
    return str(module).partition(".")[0] == "lrbench"


def outside(frame: FrameType | None) -> FrameType:
    """The nearest frame that is not lrbench's own, from the given one outwards."""
    while frame and frame.f_back and is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    if frame is None:
        raise LookupError("nothing is running")
    return frame
