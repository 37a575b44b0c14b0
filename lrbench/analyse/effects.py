"""What a large and a small lr do: common claims, held against the runs with one constant lr for all layers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse.frames import by_seed, groups, paired, rows
from lrbench.analyse.response import decades, responses
from lrbench.analyse.tables import is_deterministic
from lrbench.stats.comparison import NOT_TESTED, TIED, Comparison, compare, corrected
from lrbench.stats.curves import divergence_rate
from lrbench.stats.estimates import iqm
from lrbench.stats.significance import NEGLIGIBLE

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
"""The verdicts on a claim, besides ``TIED`` and ``NOT_TESTED``."""
APART = 0.5
"""The least distance in decades of a small or a large lr from the best one."""


@dataclass(frozen=True)
class Arms:
    """The runs that the claims about one optimizer on one workload compare: at a small, the best and a large constant lr.

    ``decayed`` are the runs whose first lr is the large one (the best one where no larger was run) and whose last is
    below half of it.
    """

    small: pd.DataFrame
    best: pd.DataFrame
    large: pd.DataFrame
    above: pd.DataFrame
    decayed: pd.DataFrame

    @property
    def highest(self) -> pd.DataFrame:
        """The runs at the large lr, or at the best one where no larger was run."""
        return self.best if self.large.empty else self.large

    @cached_property
    def is_deterministic(self) -> bool:
        """Whether seeds change nothing."""
        return is_deterministic(pd.concat([self.small, self.best, self.large, self.decayed]))


Contrast = tuple["pd.Series[Any]", "pd.Series[Any]"]
"""Two measures by seed, of which the second is the greater one where a claim holds."""


def _descent(runs: pd.DataFrame, to: str) -> "pd.Series[Any]":
    """How far the validation loss came down from the untrained model's, by seed."""
    return by_seed(runs, "initial_loss") - by_seed(runs, to)


def _earlier(fast: pd.DataFrame, slow: pd.DataFrame) -> Contrast:
    return _descent(slow, "early_loss"), _descent(fast, "early_loss")


def _lower(one: pd.DataFrame, other: pd.DataFrame) -> Contrast:
    return by_seed(one, "loss"), by_seed(other, "loss")


def _wilder(one: pd.DataFrame, other: pd.DataFrame) -> Contrast:
    """Oscillation on a bounded scale: the rising share of all variation, 1/2 where nothing is gained."""

    def rising(runs: pd.DataFrame) -> "pd.Series[Any]":
        known = np.isfinite(runs.oscillation) | runs.oscillation.isna()
        share = (runs.oscillation / (1.0 + 2.0 * runs.oscillation)).where(known, 0.5)
        return by_seed(runs.assign(share=share), "share")

    return rising(other), rising(one)


def _overfits(one: pd.DataFrame, other: pd.DataFrame) -> Contrast:
    return by_seed(other, "gap"), by_seed(one, "gap")


@dataclass(frozen=True)
class Claim:
    """A sentence about lrs, and the contrasts that make it up.

    ``of_losses``: whether these are losses, which are measured against the initial one.
    """

    text: str
    definition: str
    contrasts: Callable[[Arms], list[Contrast]]
    of_losses: bool = True


EXPLODES = Claim(
    "a large lr may explode",
    "some run at an lr above the best one exploded, and a larger share of them than at the best lr; this is counted, "
    "not tested",
    lambda _: [],
)
CLAIMS = (
    Claim(
        "a large lr is faster early",
        "after 10 % of the budget the validation loss has come down further at the large lr than at the small one",
        lambda arms: [_earlier(arms.large, arms.small)],
    ),
    EXPLODES,
    Claim(
        "a large lr oscillates more",
        "the rising share of the smoothed training loss's variation is greater at the large lr than at the best one",
        lambda arms: [_wilder(arms.large, arms.best)],
        of_losses=False,
    ),
    Claim(
        "a large lr suits the start",
        "the large lr is ahead of the best one after 10 % of the budget, and behind it at the end (validation loss)",
        lambda arms: [_earlier(arms.large, arms.best), _lower(arms.best, arms.large)],
    ),
    Claim(
        "a small lr is slow",
        "after 10 % of the budget the validation loss has come down less at the small lr than at the best one",
        lambda arms: [_earlier(arms.best, arms.small)],
    ),
    Claim(
        "a small lr suits later training",
        "schedules that start at the large lr (the best one if no larger was run) and end below half of it end with a "
        "lower validation "
        "loss than the constant one",
        lambda arms: [_lower(arms.decayed, arms.highest)],
    ),
    Claim(
        "a small lr may overfit",
        "validation loss - training loss at the end is greater at the small lr than at the best one",
        lambda arms: [_overfits(arms.small, arms.best)],
    ),
)
DEFINITIONS = (
    "best: the lr with the best final validation metric; small and large: the grid's lrs nearest to a decade below and "
    "above it, at least "
    "half a decade away. Only runs with one constant lr for all layers count, except where schedules are named."
)

EFFECT = ["workload", "optimizer", "claim", "verdict", "difference", "p", "seeds"]
MEASURE = [
    "workload", "optimizer", "which", "lr", "seeds", "early", "exploded", "diverged", "spikes", "oscillation", "quality", "loss", "gap",
]  # fmt: skip


def nearest_decade(lr_L: np.ndarray[Any, np.dtype[np.float64]], best: float, direction: int) -> float | None:
    """The lr of the grid nearest to a decade above (``direction`` 1) or below (-1) the best one; None if none is half a decade away.

    Of two that are equally near, the one closer to the best.

    >>> nearest_decade(np.array([1e-3, 1e-2, 3e-2, 1e-1, 3e-1]), 1e-2, 1)
    0.1
    """
    away = [(direction * decades(best, float(lr)), float(lr)) for lr in lr_L]
    far = [(round(abs(d - 1.0), 9), d, lr) for d, lr in away if d >= APART - 0.03]
    return min(far)[2] if far else None


def effects(runs: pd.DataFrame) -> pd.DataFrame:
    """The verdict on every claim for every workload and optimizer with constant, uniform runs.

    Args: runs: what ``per_run`` returns.
    Returns: one row per workload, optimizer and claim. *supported*: every difference that makes up the claim is
    positive and its paired t-test is below 5 % after Holm's correction over the whole table; *not supported*: one of
    them is negative and so tested; *statistically tied*: neither; *not tested*: an lr, or the seeds, are missing. "May
    explode" says that something happens, so it is counted and not tested. ``difference`` is the mean over seeds of the
    claim's first difference, ``p`` its largest corrected value.
    """
    claims = [(*names, arms, claim) for names, arms in _all_arms(runs) for claim in CLAIMS]
    tests = [_tests(arms, claim) for _, _, arms, claim in claims]
    adjusted = iter(corrected([test for of_claim in tests for test in of_claim]))
    return pd.DataFrame(
        [
            {"workload": workload, "optimizer": optimizer, "claim": claim.text}
            | (_counted(arms) if claim is EXPLODES else _concluded([next(adjusted) for _ in of_claim]))
            for (workload, optimizer, arms, claim), of_claim in zip(claims, tests, strict=True)
        ],
        columns=EFFECT,
    )


def effect_measures(runs: pd.DataFrame) -> pd.DataFrame:
    """The numbers behind the claims: for every workload and optimizer, one row each for its small, best and large lr.

    ``early`` is the share of the best lr's total descent that is done after 10 % of the budget; ``exploded`` and
    ``diverged`` are shares of runs; the rest are interquartile means over seeds.
    """
    found = [
        dict(zip(["workload", "optimizer"], names, strict=True)) | {"which": which} | _describe(part, arms.best)
        for names, arms in _all_arms(runs)
        for which, part in (("small", arms.small), ("best", arms.best), ("large", arms.large))
        if len(part)
    ]
    return pd.DataFrame(found, columns=MEASURE)


def _all_arms(runs: pd.DataFrame) -> list[tuple[tuple[str, str], Arms]]:
    trained = dict(groups(runs[runs.trained], ["workload", "optimizer"]))
    best = responses(runs[runs.plain]).dropna(subset="best_lr").drop_duplicates(["workload", "optimizer"])
    return [
        ((row.workload, row.optimizer), _arms(trained[row.workload, row.optimizer], row.best_lr)) for row in rows(best)
    ]


def _arms(runs: pd.DataFrame, best: float) -> Arms:
    constant = runs[runs.plain]
    grid = np.unique(constant.lr.to_numpy(float))
    small, large = nearest_decade(grid, best, -1), nearest_decade(grid, best, 1)
    uniform = runs[runs.layer_lr.isin(constant.layer_lr.unique())]
    falling = uniform.loc[uniform.ends_low, "schedule"].unique()
    start = best if large is None else large
    return Arms(
        small=constant[constant.lr == small],
        best=constant[constant.lr == best],
        large=constant[constant.lr == large],
        above=constant[constant.lr > best],
        decayed=uniform[
            uniform.schedule.isin(falling)
            & (uniform.lr == start)
            & uniform.starts_high
            & (uniform.ends_low | ~uniform.finished)
        ],
    )


def _tests(arms: Arms, claim: Claim) -> list[Comparison]:
    """A claim's contrasts, tested but not yet corrected."""
    margin = NEGLIGIBLE * (float(arms.best.initial_loss.median()) if claim.of_losses else 1.0)
    return [
        compare(*paired(*contrast), margin=margin, is_deterministic=arms.is_deterministic)
        for contrast in claim.contrasts(arms)
    ]


def _counted(arms: Arms) -> dict[str, Any]:
    """The verdict on "may explode"."""
    if arms.above.empty:
        return {"verdict": NOT_TESTED, "seeds": 0}
    above, best = float(arms.above.exploded.mean()), float(arms.best.exploded.mean())
    verdict = SUPPORTED if above > best else TIED if above > 0 else NOT_SUPPORTED
    return {"verdict": verdict, "difference": above - best, "seeds": arms.above.seed.nunique()}


def _concluded(tests: list[Comparison]) -> dict[str, Any]:
    """The verdict on a claim from its corrected tests."""
    if any(math.isnan(test.p) for test in tests):
        verdict = NOT_TESTED
    elif any(test.is_different and not test.effect.value > 0.0 for test in tests):
        verdict = NOT_SUPPORTED
    else:
        verdict = SUPPORTED if all(test.is_different for test in tests) else TIED
    numbers = {"difference": tests[0].effect.value, "seeds": min(test.n for test in tests)}
    return numbers | {"verdict": verdict, "p": float(np.max([test.p for test in tests]))}


def _describe(runs: pd.DataFrame, best: pd.DataFrame) -> dict[str, Any]:
    total = float(iqm(_descent(best, "loss").dropna()))
    early = float(iqm(_descent(runs, "early_loss").dropna()))
    return (
        {"lr": runs.lr.iloc[0], "seeds": runs.seed.nunique(), "early": early / total if total > 0 else np.nan}
        | {"exploded": runs.exploded.mean(), "diverged": divergence_rate(runs.status.tolist())}
        | {name: iqm(runs[name].dropna()) for name in ("spikes", "oscillation", "quality", "loss", "gap")}
    )
