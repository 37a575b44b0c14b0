"""What has one name in two studies and is not the same in both."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from lrbench.analyse.frames import STRATEGY
from lrbench.analyse.pairs import Pair
from lrbench.config.run import has_fingerprint
from lrbench.store import Study

Meaning = tuple[int | str, str]
"""A revision, and the settings as text."""


class Apart(NamedTuple):
    """A name on both sides and how it differs: ``settings`` has each one that does, with its values; empty where only the code does."""

    axis: str
    name: str
    settings: tuple[tuple[str, Any, Any], ...]
    is_plugin: bool
    revisions: tuple[str, str]


def apart(pair: Pair) -> list[Apart]:
    """The names of both studies that do not mean the same in both, in the order of the axes."""
    base, head = _meanings(pair.base), _meanings(pair.head)
    return [_differ(*at, base[at], head[at]) for at in base if at in head and base[at] != head[at]]


def mixed(study: Study) -> list[str]:
    """The names that mean more than one thing within a study, as where folders were put together by hand."""
    return [name for (_, name), meanings in _meanings(study).items() if len(meanings) > 1]


def _meanings(study: Study) -> dict[tuple[str, str], list[Meaning]]:
    found: dict[tuple[str, str], set[Meaning]] = {}
    for choices in _choices(study):
        for axis in STRATEGY:
            choice = choices[axis]
            meaning = (choice["revision"], json.dumps(choice["settings"], sort_keys=True))
            found.setdefault((axis, choice["label"]), set()).add(meaning)
    return {at: sorted(found[at], key=str) for at in sorted(found, key=lambda at: (STRATEGY.index(at[0]), at[1]))}


def _choices(study: Study) -> Iterator[dict[str, Any]]:
    for text in study.runs.run:
        values: dict[str, Any] = json.loads(text)
        yield values


def _differ(axis: str, name: str, base: list[Meaning], head: list[Meaning]) -> Apart:
    (before, one), (now, other) = base[0], head[0]
    settings: tuple[dict[str, Any], dict[str, Any]] = (json.loads(one), json.loads(other))
    names = dict.fromkeys([*settings[0], *settings[1]])
    others = tuple(
        (n, settings[0].get(n), settings[1].get(n)) for n in names if settings[0].get(n) != settings[1].get(n)
    )
    return Apart(axis, name, others, has_fingerprint(before) or has_fingerprint(now), (str(before), str(now)))
