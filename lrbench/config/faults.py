"""Errors for bad input: a list of sentences for the person who typed it, never a traceback."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError


class BadInput(Exception):  # noqa: N818 - named for what it tells the reader
    """The user's input cannot be used; ``faults`` says what is wrong, where, and what to do."""

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


@contextmanager
def renamed(place: object, shown: object) -> Iterator[None]:
    """In faults raised inside, name a place that the user knows instead of another, such as a temporary folder."""
    try:
        yield
    except BadInput as error:
        raise BadInput(fault.replace(str(place), str(shown)) for fault in error.faults) from error


def fault(text: str) -> PydanticCustomError:
    """An error for a validator to raise; the user reads ``text`` as it stands."""
    return PydanticCustomError("lrbench_fault", "{text}", {"text": text})


def one_line(text: object, most: int = 200) -> str:
    r"""A text, or the message of an error, on one line of at most ``most`` characters.

    >>> one_line("no\nluck  today", 9)
    'no luck t'
    """
    return " ".join(str(text).split())[:most]


def message_of(error: BaseException, most: int = 200) -> str:
    """The type and message of an error, on one line of at most ``most`` characters."""
    return one_line(f"{type(error).__name__}: {error}", most)


def closest(name: str, known: Iterable[str]) -> str:
    """A question that names the closest known word; empty where none is close.

    >>> closest("admw", ["adam", "adamw", "sgd"]), closest("sgd?!.,", ["adam"])
    ("Did you mean 'adamw'? ", '')
    """
    close = get_close_matches(name, sorted(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, if one is close, and then all known words.

    >>> nearest("admw", ["adam", "adamw", "sgd"])
    "Did you mean 'adamw'? Known: adam, adamw, sgd."
    """
    words = sorted(known)
    return closest(name, words) + f"Known: {', '.join(words)}."


def path_of(location: Sequence[str | int]) -> str:
    """The dotted path of a pydantic location, as the user wrote it. A plain list of lrs is a grid's ``values``.

    >>> path_of(("optimizer", 2, "betas")), path_of(("lr", "values", 0))
    ('optimizer[2].betas', 'lr[0]')
    """
    path = ""
    for before, part in pairwise(("", *(p for p in location if p != "[key]"))):
        if (before, part) == ("lr", "values"):
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if part.isprintable() else f".{part!r}"
    return path.removeprefix(".")


def sentence(error: Mapping[str, Any]) -> str:
    """The message of a pydantic error: `must ..., got ...`."""
    kind, given, limits = error["type"], error["input"], error.get("ctx", {})
    if kind.startswith("lrbench_"):
        return str(error["msg"])
    if kind == "missing":
        return "is required"
    wanted = {
        "greater_than": "must be > {gt}",
        "greater_than_equal": "must be >= {ge}",
        "less_than": "must be < {lt}",
        "less_than_equal": "must be <= {le}",
        "float_type": "must be a number",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "tuple_type": "must be a list",
        "dict_type": "must be a table",
        "model_type": "must be a table",
        "literal_error": "must be {expected}",
        "finite_number": "must be finite",
    }.get(kind)
    if wanted is None:
        text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        wanted = text[:1].lower() + text[1:]
        limits = {}
    return f"{wanted.format(**limits)}, got {given!r}"


def faults_of(error: ValidationError, where: str) -> list[str]:
    """The faults of a validation, one line each: ``where: path: what is wrong``."""
    lines = [
        f"{where}: {path_of(e['loc'])}: {sentence(e)}" if e["loc"] else f"{where}: {sentence(e)}"
        for e in error.errors()
    ]
    return list(dict.fromkeys(lines))


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The values of a TOML file; ``kind`` says in messages what the file should be, such as "a matrix file".

    Raises: BadInput when it cannot be read, is not UTF-8, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}. Give the path of {kind} (TOML).") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not a text file in UTF-8. Give the path of {kind} (TOML).") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path.name}: is not TOML: {error}") from error
