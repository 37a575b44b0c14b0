"""A catalog: the named, documented choices of one axis. A function and one decorator line make an entry."""

import hashlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import create_model

from lrbench.spec.faults import nearest
from lrbench.spec.types import Strict

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One choice of an axis.

    ``settings`` is a strict model of the keyword-only parameters of ``build``: what a matrix may set, with defaults and ranges.
    ``revision`` is part of every run key: raise it when the same settings come to mean something else.
    """

    name: str
    build: F
    settings: type[Strict]
    meaning: str
    source: str
    flags: frozenset[str] = frozenset()
    revision: int | str = 1
    facts: dict[str, Any] = field(default_factory=dict)

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as ``build`` takes them, every default filled in.

        Raises: pydantic.ValidationError with every fault in them.
        """
        return dict(self.settings.model_validate(dict(settings)))

    def defaults(self) -> dict[str, Any]:
        """Every setting that has a default, with it."""
        return {name: f.default for name, f in self.settings.model_fields.items() if not f.is_required()}


class Catalog(dict[str, Entry[F]]):
    """A dict whose missing-key error tells the reader what to type instead."""

    def __init__(self, kind: str, common: Callable[[frozenset[str]], dict[str, Any]] = lambda _: {}) -> None:
        """``common`` gives the settings that every entry with certain flags has beside its own, as pydantic fields."""
        super().__init__()
        self.kind = kind
        self._common = common

    def __missing__(self, name: str) -> NoReturn:
        raise LookupError(f"no {self.kind} called {name!r}. {nearest(name, self)}")

    def register(self, name: str, *, flags: Iterable[str] = (), revision: int = 1, **facts: Any) -> Callable[[F], F]:
        """Enter a function under ``name``; its keyword-only parameters become its settings, its docstring its documentation."""

        def enter(build: F) -> F:
            if name in self and self[name].build.__code__ is not build.__code__:
                raise LookupError(f"there is one {self.kind} called {name!r} already: choose another name.")
            meaning, source = _read(inspect.getdoc(build) or "")
            inside = build.__module__.split(".")[0] == "lrbench"
            settings = _settings(build, self._common(frozenset(flags)))
            self[name] = Entry(name, build, settings, meaning, source, frozenset(flags), revision if inside else _digest(build), facts)
            return build

        return enter


def _settings(build: Callable[..., Any], common: dict[str, Any]) -> type[Strict]:
    hints = typing.get_type_hints(build, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name] if p.name in hints else _guessed(p), ... if p.default is p.empty else p.default)
        for p in inspect.signature(build).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    return create_model(getattr(build, "__name__", "settings"), __base__=Strict, **fields, **common)


def _guessed(parameter: inspect.Parameter) -> type:
    """The type of a parameter that is not annotated: that of its default."""
    if parameter.default is None or parameter.default is parameter.empty:
        raise LookupError(f"parameter {parameter.name!r} needs a type annotation, such as {parameter.name}: float = 0.1.")
    return type(parameter.default)


def _read(doc: str) -> tuple[str, str]:
    paragraphs = [" ".join(p.split()) for p in doc.split("\n\n")]
    source = next((p.removeprefix("Source: ") for p in paragraphs if p.startswith("Source: ")), "")
    return paragraphs[0], source


def _digest(build: Callable[..., Any]) -> str:
    """A plug-in has no revision to raise, so its own text stands for it."""
    return hashlib.sha256(inspect.getsource(build).encode()).hexdigest()[:12]
