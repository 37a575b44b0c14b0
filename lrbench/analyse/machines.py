"""One matrix on several machines, side by side and never pooled.

``studies`` maps the name of each machine to its study, in order of the names; ``best`` maps it to the machine's runs,
all at the same lrs.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse.costs import CASE, step_costs, time_to_target
from lrbench.analyse.frames import STRATEGY, groups, strategy
from lrbench.analyse.tables import median_steps
from lrbench.stats.comparison import DIFFERENT, EQUIVALENT, PAIRS_NEEDED, UNDECIDED, Comparison, compare, corrected
from lrbench.stats.estimates import geometric_mean, ratio_interval
from lrbench.store import Study

EQUIVALENT_STEPS = 0.1
"""Two machines need equivalent steps if the ratio of their steps lies within 1 / (1 + this) and 1 + this."""

Studies = Mapping[str, Study]


def side_by_side(studies: Iterable[Study]) -> dict[str, Study]:
    """Studies by the slug of their machine, sorted; by the name of their folder where two have the same machine."""
    known = sorted(studies, key=lambda study: study.folder.name)
    slugs = [str(study.machine["slug"]) for study in known]
    names = slugs if len(set(slugs)) == len(slugs) else [study.folder.name for study in known]
    return dict(sorted(zip(names, known, strict=True), key=lambda pair: pair[0]))


def shared_runs(studies: Studies) -> dict[str, Study]:
    """The studies, each with only the runs that were trained on every machine that has any: the same keys, so the same values throughout.

    A crashed run was not trained. Step costs are kept.
    """
    trained = {name: set(study.runs.loc[study.runs.status != "crashed", "key"]) for name, study in studies.items()}
    some = [keys for keys in trained.values() if keys]
    shared = set.intersection(*some) if some else set()
    return {
        name: replace(study, runs=study.runs[study.runs.key.isin(shared)].reset_index(drop=True))
        for name, study in studies.items()
    }


def case_costs(study: Study, measure: str = "seconds") -> "pd.Series[Any]":
    """A measure of every case that has it, by the columns of ``CASE``; the median over devices where several were measured."""
    return step_costs(study.costs).dropna(subset=measure).groupby(CASE, sort=True)[measure].median()


def slowest(studies: Studies) -> str | None:
    """The machine with the greatest geometric mean step time over the cases that all machines with costs share; of equals the first.

    Returns: None where no machine has costs; the first that has any where no case is shared by all.
    """
    known = {name: found for name, study in studies.items() if len(found := case_costs(study))}
    shared = set.intersection(*(set(found.index) for found in known.values())) if known else set()
    means = {name: geometric_mean(found[found.index.isin(shared)]) if shared else 0.0 for name, found in known.items()}
    return max(means, key=lambda name: means[name]) if means else None


RATIO = ["workload", "machine", "cases", "ratio", "low", "high"]


def cost_ratios(studies: Studies, baseline: str, measure: str = "seconds") -> pd.DataFrame:
    """How many times more a step costs on the baseline than on each other machine: its speed-up, or what it saves in ``joules``.

    Returns: one row per workload and machine, the geometric mean of the ratio over the cases that both measured, with a
    bootstrap 95 % interval over these cases (NaN with fewer than two); no row without a shared case.
    """
    base = case_costs(studies[baseline], measure)
    found = []
    for name in studies:
        ratios = (base / case_costs(studies[name], measure)).dropna()
        for (workload,), part in groups(ratios.rename("ratio").reset_index(), ["workload"]) if name != baseline else ():
            low, high = ratio_interval(part.ratio, np.random.default_rng(0))
            found.append(
                dict(zip(RATIO, (workload, name, len(part), geometric_mean(part.ratio), low, high), strict=True))
            )
    return pd.DataFrame(found, columns=RATIO).sort_values(["workload", "machine"], ignore_index=True)


def times_on(studies: Studies, best: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """``time_to_target`` of each machine, with its own step costs and its own steps, in a further column ``machine``."""
    parts = [time_to_target(best[name], study.costs).assign(machine=name) for name, study in studies.items()]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


FLIP = [
    "workload", "machine", "other_machine", "faster", "slower", "faster_seconds", "slower_seconds", "other_faster_seconds",
    "other_slower_seconds", "apart_on",
]  # fmt: skip


def rank_changes(times: pd.DataFrame) -> pd.DataFrame:
    """Pairs of strategies whose order in time to target is one on one machine and the other on another.

    Args: times: what ``times_on`` returns.
    Returns: one row per pair, for which ``faster`` has the smaller median on ``machine`` and the greater one on
    ``other_machine``, and the two intervals do not overlap on one of these machines at least (``apart_on``: "both", or
    that one); most pronounced first. A strategy that is never done on a machine comes last there; one whose time is not
    known has no rank.
    """
    found = [
        change
        for (w,), part in groups(times.dropna(subset="seconds"), ["workload"])
        for change in _changes(str(w), part)
    ]
    order = sorted(
        found,
        key=lambda row: (
            row["workload"],
            row["machine"],
            row["other_machine"],
            -_swing(row),
            row["faster"],
            row["slower"],
        ),
    )
    return pd.DataFrame(order, columns=FLIP)


def _changes(workload: str, times: pd.DataFrame) -> Iterator[dict[str, Any]]:
    tables = {str(machine): part.set_index("strategy").sort_index() for (machine,), part in groups(times, ["machine"])}
    for one, other in itertools.combinations(sorted(tables), 2):
        names = tables[one].index.intersection(tables[other].index)
        here, there = tables[one].loc[names], tables[other].loc[names]
        t_here, t_there = here.seconds.to_numpy(float), there.seconds.to_numpy(float)
        apart_here, apart_there = _apart(here), _apart(there)
        flips = np.less.outer(t_here, t_here) & np.greater.outer(t_there, t_there) & (apart_here | apart_there.T)
        for i, j in np.argwhere(flips):
            where = "both" if apart_here[i, j] and apart_there[j, i] else one if apart_here[i, j] else other
            values = (
                workload,
                one,
                other,
                str(names[i]),
                str(names[j]),
                t_here[i],
                t_here[j],
                t_there[i],
                t_there[j],
                where,
            )
            yield dict(zip(FLIP, values, strict=True))


def _apart(times: pd.DataFrame) -> Any:
    """[i, j] whether the interval of strategy i ends before that of j begins."""
    return np.less.outer(times.seconds_high.to_numpy(float), times.seconds_low.to_numpy(float))


def _swing(row: dict[str, Any]) -> float:
    """By how many powers of e the ratio of the two times changes."""
    here, there = (
        row["slower_seconds"] / row["faster_seconds"],
        row["other_faster_seconds"] / row["other_slower_seconds"],
    )
    return math.log(here) + math.log(there)


PARITY = [
    *STRATEGY, "strategy", "machine", "lr", "seeds", "reference_steps", "steps", "ratio", "p", "p_different", "one_only", "neither",
    "verdict", "keys",
]  # fmt: skip


def parity(best: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """Whether each machine needs as many steps to the target as the reference one, per workload and strategy, paired by run key.

    Returns: ``ratio`` is the geometric mean of steps / steps on the reference over the seeds. One that reaches the
    target on one of the two machines only (``one_only``) counts as reaching it right after the budget on the other, the
    least that it can be apart; one that reaches it on neither says nothing and is counted (``neither``). *equivalent*:
    the equivalence test (TOST on the differences of log steps, margin ``log(1 + EQUIVALENT_STEPS)``) is below 5 %, and no seed
    reached it on one only; *different*: not so, and the paired t-test of no difference is; *undecided*: neither. Both
    p-values are Holm-corrected over the strategies of a workload and a machine.
    """
    table: list[dict[str, Any]] = []
    for machine, runs in best.items():
        if machine != reference and len(runs):
            pairs = best[reference].merge(runs[["key", "steps_to_target"]], on="key", suffixes=("", "_there"))
            for _, of_workload in groups(pairs, ["workload"]):
                compared = [_steps_on_both(part, machine) for _, part in groups(of_workload, STRATEGY)]
                family = corrected([steps for _, steps in compared])
                table += [row | _decided(row, steps) for (row, _), steps in zip(compared, family, strict=True)]
    return pd.DataFrame(table, columns=PARITY)


def _steps_on_both(pairs: pd.DataFrame, machine: str) -> tuple[dict[str, Any], Comparison]:
    """The row of one strategy, and how the logarithms of its steps compare."""
    pairs = pairs.sort_values(["seed", "key"])
    first, here, there = pairs.iloc[0], pairs.steps_to_target, pairs.steps_to_target_there
    after = (pairs.budget + 1).where(here.notna() | there.notna())
    logs = [np.log(steps.fillna(after)).groupby(pairs.seed).mean() for steps in (here, there)]
    compared = compare(
        *logs,
        equivalence_margin=math.log1p(EQUIVALENT_STEPS),
        least=PAIRS_NEEDED,
        constant_arms="independent",  # the same step at every seed on one machine, and another one on the other
    )
    row = {axis: first[axis] for axis in STRATEGY} | {
        "strategy": strategy(first),
        "machine": machine,
        "lr": first.lr,
        "seeds": len(pairs),
        "reference_steps": median_steps(pairs.steps_to_target),
        "steps": median_steps(there),
        "ratio": math.exp(compared.effect.value),
        "one_only": int((here.isna() != there.isna()).sum()),
        "neither": int((here.isna() & there.isna()).sum()),
        "keys": " ".join(pairs.key),
    }
    return row, compared


def _decided(row: dict[str, Any], steps: Comparison) -> dict[str, Any]:
    """The corrected p-values and the verdict: not equivalent if a seed reaches the target on one machine only."""
    verdict = steps.verdict
    if verdict == EQUIVALENT and row["one_only"]:
        verdict = DIFFERENT if steps.is_different else UNDECIDED
    return {"p": steps.p_equivalent, "p_different": steps.p, "verdict": verdict}


def money(seconds: float, price_per_hour: float) -> float:
    """What so many seconds of a whole machine cost, in the currency of the price; infinite for infinite seconds."""
    return seconds / 3600.0 * price_per_hour
