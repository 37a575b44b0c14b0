"""Compact letters: which of many arms were not told apart, as letters behind each."""

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
from numpy.typing import ArrayLike

Group = frozenset[int]


def compact_letters(separated_CC: ArrayLike) -> list[str]:
    """Letters for C arms in rank order, such that two share one if, and only if, they are not separated.

    Shapes: [C, C], symmetric, whether each pair is separated. The first letter is that of the group with the best arm;
    beyond z come a1, b1 and so on. The number of letters may grow fast with C: meant for tens of arms (at random, with
    three pairs in ten separated, 30 take well below a second and 60 many).
    Source: insert and absorb, Piepho 2004, Journal of Computational and Graphical Statistics 13, 456-466; instead of
    his sweeping, groups are left out whose pairs all stand in other groups.
    """
    apart = np.asarray(separated_CC, bool)
    columns = _without_redundant(_groups(apart), len(apart))
    names = [_name(i) for i in range(len(columns))]
    return [
        "".join(name for name, column in zip(names, columns, strict=True) if i in column) for i in range(len(apart))
    ]


def _groups(apart: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> list[Group]:
    """The greatest groups without a separated pair: one of all to begin with, split by each separated pair, the smaller ones absorbed."""
    columns: set[Group] = {frozenset(range(len(apart)))} if len(apart) else set()
    for i, j in zip(*np.nonzero(np.triu(apart, 1)), strict=True):
        split = {column for column in columns if i in column and j in column}
        columns -= split
        columns |= _new({column - {int(k)} for column in split for k in (i, j)}, columns)
    return sorted(columns, key=sorted)


def _new(parts: set[Group], columns: set[Group]) -> set[Group]:
    """The parts that lie within no column and within no other part."""
    return {
        part
        for part in parts
        if not any(part <= column for column in columns) and not any(part < other for other in parts)
    }


def _without_redundant(columns: Sequence[Group], arms: int) -> list[Group]:
    """The groups, less those whose every pair stands in another one that is kept; from the last to the first."""
    places = [np.ix_(sorted(column), sorted(column)) for column in columns]
    held = np.zeros((arms, arms), int)
    for at in places:
        held[at] += 1
    kept = []
    for column, at in zip(reversed(columns), reversed(places), strict=True):
        if (held[at] > 1).all():
            held[at] -= 1
        else:
            kept.append(column)
    return kept[::-1]


def _name(i: int) -> str:
    again, letter = divmod(i, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(again) if again else "")
