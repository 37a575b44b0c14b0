"""Walking over tables. Their cells are untyped, so ``Any`` enters here and nowhere else."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

STRATEGY = ["workload", "optimizer", "layer_lr", "schedule"]
"""The columns that name a strategy on a workload."""
AXES = STRATEGY[1:]
"""The columns that name a strategy."""


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows in order, columns as attributes."""
    yield from table.itertuples(index=False)


def groups(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The parts of a table that agree in some columns, in the order of their values, each with the tuple of those."""
    yield from table.groupby(list(by), sort=True)


def arrays(
    table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[Any, dict[str, NDArray[Any]]]]:
    """``groups`` where there are very many: of each part, some columns as arrays."""
    if table.empty:
        return
    order, starts = by_group(table, by)
    names = table[list(by)].iloc[order[starts]].itertuples(index=False, name=None)
    parts = [np.split(table[column].to_numpy()[order], starts[1:]) for column in columns]
    for name, *values in zip(names, *parts, strict=True):
        yield name, dict(zip(columns, values, strict=True))


def by_group(table: pd.DataFrame, by: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order of rows that brings ``groups`` together, in theirs, and where in it each begins."""
    names = list(zip(*(table[column].tolist() for column in by), strict=True))
    rank = {name: i for i, name in enumerate(sorted(set(names)))}  # of a small table sooner than pandas' groupby
    number = np.fromiter((rank[name] for name in names), np.intp, len(names))
    order = np.argsort(number, kind="stable")
    return order, np.flatnonzero(np.diff(number[order], prepend=-1))


def strategy(row: Any) -> str:
    """The name of a strategy, for people; ``row`` has its axes as attributes."""
    return " / ".join(getattr(row, axis) for axis in AXES)


def of_strategy(runs: pd.DataFrame, row: Any) -> pd.DataFrame:
    """The runs of one strategy, whose axes ``row`` has as attributes."""
    there = np.ones(len(runs), bool)
    for axis in AXES:
        there &= (runs[axis] == getattr(row, axis)).to_numpy(bool)
    return runs[there]


def by_seed(runs: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """A measure with the seed as index, so that subtracting two pairs them."""
    return runs.groupby("seed")[column].mean()


def paired(one: "pd.Series[Any]", other: "pd.Series[Any]") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of both at the seeds that they share, in their order."""
    here, there = one.align(other, join="inner")
    return here.to_numpy(np.float64), there.to_numpy(np.float64)
