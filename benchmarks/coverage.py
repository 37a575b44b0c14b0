"""How often the intervals hold the truth: `python benchmarks/coverage.py` prints the table of docs/statistics.md.

Seeds are drawn from distributions whose mean and interquartile mean are known; a nominal 95 % interval should hold them
in 95 % of the draws.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from lrbench.stats.estimates import bootstrap_intervals, iqm, mean

DRAWS = 4000
SEEDS = (2, 3, 4, 5, 10, 20)
DISTRIBUTIONS = {"normal": stats.norm(), "skewed": stats.lognorm(1.0), "heavy-tailed": stats.t(3)}
"""Skewed: log-normal with sigma 1; heavy-tailed: Student's t with 3 degrees of freedom."""
HEADER = ["Seeds", "Distribution", "IQM, bootstrap", "Mean, bootstrap", "Mean, Student's t"]


def middle_mean(distribution) -> float:
    """The interquartile mean of a distribution: twice the integral of its quantiles from 1/4 to 3/4."""
    grid = 0.25 + 0.5 * (np.arange(20_000) + 0.5) / 20_000
    return float(distribution.ppf(grid).mean())


def student(value_CS):
    middle, error = value_CS.mean(axis=1), value_CS.std(axis=1, ddof=1) / np.sqrt(value_CS.shape[1])
    width = stats.t.ppf(0.975, value_CS.shape[1] - 1) * error
    return middle - width, middle + width


def coverage(name: str, seeds: int, draws: int = DRAWS) -> list[float]:
    """The share of intervals that hold the truth: of the IQM and of the mean by the bootstrap, of the mean by Student's t."""
    distribution, rng = DISTRIBUTIONS[name], np.random.default_rng([seeds, list(DISTRIBUTIONS).index(name)])
    value_CS = np.sort(distribution.rvs((draws, seeds), random_state=rng), axis=1)

    def bootstrap(statistic: Callable):
        return bootstrap_intervals([value_CS], np.random.default_rng(0), statistic)  # as reports do

    known = [
        (bootstrap(iqm), middle_mean(distribution)),
        (bootstrap(mean), distribution.mean()),
        (student(value_CS), distribution.mean()),
    ]
    return [float(np.mean((low <= truth) & (truth <= high))) for (low, high), truth in known]


def table() -> Iterator[str]:
    """The lines of the table, as they are measured."""
    yield f"| {' | '.join(HEADER)} |"
    yield "| --: | --- | --: | --: | --: |"
    for seeds in SEEDS:
        for name in DISTRIBUTIONS:
            shares = [f"{100 * share:.0f} %" for share in coverage(name, seeds)]
            yield f"| {' | '.join([str(seeds), name, *shares])} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
