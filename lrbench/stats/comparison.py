"""Is arm B different from arm A, by how much, and how sure is it? One engine for every comparison of a report.

An *arm* is what is measured once per seed: a strategy, a study, a machine. ``compare`` gives the difference with its
interval and its p-values; ``corrected`` adjusts a family of comparisons for their number; ``Comparison`` then says the
verdict. Callers differ in their data, their margins and their correction:

=====================  =======================================  ======================================  ==========
caller                 arms                                     margin                                  correction
=====================  =======================================  ======================================  ==========
verdicts, tuning       the best strategy against each other     ``NEGLIGIBLE`` of the metric's scale    Bonferroni
rankings               all pairs of strategies                  the same                                Holm
changes                one strategy in two studies              the same, or one evaluation             Holm
machines               one strategy on two machines             steps within 10 %: equivalent           Holm
claims                 a low or a high lr against the best one  ``NEGLIGIBLE`` of the initial loss      Holm
certificates           a record and the same run again          5 % of the improvement: equivalent      Holm
=====================  =======================================  ======================================  ==========

Shapes: S seeds, C arms or comparisons.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

from lrbench.stats.estimates import LEVEL, UNKNOWN, Estimate, Interval, Statistic
from lrbench.stats.significance import (
    ROUNDING_OF_MEAN,
    bonferroni,
    constant_arms_p,
    equivalence_p,
    holm,
    paired_p,
    welch,
)

Floats = NDArray[np.float64]

DIFFERENT, BETTER, WORSE = "different", "better", "worse"
EQUIVALENT, UNDECIDED = "equivalent", "undecided"
TIED = "statistically tied"
"""The test finds no difference, which does not show that there is none."""
NOT_TESTED = "not tested"

PAIRS_NEEDED = 3
"""Where arms may have other seeds, so many shared ones make a paired test; with fewer values there is no p-value."""


@dataclass(frozen=True)
class Comparison:
    """How arm B differs from arm A.

    ``a`` and ``b`` are the means that were compared. ``effect`` is B - A with a 95 % interval. ``p`` is the two-sided
    p-value of no difference, ``p_equivalent`` that of a difference beyond the equivalence margin; each is NaN where
    there is no test. ``n`` counts the pairs, or the values of the smaller arm.
    """

    a: float
    b: float
    effect: Estimate
    p: float
    n: int
    is_paired: bool
    p_equivalent: float = math.nan
    tests_equivalence: bool = False

    @property
    def is_different(self) -> bool:
        """Whether the test finds a difference."""
        return self.p < 1 - LEVEL

    @property
    def is_equivalent(self) -> bool:
        """Whether the test shows that the difference is within the equivalence margin."""
        return self.p_equivalent < 1 - LEVEL

    @property
    def verdict(self) -> str:
        """``EQUIVALENT`` before ``DIFFERENT``; neither: ``UNDECIDED`` if equivalence was tested, too, else ``TIED``."""
        if self.is_equivalent:
            return EQUIVALENT
        if self.is_different:
            return DIFFERENT
        if self.tests_equivalence:
            return UNDECIDED
        return NOT_TESTED if math.isnan(self.p) else TIED

    def direction(self, *, higher_is_better: bool) -> str:
        """Whether B is ``BETTER`` or ``WORSE``, or the two are ``TIED``."""
        if not self.is_different:
            return TIED
        return BETTER if (self.effect.value > 0.0) == higher_is_better else WORSE


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    paired_by: tuple[ArrayLike, ArrayLike] | None = None,
    margin: float = 0.0,
    equivalence_margin: float | None = None,
    statistic: Statistic | None = None,
    least: int = 2,
    constant_arms: Literal["signs", "independent"] = "signs",
    is_deterministic: bool = False,
) -> Comparison:
    """Compare two arms by seed. Exchanging them changes signs and nothing else.

    Args:
        a: one value per seed; values that are not finite are left out.
        b: likewise.
        paired_by: the seeds of both arms. ``PAIRS_NEEDED`` shared seeds or more, or all, are compared pair by pair;
            with fewer, all values of both by Welch's test; the effect is the difference of the two means either way.
            None: values at the same place are a pair, and there is no other test; the effect is the mean of the
            differences, which keeps the digits of small ones.
        margin: a mean difference up to this is none: p = 1.
        equivalence_margin: test also that the difference is within this; None: do not.
        statistic: what the effect is of the differences by seed, with a bootstrap interval, as the IQM; None: their
            mean with Student's interval. Tests are always of the mean.
        least: the fewest pairs or values with a p-value. Two make a t-test possible; a caller that tests many things at
            once, some of them shares and steps of few values, asks for ``PAIRS_NEEDED``.
        constant_arms: p-value of arms that do not vary, each at its own value. *signs*: that of differences that are
            equal, as of scores that count examples. *independent*: that of ``constant_arms_p``, as of a share of
            diverged runs, which is 0 or 1 for every seed and could otherwise never be told apart with five seeds.
        is_deterministic: whether seeds change nothing in what is compared; then such a difference is certain.
    Source: Student 1908; Welch 1947, Biometrika 34, 28-35.
    """
    one, other, is_paired = _aligned(np.asarray(a, np.float64), np.asarray(b, np.float64), paired_by)
    n = min(len(one), len(other))
    before, after = (float(arm.mean()) if len(arm) else math.nan for arm in (one, other))
    differences = other - one if is_paired else np.empty(0)
    mean = float(differences.mean()) if paired_by is None and n else after - before
    tests_equivalence = equivalence_margin is not None
    if n < 2:
        effect = Estimate(mean) if statistic is None else Estimate.of_seeds(differences, statistic)
        return Comparison(before, after, effect, math.nan, n, is_paired=False, tests_equivalence=tests_equivalence)
    if is_paired:
        error, freedom = float(differences.std(ddof=1)) / math.sqrt(n), n - 1.0
    else:
        error, freedom = welch(one, other)
    if is_paired and statistic is not None:
        effect = Estimate.of_seeds(differences, statistic)
    else:
        reach = float(stdtrit(freedom, (1.0 + LEVEL) / 2.0)) * error
        effect = Estimate(mean, mean - reach, mean + reach)
    are_constant = max(np.ptp(one), np.ptp(other)) <= ROUNDING_OF_MEAN * abs(mean) and abs(mean) > margin
    if n < least:
        p = math.nan
    elif are_constant and constant_arms == "independent":
        p = 0.0 if is_deterministic else constant_arms_p(len(one), len(other))
    elif is_paired:
        p = paired_p(differences, margin, is_deterministic=is_deterministic)
    else:
        p = float(2.0 * stdtr(freedom, -abs(mean) / error)) if abs(mean) > margin else 1.0
    p_equivalent = math.nan if equivalence_margin is None else equivalence_p(differences, equivalence_margin)
    return Comparison(before, after, effect, p, n, is_paired, p_equivalent, tests_equivalence)


def _aligned(a: Floats, b: Floats, paired_by: tuple[ArrayLike, ArrayLike] | None) -> tuple[Floats, Floats, bool]:
    """The finite values of both arms, in order of their seeds where these are given, and whether they are pairs."""
    if paired_by is None:
        both = np.isfinite(a) & np.isfinite(b)
        return a[both], b[both], True
    seeds, values = [], []
    for arm, seed_S in zip((a, b), map(np.asarray, paired_by), strict=True):
        known = np.flatnonzero(np.isfinite(arm))
        known = known[np.argsort(seed_S[known], kind="stable")]
        seeds.append(seed_S[known])
        values.append(arm[known])
    shared, i, j = np.intersect1d(seeds[0], seeds[1], assume_unique=True, return_indices=True)
    if len(shared) >= PAIRS_NEEDED or 1 < len(shared) == max(map(len, seeds)):
        return values[0][i], values[1][j], True
    return values[0], values[1], False


def corrected(family: Sequence[Comparison], method: Callable[[ArrayLike], Floats] = holm) -> list[Comparison]:
    """The comparisons with adjusted p-values; those of no difference and those of equivalence are adjusted apart."""
    p_C, p_equivalent_C = (method([getattr(c, name) for c in family]) for name in ("p", "p_equivalent"))
    adjusted = zip(family, p_C.tolist(), p_equivalent_C.tolist(), strict=True)
    return [replace(c, p=p, p_equivalent=p_equivalent) for c, p, p_equivalent in adjusted]


# ---- many arms


def tied_with_best(
    best_S: ArrayLike, others_CS: Sequence[ArrayLike], margin: float = 0.0, *, is_deterministic: bool = False
) -> list[bool]:
    """For each of C others, whether it is statistically tied with the best: paired t-tests, Bonferroni-corrected.

    The best was chosen by the same seeds, so this is no comparison with a control. What holds: in 95 % of studies or
    more, the arm that is best in truth is the best found or tied with it, since it can be lost only to one of C others
    that is tested at 5 % / C. That two equals are told apart is not excluded so often.
    Shapes: S seeds in the same order everywhere, NaN where a seed is missing. A pair that cannot be tested is tied.
    Source: Bonferroni's inequality; confidence sets of the best, Hsu 1981, Annals of Statistics 9, 1026-1034.
    """
    family = [compare(best_S, other, margin=margin, is_deterministic=is_deterministic) for other in others_CS]
    return [not c.is_different for c in corrected(family, bonferroni)]


def separated(score_CS: ArrayLike, margin: float = 0.0, *, is_deterministic: bool = False) -> NDArray[np.bool_]:
    """Which pairs of C arms differ: paired t-tests of all pairs, Holm-corrected.

    Shapes: [C, S], seeds in the same order everywhere, NaN where one is missing.
    Returns: [C, C], symmetric; a pair that cannot be tested (fewer than two shared seeds) does not differ.
    """
    scores = np.asarray(score_CS, np.float64)
    one, other = np.triu_indices(len(scores), 1)
    family = [
        compare(scores[i], scores[j], margin=margin, is_deterministic=is_deterministic)
        for i, j in zip(one, other, strict=True)
    ]
    differ_CC = np.zeros((len(scores),) * 2, bool)
    differ_CC[one, other] = differ_CC[other, one] = [c.is_different for c in corrected(family)]
    return differ_CC


Group = frozenset[int]


def compact_letters(separated_CC: ArrayLike) -> list[str]:
    """Letters for C arms in rank order, such that two share a letter if, and only if, they are not separated.

    Shapes: [C, C], symmetric, whether each pair is separated. The first letter is that of the group with the best arm;
    beyond z come a1, b1 and so on. The number of letters may grow fast with C: meant for tens of arms. At random, with
    three pairs in ten separated, 30 arms take well below a second and 60 take many.
    Source: insert and absorb, Piepho 2004, Journal of Computational and Graphical Statistics 13, 456-466. In place of
    his sweeping, a group is left out if all its pairs stand in other groups.
    """
    apart = np.asarray(separated_CC, bool)
    groups = _without_redundant(_groups(apart), len(apart))
    names = [ascii_lowercase[i % 26] + (str(i // 26) if i >= 26 else "") for i in range(len(groups))]
    return [
        "".join(name for name, group in zip(names, groups, strict=True) if arm in group) for arm in range(len(apart))
    ]


def _groups(apart: NDArray[np.bool_]) -> list[Group]:
    """The greatest groups without a separated pair: one of all, split by each separated pair, the smaller absorbed."""
    groups: set[Group] = {frozenset(range(len(apart)))} if len(apart) else set()
    for i, j in zip(*np.nonzero(np.triu(apart, 1)), strict=True):
        split = {group for group in groups if i in group and j in group}
        groups -= split
        parts = {group - {int(k)} for group in split for k in (i, j)}
        groups |= {
            part
            for part in parts
            if not any(part <= group for group in groups) and not any(part < other for other in parts)
        }
    return sorted(groups, key=sorted)


def _without_redundant(groups: Sequence[Group], arms: int) -> list[Group]:
    """The groups, without those whose every pair stands in another one that is kept; from the last to the first."""
    places = [np.ix_(sorted(group), sorted(group)) for group in groups]
    held = np.zeros((arms, arms), int)
    for at in places:
        held[at] += 1
    kept = []
    for group, at in zip(reversed(groups), reversed(places), strict=True):
        if (held[at] > 1).all():
            held[at] -= 1
        else:
            kept.append(group)
    return kept[::-1]


# ---- single runs

Pairs = Sequence[tuple[ArrayLike, ArrayLike]]
"""For each workload the scores of the one arm and those of the other, over seeds; higher is better."""


def improvement(pairs: Pairs, rng: np.random.Generator, *, resamples: int = 2000) -> Estimate:
    """The probability of improvement, with its 95 % interval."""
    return Estimate(probability_of_improvement(pairs), *improvement_interval(pairs, rng, resamples=resamples))


def probability_of_improvement(pairs: Pairs) -> float:
    """P(X > Y) + P(X = Y) / 2 for a run X of the one and a run Y of the other, the mean over workloads; NaN without any.

    It says how likely one run beats another; means are not compared.
    Shapes: any number of seeds in each; values that are not finite are left out, and a workload where an arm has none
    says nothing.
    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3; on each workload Mann and Whitney's U / (n m).
    """
    wins = _wins(pairs)
    return float(np.mean([win.mean() for win in wins])) if wins else math.nan


def improvement_interval(pairs: Pairs, rng: np.random.Generator, *, resamples: int = 2000) -> Interval:
    """95 % interval of ``probability_of_improvement``: a percentile bootstrap, widened where it cannot see any chance.

    Both arms are resampled separately, within each workload (stratified). Where all pairs of a workload end alike (all
    won, all lost, all tied), every resample does, too. Such a workload adds the distance from its share to Wilson's
    bound for as many trials as the smaller arm has seeds, squares added to those of the bootstrap's distances. So the
    interval is never empty. NaN bounds where no workload has two values in both arms.
    Source: Wilson 1927, Journal of the American Statistical Association 22, 209-212; adding squared distances to bounds
    of independent parts: Newcombe 1998, Statistics in Medicine 17, 873-890.
    """
    wins = _wins(pairs)
    if not any(min(win.shape) > 1 for win in wins):
        return UNKNOWN
    drawn_WB = np.stack([_resampled(win, rng, resamples) for win in wins])
    middle = float(np.mean([win.mean() for win in wins]))
    low, high = np.quantile(drawn_WB.mean(axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    alike = [_wilson(float(win[0, 0]), min(win.shape)) - win[0, 0] for win in wins if win.min() == win.max()]
    below, above = np.sqrt((np.array(alike).reshape(-1, 2) ** 2).sum(axis=0)) / len(wins)
    return Interval(_widened(middle, float(low), -float(below)), _widened(middle, float(high), float(above)))


def _widened(middle: float, bound: float, more: float) -> float:
    """A bound of a probability, moved away from the middle by ``more`` as squares add."""
    return min(1.0, max(0.0, middle + math.copysign(math.hypot(bound - middle, more), more))) if more else bound


def _wilson(share: float, trials: int) -> Floats:
    """Wilson's lower and upper bound of a probability."""
    z = float(ndtri((1 + LEVEL) / 2))
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    centre = share + z**2 / (2 * trials)
    return np.array([centre - half, centre + half]) / (1 + z**2 / trials)


def _wins(pairs: Pairs) -> list[Floats]:
    """For each workload [X, Y]: 1 where the run of the one is better, 1/2 where they tie; both in order of the scores."""
    wins = []
    for one, other in pairs:
        x, y = (np.sort(a[np.isfinite(a)]) for a in (np.asarray(one, np.float64), np.asarray(other, np.float64)))
        if len(x) and len(y):
            wins.append(np.greater.outer(x, y) + 0.5 * np.equal.outer(x, y))
    return wins


def _resampled(win_XY: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """The mean of the wins in each of some resamples of both arms."""
    n, m = win_XY.shape
    x_BX, y_BY = (
        (rng.integers(size, size=(resamples, size))[:, :, None] == np.arange(size)).sum(axis=1).astype(np.float64)
        for size in (n, m)
    )  # how often each seed was drawn
    mean_B: Floats = ((x_BX @ win_XY) * y_BY).sum(axis=1) / (n * m)
    return mean_B
