"""A product of choices in few rows: every pair of its values is in one of them."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations

Row = tuple[Hashable, ...]


def pairs_of(row: Row) -> set[tuple[tuple[int, Hashable], ...]]:
    """Every two values of a row, each with its place."""
    return set(combinations(enumerate(row), 2))


def every_pair(rows: Iterable[Row]) -> list[Row]:
    """A few of the rows, always the same, in which every pair of values occurs that occurs in any of them.

    Greedy: the row with the most new pairs is the next. What is new in a row only becomes less, so one pass for each
    number finds it.
    """
    left: Sequence[Row] = sorted(set(rows), key=repr)
    chosen: list[Row] = []
    seen: set[tuple[tuple[int, Hashable], ...]] = set()
    for wanted in range(max((len(pairs_of(row)) for row in left), default=0), 0, -1):
        for row in left:
            if len(pairs_of(row) - seen) >= wanted:
                chosen.append(row)
                seen |= pairs_of(row)
    return chosen
