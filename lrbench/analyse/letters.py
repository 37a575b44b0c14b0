"""Compact letters: which of many arms were not told apart, as letters behind each."""

from collections.abc import Iterable, Sequence
from string import ascii_lowercase

import numpy as np
from numpy.typing import ArrayLike

Group = frozenset[int]


def compact_letters(separated_CC: ArrayLike) -> list[str]:
    """Letters for C arms in rank order, such that two share one if, and only if, they are not separated.

    Shapes: [C, C], symmetric, whether each pair is separated. The first letter is that of the group with the best arm; beyond z come a1,
    b1 and so on. The number of letters may grow fast with C: meant for tens of arms.
    Source: insert and absorb, Piepho 2004, Journal of Computational and Graphical Statistics 13, 456-466; instead of his sweeping, groups
    are left out whose pairs all stand in other groups.
    """
    apart = np.asarray(separated_CC, bool)
    columns = _without_redundant(_groups(apart))
    names = [_name(i) for i in range(len(columns))]
    return ["".join(name for name, column in zip(names, columns, strict=True) if i in column) for i in range(len(apart))]


def _groups(apart: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> list[Group]:
    """The greatest groups without a separated pair: one of all to begin with, split by each separated pair, the smaller ones absorbed."""
    columns: set[Group] = {frozenset(range(len(apart)))} if len(apart) else set()
    for i, j in zip(*np.nonzero(np.triu(apart, 1)), strict=True):
        split = {column for column in columns if i in column and j in column}
        columns = _absorbed((columns - split) | {column - {int(k)} for column in split for k in (i, j)})
    return sorted(columns, key=sorted)


def _absorbed(columns: Iterable[Group]) -> set[Group]:
    kept: list[Group] = []
    for column in sorted(columns, key=lambda c: (-len(c), sorted(c))):
        if not any(column <= other for other in kept):
            kept.append(column)
    return set(kept)


def _without_redundant(columns: Sequence[Group]) -> list[Group]:
    """The groups, less those whose every pair stands in another one that is kept; from the last to the first."""
    kept = list(columns)
    for column in reversed(columns):
        others = [other for other in kept if other != column]
        if all(any(i in other and j in other for other in others) for i in column for j in column):
            kept = others
    return kept


def _name(i: int) -> str:
    again, letter = divmod(i, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(again) if again else "")
