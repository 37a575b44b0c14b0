"""How often the bootstrap range of a score holds the true score: `python benchmarks/score_coverage.py` prints the table of docs/score.md.

The true time of a strategy on a workload is log-normal, a study's time is that times another log-normal factor. The
true score is that of the true times, which are the medians of the studies' distributions. A range that were a 95 %
interval would hold it in 95 % of the draws.
"""

from collections.abc import Iterator

import numpy as np

from lrbench.stats.score import score_bounds, scored

WORKLOADS = 6
APART, NOISE = 0.3, 0.3
"""Standard deviations of the logarithms: of true times among strategies, of times among studies."""
TAU_MAX = 4.0
STRATEGIES = (4, 20, 100)
STUDIES = (2, 3, 5, 10, 20)
RANGES = 4000
"""About so many ranges are looked at for each cell of the table, from 20 sets of studies at least."""
RESAMPLES = 500


def coverage(studies: int, strategies: int, ranges: int = RANGES, noise: float = NOISE) -> float:
    """The share of ranges that hold the true score."""
    rng, base_W = np.random.default_rng([studies, strategies]), np.arange(WORKLOADS)
    held = []
    for _ in range(max(20, ranges // strategies)):
        true_WS = np.exp(APART * rng.standard_normal((WORKLOADS, strategies)))
        times = true_WS[..., None] * np.exp(noise * rng.standard_normal((WORKLOADS, strategies, studies)))
        low_S, high_S = score_bounds(times, base_W, TAU_MAX, rng, resamples=RESAMPLES)
        true_S = scored(true_WS, base_W, TAU_MAX)
        held.append(np.mean((low_S <= true_S) & (true_S <= high_S)))
    return float(np.mean(held))


def table() -> Iterator[str]:
    """The lines of the table, as they are measured."""
    yield f"| Studies | {' | '.join(f'{n} strategies' for n in STRATEGIES)} |"
    yield f"| --: |{' --: |' * len(STRATEGIES)}"
    for studies in STUDIES:
        yield f"| {studies} | {' | '.join(f'{100 * coverage(studies, n):.0f} %' for n in STRATEGIES)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
