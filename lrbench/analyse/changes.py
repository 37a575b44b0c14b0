"""What changed between two studies of one matrix: what is new, gone, better, worse, statistically tied, unchanged.

A change counts with an effect size *and* a test: the mean difference must exceed a least effect, and its p-value,
Holm-corrected over all measures and strategies of a workload, must be below 5 %. Exchanging the studies exchanges
better and worse, new and gone, crashes and mended, and the sign of every difference; nothing else.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse.costs import CONDITIONS as COST_CONDITIONS
from lrbench.analyse.costs import Stages, seconds_after, stages_of
from lrbench.analyse.frames import AXES, STRATEGY, groups, rows
from lrbench.analyse.pairs import Pair
from lrbench.analyse.response import responses
from lrbench.analyse.tables import CONDITIONS, is_deterministic, per_run, scale, under
from lrbench.config.cost import StepCost
from lrbench.stats.comparison import BETTER, PAIRS_NEEDED, TIED, WORSE, compare, corrected
from lrbench.stats.significance import NEGLIGIBLE
from lrbench.store import Study
from lrbench.store.table import CONTENT

NEW, GONE, BOTH = "new", "gone", "both"
"""Where a strategy is: in head only, in base only, in both."""
CRASHES, MENDED = "crashes", "mended"
UNCHANGED, DOUBTFUL = "unchanged", "doubtful"
"""Verdicts besides ``BETTER``, ``WORSE`` and ``TIED``. Unchanged: the same runs with the same outcomes, to the bit."""
VALIDATION, STEPS, DIVERGENCE, CRASHED, STEP_COST = "validation", "steps to target", "diverged", "crashed", "step cost"
MEASURES = [VALIDATION, STEPS, DIVERGENCE, CRASHED, STEP_COST]
LEAST_COST_CHANGE = 0.1
"""Two step costs differ if they do by this share of the lesser or more: a machine measured again can be some per cent
slower."""

STRATEGIES = [
    *STRATEGY, "state", "base_lr", "base_edge", "head_lr", "head_edge", "base_runs", "head_runs", "base_crashed", "head_crashed", "shared",
    "identical", "reason", "base_keys", "head_keys",
]  # fmt: skip
CHANGE = [
    "measure", "base", "head", "difference", "low", "high", "p", "seeds", "paired", "base_hits", "base_runs", "head_hits", "head_runs",
    "verdict", "base_keys", "head_keys",
]  # fmt: skip

COLUMNS = [
    "key", "base", *STRATEGY, *CONDITIONS, "lr", "seed", "status", "trained", "finished", "exploded", "reached", "steps_to_target",
    "quality", "score", "untrained_score", "loss", "initial_loss", "early_loss", "higher_is_better",
    "metric_low", "default_lr",
]  # fmt: skip
"""What a comparison needs of ``per_run``."""

Sides = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class Changes:
    """What changed between two studies.

    ``strategies`` has a row per workload and strategy of either: where it is (``state``), the best lr of each side,
    chosen on validation (NaN where none is), and its runs: crashed, ``shared`` (same key on both sides), ``identical``
    (same key, same outcome). ``measures`` has a row per workload, strategy and measure that both have, each side at its
    best lr; ``cells`` one per workload, strategy and lr that both have, of the final validation result. Their
    ``difference`` is head - base with a 95 % interval; ``p`` is Holm-corrected within the workload, over all measures
    or over all cells; hits are the runs that finished (validation), reached the target (steps), diverged or crashed.
    Step costs have quartiles in place of a test, and no p. ``base_keys`` and ``head_keys`` are the runs under each row,
    by a space between, sorted; none under step costs.
    """

    strategies: pd.DataFrame
    measures: pd.DataFrame
    cells: pd.DataFrame


def changes(pair: Pair) -> Changes:
    """Compare the studies of a pair. The order of rows and files changes nothing."""
    base, head = _alike(_runs(pair.base), _runs(pair.head))
    best = _best_lr(base), _best_lr(head)
    skipped = _skip_reasons(pair.base), _skip_reasons(pair.head)
    strategies, measures, at_lr = [], [], []
    for names, (b, h) in _parts((base, head), STRATEGY):
        found = dict(zip(STRATEGY, names, strict=True))
        strategies.append(
            found | _presence((b, h), (best[0].get(names), best[1].get(names)), _reason(names, (b, h), skipped))
        )
        if len(b) and len(h):
            measures += [found | row for row in _measures((b, h), (best[0].get(names), best[1].get(names)))]
            at_lr += [found | row for row in _cells((b, h))]
    costs = list(_cost_changes(pair)) if pair.one_machine else []
    return Changes(
        pd.DataFrame(strategies, columns=STRATEGIES),
        pd.DataFrame([*_corrected(measures), *costs], columns=[*STRATEGY, *CHANGE]).sort_values(
            [*STRATEGY, "measure"], ignore_index=True, key=_in_order
        ),
        pd.DataFrame(_corrected(at_lr), columns=[*STRATEGY, "lr", *CHANGE]),
    )


def _in_order(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return column.map(MEASURES.index) if column.name == "measure" else column


def _runs(study: Study) -> pd.DataFrame:
    """``per_run``, each run with a print of its key and outcome (equal prints, equal to the bit) and what else a comparison needs."""
    prints = {run["key"]: _print(run) for run in study.runs[["key", *CONTENT]].to_dict("records")}
    table = per_run(study)
    every = study.runs.set_index("key").eval_every
    metric = {name: str(facts.get("metric")) for name, facts in study.facts["workloads"].items()}
    known = {"print": table.key.map(prints), "metric": table.base.map(metric), "eval_every": table.key.map(every)}
    return table[COLUMNS].assign(**known, diverged=table.status == "diverged")


def _print(run: Mapping[Any, Any]) -> str:
    content = hashlib.sha256(str(run["key"]).encode())
    for name in CONTENT:
        value = run[name]
        if isinstance(value, np.ndarray):
            told = value.tobytes()
        else:
            missing = value is None or value != value  # noqa: PLR0124 - NaN
            told = b"" if missing else (f"{value:.17g}" if isinstance(value, int | float) else str(value)).encode()
        content.update(f"|{name}|{len(told)}|".encode() + told)
    return content.hexdigest()


def _alike(base: pd.DataFrame, head: pd.DataFrame) -> Sides:
    """Both tables, whose workloads are named with the conditions that vary over the two: what was trained otherwise has another name."""
    names = [*CONDITIONS, "metric", "higher_is_better"]
    joint = pd.concat([base, head], ignore_index=True)
    varying = {w: [c for c in names if part[c].nunique() > 1] for (w,), part in groups(joint, ["base"])}

    def named(runs: pd.DataFrame) -> pd.DataFrame:
        told = [under(run.base, {c: getattr(run, c) for c in varying[run.base]}) for run in rows(runs)]
        return runs.assign(workload=pd.Series(told, index=runs.index, dtype="str"))

    return named(base), named(head)


def _best_lr(runs: pd.DataFrame) -> dict[tuple[Any, ...], tuple[float, str]]:
    return {tuple(getattr(row, name) for name in STRATEGY): (row.best_lr, row.edge) for row in rows(responses(runs))}


def _parts(sides: Sides, by: list[str]) -> Iterator[tuple[tuple[Any, ...], Sides]]:
    """The parts of both tables that agree in some columns, in the order of their values; a part may be empty."""
    base, head = (dict(groups(side, by)) for side in sides)
    for names in sorted(base.keys() | head.keys()):
        yield names, (base.get(names, sides[0][:0]), head.get(names, sides[1][:0]))


Best = tuple[float, str] | None


def _presence(sides: Sides, best: tuple[Best, Best], reason: str) -> dict[str, Any]:
    base, head = sides
    (base_lr, base_edge), (head_lr, head_edge) = (found or (math.nan, "") for found in best)
    prints = set(base.print), set(head.print)
    return {
        "state": GONE if head.empty else NEW if base.empty else BOTH,
        "base_lr": base_lr,
        "base_edge": base_edge,
        "head_lr": head_lr,
        "head_edge": head_edge,
        "base_runs": len(base),
        "head_runs": len(head),
        "base_crashed": int((~base.trained).sum()),
        "head_crashed": int((~head.trained).sum()),
        "shared": len(set(base.key) & set(head.key)),
        "identical": len(prints[0] & prints[1]),
        "reason": reason,
        **_keys(sides),
    }


def _keys(sides: Sides) -> dict[str, str]:
    """The runs of both sides, as ``summary.csv`` has them."""
    return {f"{name}_keys": " ".join(sorted(side.key)) for name, side in zip(("base", "head"), sides, strict=True)}


Reasons = dict[tuple[str, ...], str]


def _skip_reasons(study: Study) -> Reasons:
    return {
        tuple(getattr(row, name) for name in STRATEGY): str(row.reason)
        for row in rows(study.skipped.sort_values(["key", "reason"]))
    }


def _reason(names: tuple[Any, ...], sides: Sides, skipped: tuple[Reasons, Reasons]) -> str:
    """Why a strategy is on one side only, if the other one says so: it was skipped there."""
    present = sides[0] if len(sides[0]) else sides[1]
    lacking = skipped[0] if sides[0].empty else skipped[1] if sides[1].empty else {}
    return lacking.get((str(present.base.iloc[0]), *names[1:]), "")


def _measures(sides: Sides, best: tuple[Best, Best]) -> Iterator[dict[str, Any]]:
    """What can be compared of a strategy that both sides have."""
    base, head = (side[side.trained] for side in sides)
    yield from _crashes(sides)
    if base.empty or head.empty:
        return
    at = _at(base, best[0]), _at(head, best[1])
    yield _validation(at, _scale(base, head))
    if at[0].reached.any() or at[1].reached.any():
        yield _steps(at)
    if base.diverged.any() or head.diverged.any():
        yield from _divergence((base, head))


def _at(runs: pd.DataFrame, best: Best) -> pd.DataFrame:
    """The runs at the best lr; where no run finished at any, all of them: each is the untrained model."""
    return runs if best is None or math.isnan(best[0]) else runs[runs.lr == best[0]]


def _scale(base: pd.DataFrame, head: pd.DataFrame) -> float:
    """The size against which a difference of the validation metric is small."""
    both = pd.concat([base, head])
    return scale(both)


def _crashes(sides: Sides) -> Iterator[dict[str, Any]]:
    """The share of runs that crash, if it is another: of the lrs and seeds that both sides have; if it is the same there, of all.

    Of all, more (or fewer) must crash in number, too: that one side has more runs changes nothing by itself.
    """
    for part in (_shared(sides, 1), sides):
        (base, now), (base_runs, runs) = ([int((~side.trained).sum()) for side in part], [len(side) for side in part])
        moved = now / runs - base / base_runs
        if (now - base) * moved > 0.0:
            counts = {"base_hits": base, "base_runs": base_runs, "head_hits": now, "head_runs": runs}
            facts = {"measure": CRASHED, "base": base / base_runs, "head": now / runs, "difference": moved, "seeds": 0}
            yield (
                facts
                | counts
                | {"paired": False, "p": math.nan, "verdict": CRASHES if moved > 0.0 else MENDED}
                | _keys(part)
            )
            return


def _shared(sides: Sides, seeds: int) -> Sides:
    """The runs at the lrs and seeds that both sides have, if so many seeds are among them; else all."""
    shared = sides[0][["lr", "seed"]].merge(sides[1][["lr", "seed"]]).drop_duplicates()
    return (sides[0].merge(shared), sides[1].merge(shared)) if shared.seed.nunique() >= seeds else sides


def _validation(at: Sides, scale: float) -> dict[str, Any]:
    """The final validation metric, by seed; a diverged run counts as the untrained model."""
    base, head = (_by_seed(side, side.quality) for side in at)
    higher_is_better = bool(at[0].higher_is_better.iloc[0])
    return _row(VALIDATION, (base, head), NEGLIGIBLE * scale, at, "finished", higher_is_better=higher_is_better)


def _steps(at: Sides) -> dict[str, Any]:
    """Steps until the target within the budget, by seed: a run that does not reach it is known to need the budget or more.

    The difference is that of restricted means, which no value has to be made up for. It must exceed an evaluation
    interval: less is not seen.
    Source: Royston & Parmar 2013, BMC Medical Research Methodology 13:152.
    """
    base, head = (_by_seed(side, side.steps_to_target.fillna(side.budget)) for side in at)
    interval = float(max(side.eval_every.max() for side in at))
    return _row(STEPS, (base, head), interval, at, "reached", higher_is_better=False)


def _divergence(sides: Sides) -> Iterator[dict[str, Any]]:
    """The share of lrs at which a seed diverges, over the lrs that both sides have; over the runs that both have where seeds are shared."""
    lrs = set(sides[0].lr) & set(sides[1].lr)
    base, head = (side[side.lr.isin(lrs)] for side in sides)
    base, head = _shared((base, head), PAIRS_NEEDED)
    if base.diverged.any() or head.diverged.any():
        arms = _by_seed(base, base.diverged), _by_seed(head, head.diverged)
        yield _row(DIVERGENCE, arms, NEGLIGIBLE, (base, head), "diverged", higher_is_better=False)


def _by_seed(runs: pd.DataFrame, values: "pd.Series[Any]") -> "pd.Series[Any]":
    return values.astype(float).groupby(runs.seed).mean()


def _row(
    measure: str,
    arms: tuple["pd.Series[Any]", "pd.Series[Any]"],
    margin: float,
    at: Sides,
    hits: str,
    *,
    higher_is_better: bool,
) -> dict[str, Any]:
    """How one measure compares, not yet corrected for the number of tests; ``hits`` is what is counted beside it."""
    base, head = arms
    compared = compare(
        base,
        head,
        paired_by=(base.index, head.index),
        margin=margin,
        least=PAIRS_NEEDED,
        constant_arms="independent",
        is_deterministic=all(map(is_deterministic, at)),
    )
    counts: dict[str, int] = {}
    for name, side in zip(("base", "head"), at, strict=True):
        counts |= {f"{name}_hits": int(side[hits].sum()), f"{name}_runs": len(side)}
    effect = compared.effect
    same = _unchanged(at)
    return (
        {"measure": measure, "base": compared.a, "head": compared.b, "difference": effect.value}
        | {"low": effect.low, "high": effect.high, "p": math.nan, "seeds": compared.n, "paired": compared.is_paired}
        | counts
        | {"verdict": UNCHANGED if same else TIED}
        | ({} if same else {"compared": compared, "higher_is_better": higher_is_better})
        | _keys(at)
    )


def _unchanged(at: Sides) -> bool:
    """Whether the seeds that both sides have gave the same runs with the same outcomes, to the bit."""
    prints: list[dict[int, set[str]]] = [{}, {}]
    for found, side in zip(prints, at, strict=True):
        for seed, told in zip(side.seed.tolist(), side.print.tolist(), strict=True):
            found.setdefault(seed, set()).add(told)
    shared = prints[0].keys() & prints[1].keys()
    return bool(shared) and all(prints[0][seed] == prints[1][seed] for seed in shared)


def _corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with the p-values of those that were compared Holm-corrected within each workload, and their verdicts."""
    decided = list(rows)
    for workload in sorted({row["workload"] for row in rows}):
        at = [i for i, row in enumerate(rows) if row["workload"] == workload and "compared" in row]
        for i, test in zip(at, corrected([rows[i]["compared"] for i in at]), strict=True):
            verdict = test.direction(higher_is_better=rows[i]["higher_is_better"])
            decided[i] = rows[i] | {"p": test.p, "verdict": verdict}
    return decided


def _cells(sides: Sides) -> Iterator[dict[str, Any]]:
    """The final validation result at each lr that both sides have trained runs at."""
    base, head = (side[side.trained] for side in sides)
    if base.empty or head.empty:
        return
    size = _scale(base, head)
    for (lr,), at in _parts((base, head), ["lr"]):
        if len(at[0]) and len(at[1]):
            counts = {"base_hits": int(at[0].diverged.sum()), "head_hits": int(at[1].diverged.sum())}
            yield {"lr": lr} | _validation(at, size) | counts


Where = tuple[Any, ...]


def _cost_changes(pair: Pair) -> Iterator[dict[str, Any]]:
    """The cost of a step, averaged over the budget, of the strategies that both sides have measured."""
    base, head = stages_of(pair.base.costs), stages_of(pair.head.costs)
    names = _cost_names(base.keys() & head.keys())
    for where in sorted(names):
        budget = float(
            max(study.facts["workloads"].get(where[0], {}).get("steps", 1) for study in (pair.base, pair.head))
        )
        one, other = _cost(base[where], budget), _cost(head[where], budget)
        if one and other:
            axes = dict(zip(STRATEGY, (names[where], *where[1 : 1 + len(AXES)]), strict=True))
            yield axes | _cost_row(one, other)


def _cost_names(places: Iterable[Where]) -> dict[Where, str]:
    """The workload of each cost, named with the conditions that vary."""
    table = pd.DataFrame(sorted(places), columns=[*STRATEGY, *COST_CONDITIONS])
    varying = {w: [c for c in COST_CONDITIONS if part[c].nunique() > 1] for (w,), part in groups(table, ["workload"])}
    return {tuple(row): under(row.workload, {c: getattr(row, c) for c in varying[row.workload]}) for row in rows(table)}


@dataclass(frozen=True)
class _Cost:
    """Seconds of a step, its quartiles over windows, and whether the measurement was in doubt."""

    seconds: float
    low: float
    high: float
    doubtful: bool


def _cost(devices: Stages, budget: float) -> _Cost | None:
    """The median over devices; None where a time is not known."""

    def mean(of: Callable[[StepCost], float | None]) -> float:
        known = [seconds_after([replace(c, seconds=of(c)) for c in part], budget) / budget for part in devices.values()]
        finite = [value for value in known if math.isfinite(value)]
        return float(np.median(finite)) if finite else math.nan

    seconds = mean(lambda c: c.seconds)
    if not seconds > 0.0:
        return None
    low, high = mean(lambda c: c.seconds_low or c.seconds), mean(lambda c: c.seconds_high or c.seconds)
    return _Cost(seconds, low, high, any(c.noise for part in devices.values() for c in part))


def _cost_row(base: _Cost, head: _Cost) -> dict[str, Any]:
    """Costs differ if their medians do by ``LEAST_COST_CHANGE`` of the lesser or more and their quartiles do not overlap."""
    moved = head.seconds - base.seconds
    apart = head.low > base.high or base.low > head.high
    verdict = TIED
    if base == head:
        verdict = UNCHANGED
    elif apart and abs(moved) >= LEAST_COST_CHANGE * min(base.seconds, head.seconds):
        verdict = DOUBTFUL if base.doubtful or head.doubtful else WORSE if moved > 0.0 else BETTER
    interval = {"low": head.low - base.high, "high": head.high - base.low}
    counts = dict.fromkeys(("seeds", "base_hits", "base_runs", "head_hits", "head_runs"), 0)
    numbers = {"base": base.seconds, "head": head.seconds, "difference": moved, "p": math.nan, "paired": False}
    return {"measure": STEP_COST} | numbers | interval | counts | {"verdict": verdict, "base_keys": "", "head_keys": ""}
