"""Catalogs: the named choices of each axis. A function and one line of decorator make an entry."""

import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Generic, NoReturn, TypeVar

from pydantic import AllowInfNan, Field, create_model

from lrbench.config.faults import nearest
from lrbench.config.origin import Origin, is_ours, joined, origin_of, outside
from lrbench.config.types import Strict, check_name

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound="Entry[Any]")


PYTORCH = "paszke2019pytorch"
"""The citation key of what comes from PyTorch."""


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One choice of an axis.

    ``settings`` is a strict model of the keyword-only parameters of ``build``: what a matrix may set, with defaults and
    ranges. ``revision`` is part of every run key: raise it when the same settings come to mean something else. lrbench
    adds the fingerprint of its code to a plug-in's ``revision``; ``origin`` says where the plug-in comes from.
    """

    name: str
    build: F
    settings: type[Strict]
    meaning: str
    source: str
    flags: frozenset[str] = frozenset()
    revision: int | str = 1
    cites: tuple[str, ...] = ()
    """Citation keys, from ``references.bib``. Where there are none, the text of ``source`` names the works."""
    origin: Origin | None = field(default=None, compare=False)

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a run as ``build`` takes them. Settings added after it was stored are at their neutral value.

        Raises: pydantic.ValidationError with every fault in them.
        """
        return dict(self.settings.model_validate(self.settings.neutral() | dict(settings)))

    @property
    def own(self) -> frozenset[str]:
        """The settings that ``build`` itself takes. The others are common to all entries of the catalog."""
        return frozenset(_own(self.build))

    def defaults(self) -> dict[str, Any]:
        """The defaults, by setting; a setting without a default is left out."""
        return {name: f.default for name, f in self.settings.model_fields.items() if not f.is_required()}

    def listed(self) -> dict[str, Any]:
        """Facts that ``lrbench list`` shows in front of the settings."""
        return {}

    def stored(self, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - an axis may store what they mean
        """Facts that ``study.toml`` stores of the entry with these settings."""
        return {"name": self.name, "meaning": self.meaning, "source": self.source, "cites": list(self.cites)}


class Catalog(dict[str, E]):
    """A dict whose missing-key error tells the reader what to type instead."""

    def __init__(
        self,
        kind: str,
        entry: type[E],
        *,
        flags: Mapping[str, str] = MappingProxyType({}),
        common: Callable[[frozenset[str]], dict[str, Any]] = lambda _: {},
    ) -> None:
        """Start a catalog without entries.

        Args:
            kind: what an entry is called in messages.
            entry: the class of the entries.
            flags: the flags that an entry can have, each with its meaning.
            common: from an entry's flags to the settings that it has besides its own, as pydantic fields.
        """
        super().__init__()
        self.kind, self.entry = kind, entry
        self.flags = flags
        self._common = common
        self._given: dict[str, int | str] = {}
        self.added: dict[str, Origin] = {}
        """By entry, the origin of code that a plug-in added to it afterwards, such as an update rule."""

    def __missing__(self, name: str) -> NoReturn:
        raise LookupError(f"no {self.kind} called {name!r}. {nearest(name, self)}")

    def register(
        self,
        name: str,
        *,
        flags: Iterable[str] = (),
        revision: int | str = 1,
        cites: Iterable[str] = (),
        **facts: Any,
    ) -> Callable[[F], F]:
        """Enter a function: its keyword-only parameters become its settings, its docstring its documentation.

        ``facts`` are the fields that entries of this catalog have and others do not.

        Raises: LookupError for an unknown flag or fact, or a name that is taken.
        """
        check_name(self.kind, name)
        given = frozenset(flags)
        known_facts = {f.name for f in fields(self.entry)} - {f.name for f in fields(Entry)}
        for word, names, known_names in (("flag", given, set(self.flags)), ("fact", facts.keys(), known_facts)):
            if unknown := sorted(names - known_names):
                hint = nearest(unknown[0], known_names)
                raise LookupError(f"{self.kind} {name!r}: there is no {word} {unknown[0]!r}. {hint}")

        def enter(build: F) -> F:
            known, origin = self.get(name), None
            if not is_ours(build.__module__):
                values = {"build": build, "flags": sorted(flags), "facts": facts}
                origin = origin_of(outside(sys._getframe(1)), values)
            if (
                known
                and known.build.__code__ is not build.__code__
                and not (known.origin and origin and known.origin.is_replaced_by(origin))
            ):
                where = f" (from {known.origin.place})" if known.origin else ""
                raise LookupError(f"there is one {self.kind} called {name!r} already{where}: choose another name.")
            meaning, source = _read(inspect.getdoc(build) or "")
            settings = _settings(build, self._common(given))
            self._given[name] = revision
            made = self.entry(
                name, build, settings, meaning, source, given, revision, tuple(cites), origin=origin, **facts
            )
            self[name] = replace(made, revision=self._revision(made))
            return build

        return enter

    def extend(self, name: str, part: Callable[..., Any]) -> None:
        """Add code to an entry: a plug-in's code becomes part of the entry's revision."""
        if is_ours(part.__module__):
            return
        self.added[name] = origin_of(outside(sys._getframe(1)), {"part": part})
        if name in self:
            self[name] = replace(self[name], revision=self._revision(self[name]))

    def _revision(self, entry: E) -> int | str:
        revision = self._given.get(entry.name, entry.revision)
        for origin in (entry.origin, self.added.get(entry.name)):
            revision = joined(revision, origin.now()) if origin else revision
        return revision

    def renew(self) -> None:
        """Compute the fingerprints again of entries that can change without being entered again."""
        for name, entry in self.items():
            if any(origin and origin.live for origin in (entry.origin, self.added.get(name))):
                self[name] = replace(entry, revision=self._revision(entry))

    def forget(self, file: str) -> None:
        """Remove what a file entered."""
        for name in [name for name, entry in self.items() if entry.origin and entry.origin.file == file]:
            del self[name]


def _own(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function, which are an entry's own settings."""
    return {p.name: p for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _settings(build: Callable[..., Any], common: dict[str, Any]) -> type[Strict]:
    """The model of an entry's settings: its own, and the common ones whose names it does not use itself."""
    hints = typing.get_type_hints(build, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in _own(build).items():
        if name.startswith("_"):
            raise LookupError(f"parameter {name!r}: a setting cannot begin with an underscore: rename it.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (_accepting(hints[name] if name in hints else _guessed(parameter), default), default)
    return create_model(
        getattr(build, "__name__", "settings"),
        __base__=Strict,
        **(fields | {k: v for k, v in common.items() if k not in fields}),
    )


def _accepting(hint: Any, default: Any) -> Any:
    """A type as its author means it: it takes a list for a tuple, and any default that the function has."""
    if typing.get_origin(hint) is tuple or hint is tuple:
        return Annotated[hint, Field(strict=False)]
    if isinstance(default, float) and not math.isfinite(default):
        return Annotated[hint, AllowInfNan(True)]
    return hint


def _guessed(parameter: inspect.Parameter) -> Any:
    """The type of a parameter without annotation: that of its default; any type where the default is None."""
    if parameter.default is parameter.empty:
        raise LookupError(
            f"parameter {parameter.name!r} needs a type annotation, such as {parameter.name}: float = 0.1."
        )
    if parameter.default is None:
        return Any
    if isinstance(parameter.default, tuple):
        return tuple[tuple(type(value) for value in parameter.default)]  # type: ignore[misc]
    return type(parameter.default)


def _read(doc: str) -> tuple[str, str]:
    paragraphs = [" ".join(p.split()) for p in doc.split("\n\n")]
    source = next((p.removeprefix("Source: ") for p in paragraphs if p.startswith("Source: ")), "")
    return paragraphs[0], source
