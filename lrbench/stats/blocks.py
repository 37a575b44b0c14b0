"""The largest complete block in a table with holes: a comparison over all combinations of several axes needs one."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Block = tuple[NDArray[np.intp], ...]
"""For each axis the levels that are kept, ascending."""
MOST_PATTERNS = 32
"""The most patterns of holes that are tried on one axis."""


def largest_block(present: Bools, worth: Callable[[Block], float] | None = None) -> Block | None:
    """The block without a hole that is worth most.

    Args:
        present: which combinations there are, one dimension per axis.
        worth: of a complete block, by default its number of cells; 0 where it will not do, and never more than its
            number of cells.
    Returns: None if no block is worth anything. Of blocks that are worth the same, the one found first, which depends
    on the order of the levels alone. The result is exact for a union of a few full products, as matrices write them,
    since these have few patterns of holes: in an optimal block, the part behind the first axis lies in the intersection
    of the slices that it keeps, and all such intersections are tried. With more than ``MOST_PATTERNS`` patterns (many
    single holes) it is a good block, not surely the best.
    """
    best: tuple[float, Block | None] = (0.0, None)

    def look(present: Bools, kept: Block, room: int) -> None:
        nonlocal best
        if present.ndim == 0:
            value = float(prod(map(len, kept))) if worth is None else worth(kept)
            best = (value, kept) if value > best[0] else best
            return
        for pattern in _meets(present):
            levels = np.flatnonzero((present | ~pattern).reshape(len(present), -1).all(axis=1))
            if room * len(levels) * int(pattern.sum()) > best[0]:
                look(pattern, (*kept, levels), room * len(levels))

    look(np.asarray(present, bool), (), 1)
    return best[1]


def _meets(present: Bools) -> list[Bools]:
    """The distinct slices along the first axis and their intersections, fullest first; empty ones left out.

    Of many, about twice ``MOST_PATTERNS`` of the fullest, and those of ``_running``, which go on to the intersection of all.
    """
    slices: dict[bytes, Any] = {part.tobytes(): part for part in present if part.any()}
    fullest = list(_fullest(slices).values())
    running = {part.tobytes(): part for part in _running(fullest)}
    patterns = {part.tobytes(): part for part in fullest[:MOST_PATTERNS]} | running
    fresh = list(patterns.values())
    while fresh and len(patterns) < MOST_PATTERNS:
        met = {part.tobytes(): part for a in fresh for b in fullest if (part := a & b).any()}
        fresh = [part for key, part in met.items() if key not in patterns]
        patterns |= met
    few = dict(list(_fullest(patterns).items())[: 2 * MOST_PATTERNS])
    return list(_fullest(few | running).values())


def _running(slices: list[Bools]) -> Iterator[Bools]:
    """The fullest, its intersection with the one that leaves the most of it, and so on, until nothing is left."""
    met, rest = None, np.array(slices)
    while len(rest):
        parts = rest if met is None else rest & met
        sizes = parts.reshape(len(parts), -1).sum(axis=1)
        at = int(sizes.argmax())
        if not sizes[at]:
            return
        met, rest = parts[at], np.delete(rest, at, axis=0)
        yield met


def _fullest(patterns: dict[bytes, Any]) -> dict[bytes, Any]:
    return dict(sorted(patterns.items(), key=lambda item: (-int(item[1].sum()), item[0])))
