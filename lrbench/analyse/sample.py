"""A random sample of stored runs that leaves no kind of them out."""

from typing import Any

import numpy as np
import pandas as pd

STRATA = ["workload", "status", "trainer", "mode"]
"""Every value of each of these is represented if the sample is large enough, then every combination of them."""


def stratified(runs: pd.DataFrame, size: int | None, rng: np.random.Generator) -> list[str]:
    """The keys of ``size`` runs, sorted; of all where it is None or not smaller than their number.

    First, runs that together have every value of every column of ``STRATA`` (of ``mode``, its first word), each chosen
    to have most of those still missing; then one of each combination, the most frequent first; then any. All at random,
    and the same for the same runs.
    """
    table = runs.sort_values("key", ignore_index=True)
    if size is None or size >= len(table):
        return list(table.key)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    kinds = list(zip(*(_words(table[name]) for name in STRATA), strict=True))
    chosen = _cover(kinds, size)
    counts: dict[Any, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    seen = {kinds[i] for i in chosen}
    for kind in sorted(counts, key=lambda kind: (-counts[kind], kind)):
        if kind not in seen:
            chosen.append(kinds.index(kind))
    taken = set(chosen)
    chosen += [i for i in range(len(kinds)) if i not in taken]
    return sorted(table.key.iloc[chosen[:size]])


def _words(column: "pd.Series[Any]") -> list[str]:
    return [str(value).partition(":")[0] for value in column]


def _cover(kinds: list[tuple[str, ...]], size: int) -> list[int]:
    """Places of runs that together have every value of every column, or of as many as ``size`` runs can, chosen greedily."""
    first = {kind: i for i, kind in reversed(list(enumerate(kinds)))}
    missing = {part for kind in first for part in enumerate(kind)}
    chosen: list[int] = []
    while missing and len(chosen) < size:
        best = max(sorted(first, key=lambda kind: first[kind]), key=lambda kind: len(missing & set(enumerate(kind))))
        chosen.append(first[best])
        missing -= set(enumerate(best))
    return chosen
