"""Analysis of variance of balanced data: the sum of squares of every effect, and its share of the whole."""

from collections.abc import Sequence
from itertools import chain, combinations
from math import nan, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SEED, REST = "seed", "rest"
"""The effects that are no factor: what all runs of a seed have in common, and what is left over."""
ROUNDING = 1e-12
"""Values that differ by at most this share of their size do not vary."""


class Effect(NamedTuple):
    """A factor or an interaction: its degrees of freedom, sum of squares and share, and the share noise would give it.

    ``factors`` are the names joined by " x ", or ``SEED`` or ``REST``.
    """

    factors: str
    df: int
    ss: float
    share: float
    by_chance: float


def varies(y: ArrayLike) -> bool:
    """Whether there is any variance to explain."""
    values = np.asarray(y, np.float64)
    return bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def sums_of_squares(y: ArrayLike) -> dict[tuple[int, ...], float]:
    """The sum of squares of every effect in a balanced array with one value per cell.

    An effect is what the mean over the other dimensions has beyond all lesser effects. In balanced data effects are
    orthogonal, so their order does not matter.
    Shapes: one dimension per factor.
    Returns: for every set of dimensions, ascending, the sum of squares of their interaction: of one dimension its main
    effect, of none that of the mean. Together they are the sum of the squares of ``y``.
    Source: the fixed-effects analysis of variance, Fisher 1925, Statistical Methods for Research Workers.
    """
    values = np.asarray(y, np.float64)
    dims = range(values.ndim)
    effects: dict[tuple[int, ...], Floats] = {}
    for some in chain.from_iterable(combinations(dims, n) for n in range(values.ndim + 1)):
        mean = np.asarray(values.mean(axis=tuple(set(dims) - set(some)), keepdims=True))
        lesser = [effects[part] for n in range(len(some)) for part in combinations(some, n)]
        effects[some] = mean - sum(lesser, np.zeros_like(mean))
    return {some: float((effect**2).sum()) * values.size / effect.size for some, effect in effects.items()}


def shares(y: ArrayLike, factors: Sequence[str]) -> list[Effect]:
    """The share of the variance that each factor, each interaction, the seed and the rest explain.

    Shapes: y: a dimension for each factor, named by ``factors``, and a last one for the seeds.
    Returns: main effects first, then interactions of two, and so on; then ``SEED``, what all runs of a seed have in
    common, and ``REST``: how seeds differ in what the factors do. ``share`` is the sum of squares / the total one (eta
    squared); the shares sum to 1, and all are NaN where nothing varies. ``by_chance`` is the share that noise of the
    size of the rest would give an effect with as many degrees of freedom: an effect not well above it is none. It is
    NaN with a single seed, where nothing tells noise from interactions.
    """
    values = np.asarray(y, np.float64)
    last = values.ndim - 1
    total_of: dict[str, float] = {}
    df_of: dict[str, int] = {}
    for some, ss in sums_of_squares(values - values.mean()).items():
        if some:
            name = SEED if some == (last,) else REST if last in some else " x ".join(factors[i] for i in some)
            total_of[name] = total_of.get(name, 0.0) + ss
            df_of[name] = df_of.get(name, 0) + prod(values.shape[i] - 1 for i in some)
    total = sum(total_of.values()) if varies(values) else nan
    noise = total_of[REST] / df_of[REST] if df_of[REST] else nan
    order = [name for name in total_of if name not in {SEED, REST}] + [SEED, REST]
    return [
        Effect(n, df_of[n], total_of[n], total_of[n] / total, nan if n == REST else df_of[n] * noise / total)
        for n in order
    ]
