"""Catalogs: the named choices of each axis. A function and one line of decorator make an entry."""

import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Generic, NoReturn, Protocol, TypeVar

from pydantic import AllowInfNan, Field, create_model

from lrbench.config.faults import nearest
from lrbench.config.origin import Origin, is_ours, joined, origin_of, outside
from lrbench.config.types import Strict, check_name

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound="Entry[Any]")
V = TypeVar("V", bound="Revised")


class Revised(Protocol):
    """A frozen dataclass with a revision."""

    @property
    def revision(self) -> int | str:
        """Part of every run key."""


PYTORCH = "paszke2019pytorch"
"""The citation key of what comes from PyTorch."""


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One choice of an axis.

    ``settings`` is a strict model of the keyword-only parameters of ``build``: what a matrix may set, with defaults and
    ranges. ``revision`` is part of every run key: raise it when the same settings come to mean something else. lrbench
    adds the fingerprint of its code to a plug-in's ``revision``.
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


class Registry(dict[str, V]):
    """Named values of one kind, to which plug-ins add theirs. The error for a missing name suggests the nearest one.

    The revision of a plug-in's value has the fingerprint of its code. ``origins`` says where such values come from, and
    ``added`` where the code comes from that a plug-in added to a value, such as an update rule.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.origins: dict[str, Origin] = {}
        self.added: dict[str, Origin] = {}
        self._given: dict[str, V] = {}

    def __missing__(self, name: str) -> NoReturn:
        raise LookupError(f"no {self.kind} called {name!r}. {nearest(name, self)}")

    def enter(self, name: str, value: V, origin: Origin | None, *, again: bool = False) -> None:
        """Enter a value, which replaces one of an earlier run of the same cell or file, or one that it is ``again``.

        Raises: LookupError when another value has the name.
        """
        known = self.origins.get(name) if name in self else None
        if name in self and not again and not (known and origin and known.is_replaced_by(origin)):
            where = f" (from {known.place})" if known else ""
            raise LookupError(f"there is one {self.kind} called {name!r} already{where}: choose another name.")
        self._given[name] = self[name] = value
        self.origins.pop(name, None)
        if origin:
            self.origins[name] = origin
        self._revise(name)

    def extend(self, name: str, part: Callable[..., Any]) -> None:
        """Add code to a value: a plug-in's code becomes part of the value's revision."""
        if is_ours(part.__module__):
            return
        self.added[name] = origin_of(outside(sys._getframe(1)), {"part": part})
        if name in self:
            self._revise(name)

    def origins_of(self, name: str) -> list[Origin]:
        """Where the plug-ins' code of a value comes from."""
        return [origin for origin in (self.origins.get(name), self.added.get(name)) if origin]

    def _revise(self, name: str) -> None:
        value: Any = self[name]
        revision = self._given.get(name, value).revision
        for origin in self.origins_of(name):
            revision = joined(revision, origin.now())
        self[name] = replace(value, revision=revision)

    def renew(self) -> None:
        """Compute the fingerprints again of values that can change without being entered again."""
        for name in self:
            if any(origin.live for origin in self.origins_of(name)):
                self._revise(name)

    def forget(self, file: str) -> None:
        """Remove what a file entered."""
        for name in [name for name, origin in self.origins.items() if origin.file == file]:
            del self.origins[name]
            self.pop(name, None)


class Catalog(Registry[E]):
    """The entries of one axis."""

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
        super().__init__(kind)
        self.entry, self.flags, self._common = entry, flags, common

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

        def decorate(build: F) -> F:
            origin = None
            if not is_ours(build.__module__):
                values = {"build": build, "flags": sorted(flags), "facts": facts}
                origin = origin_of(outside(sys._getframe(1)), values)
            meaning, source = _read(inspect.getdoc(build) or "")
            settings = _settings(build, self._common(given))
            made = self.entry(name, build, settings, meaning, source, given, revision, tuple(cites), **facts)
            again = name in self and self[name].build.__code__ is build.__code__
            self.enter(name, made, origin, again=again)
            return build

        return decorate


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
