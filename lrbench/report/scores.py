"""Scores of curves that other tools recorded: as text, as JSON, as a picture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse import rows
from lrbench.analyse.score import Standings, per_study, per_trial, standings, target_tests
from lrbench.config.faults import BadInput, nearest
from lrbench.config.targets import Targets, read_targets
from lrbench.report import text
from lrbench.report.document import Block, Bullets, Column, Paragraph, Table
from lrbench.report.drawing import encoded, line_style
from lrbench.report.render import terminal
from lrbench.report.study.overall import profile_figure
from lrbench.stats.score import Speedup
from lrbench.store import write_whole
from lrbench.store.curves import Curves, parse_names, read_curves

PICTURES = (".png", ".svg", ".pdf")
LINES = 16
"""The most strategies in a picture."""


@dataclass(frozen=True)
class Scores:
    """Curves, their targets, and what follows; ``baseline`` is what speed-ups are over, if anything."""

    curves: Curves
    targets: Targets
    baseline: str = ""

    @cached_property
    def studies(self) -> pd.DataFrame:
        """One row per workload, strategy and study."""
        return per_study(per_trial(self.curves, self.targets), self.targets)

    @cached_property
    def standings(self) -> Standings:
        """By time to target."""
        return standings(self.studies, self.targets)

    @cached_property
    def steps(self) -> Standings:
        """By steps to target."""
        return standings(self.studies, self.targets, "steps")


def score_files(
    files: Sequence[Path], targets: Path, names: Sequence[str] = (), baseline: str = "", plot: Path | None = None
) -> Scores:
    """Score the curves of files together; with ``plot``, draw their performance profiles.

    Args: names: what columns are called in the files, see ``store.curves.parse_names``. baseline: a strategy, for
    speed-ups.
    Raises: BadInput for what cannot be used; nothing is written then.
    """
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise BadInput(f"--plot {plot}: must end in .png, .svg or .pdf")
    wanted = read_targets(targets)
    found = Scores(read_curves(files, wanted, parse_names(names)), wanted, baseline)
    if baseline and baseline not in found.standings.strategies:
        raise BadInput(
            f"--baseline {baseline}: no strategy here is called {baseline!r}. "
            f"{nearest(baseline, found.standings.strategies)}"
        )
    if plot is not None:
        write_whole(plot, picture(found, plot.suffix.lower()[1:]))
    return found


def picture(found: Scores, kind: str) -> bytes:
    """The performance profiles of the best strategies, and of the baseline, as ``png``, ``svg`` or ``pdf``."""
    order = found.standings.order
    drawn = [s for i, s in enumerate(order) if i < LINES or found.standings.strategies[s] == found.baseline]
    lines = [(s, line_style(i) | {"linestyle": "-" if i < LINES // 2 else "--"}) for i, s in enumerate(drawn)]
    return encoded(profile_figure(found.standings, lines, "time"), kind)


def as_json(found: Scores) -> dict[str, Any]:
    """``scores`` by strategy, and ``times`` to target by workload and strategy: seconds, medians over studies, None where not reached."""
    here = found.standings
    times = {
        w: {s: _or_none(t) for s, t in zip(here.strategies, time_S, strict=True)}
        for w, time_S in zip(here.workloads, here.time_WS, strict=True)
    }
    return {"scores": dict(zip(here.strategies, map(float, here.score_S), strict=True)), "times": times}


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def remarks(found: Scores) -> list[str]:
    """What may be a mistake in the files: a workload without measurements, or without any of its metric; a clock that runs backwards."""
    trials, logged = found.curves.trials, found.curves.trials.workload.iloc[found.curves.evaluations.trial.unique()]
    here, measured = set(trials.workload), set(logged)
    absent = [
        f"workload {w!r} has a target and no rows: it counts as failed by every strategy"
        for w in found.targets.names
        if w not in here
    ]
    silent = [
        f"workload {w!r} has no row with metric {found.targets.workloads[w].metric!r}: no trial of it reaches the "
        f"target"
        for w in sorted(here - measured)
    ]
    return absent + silent + _backwards(found)


def _backwards(found: Scores) -> list[str]:
    at = found.curves.evaluations
    back = (at.trial.diff() == 0) & (at.seconds.diff() < 0)
    if not back.any():
        return []
    first = at[back].iloc[0]
    where = " / ".join(map(str, found.curves.trials.iloc[int(first.trial)]))
    count = text.count(at.trial[back].nunique(), "trial")
    return [
        f"the seconds of {count} fall while the steps rise, first at step {first.step:g} of {where}: they are to be "
        f"since its start"
    ]


def as_text(found: Scores) -> str:
    """Scores, times and target tests as tables for a terminal."""
    parts: list[Block] = [
        Paragraph(_head(found)),
        score_table(found),
        Bullets(_rule(found)),
        time_table(found),
        test_table(found),
        Paragraph(TESTS_NOTE),
    ]
    return terminal.blocks(parts)


def _head(found: Scores) -> str:
    here, trials = found.standings, found.curves.trials
    variants = len(here.workloads) - len(here.base_names)
    more = f" and {text.count(variants, 'held-out variant')}" if variants else ""
    counted = f"{text.count(len(here.strategies), 'strategy')} on {text.count(len(here.base_names), 'workload')}{more}"
    return f"{counted}, {text.count(len(trials), 'trial')} in {text.count(len(found.studies), 'study')}"


def _rule(found: Scores) -> list[str]:
    tau = f"{found.targets.tau_max:g}"
    which = "in the least time" if found.targets.trial == "fastest" else "in the fewest evaluations"
    lines = [
        f"Score: area under the performance profile for tau from 1 to {tau}, between 0 and 1.",
        f"Time of a study: that of its trial that reaches the target {which}. Medians over studies; one that never "
        "reaches is infinite.",
        "Brackets: bootstrap range, the middle 95 % of scores with the studies drawn anew; none where a workload has a "
        "single study. It is",
        "no 95 % interval: with few studies or many strategies it holds the true score far more seldom. One below its "
        "score says that",
        "the lead is partly luck.",
        f"Counts: workloads within {tau} x the fastest, with their held-out variants.",
        "x fastest: of times that count, to the fastest of these; of others, to the fastest of all.",
    ]
    if found.baseline:
        over = "over the workloads that both reach."
        lines.append(f"Speed-up: geometric mean of times of {found.baseline} / times, {over}")
    return lines


def score_table(found: Scores) -> "Table[int]":
    """The scores, best first; a row is a strategy by its place in the standings."""
    here, ratio_BS = found.standings, found.standings.ratio_BS

    def spread(s: int) -> str:
        low, high = here.bounds.low_S[s], here.bounds.high_S[s]
        return text.NONE if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"

    def counts(s: int) -> str:
        return f"{int(np.isfinite(ratio_BS[:, s]).sum())} of {len(ratio_BS)}"

    columns: list[Column[int]] = [
        Column("Strategy", lambda s: here.strategies[s]),
        Column("Score", lambda s: f"{here.score_S[s]:.4f}", right=True),
        Column("Bootstrap range", spread, right=True),
        Column("Counts", counts, right=True),
        Column("Fastest", lambda s: str(int((ratio_BS[:, s] == 1.0).sum())), right=True),
    ]
    if baseline := found.baseline:

        def faster(s: int) -> Speedup:
            return here.speedup(here.strategies[s], baseline)

        columns += [
            Column(f"Speed-up over {baseline}", lambda s: text.times(faster(s).ratio), right=True),
            Column("Both", lambda s: str(faster(s).both), right=True),
            Column("It alone", lambda s: str(faster(s).only_this), right=True),
            Column("Other alone", lambda s: str(faster(s).only_other), right=True),
        ]
    return Table("scores", columns, here.order)


Place = tuple[int, int]
"""A workload and a strategy by their places in the standings."""


def time_table(found: Scores) -> "Table[Place]":
    """The times to target of every strategy on every workload, soonest first."""
    here, steps = found.standings, found.steps.time_WS

    def seconds(at: Place) -> float:
        return float(here.time_WS[at])

    def ratio(at: Place) -> str:
        among = here.qualified_WS if math.isfinite(here.qualified_WS[at]) else here.time_WS
        fastest, time = np.min(np.nan_to_num(among[at[0]], nan=math.inf)), seconds(at)
        times = 1.0 if time == fastest else time / fastest if 0.0 < fastest < math.inf else math.nan
        return f"{times:.2f}" if math.isfinite(times) else text.NONE

    def studies(at: Place) -> str:
        of = here.times[at][~np.isnan(here.times[at])]
        return f"{int(np.isfinite(of).sum())} of {len(of)}"

    def where_reached(show: Callable[[Place], str]) -> Callable[[Place], str]:
        return lambda at: show(at) if math.isfinite(seconds(at)) else text.NONE

    columns: list[Column[Place]] = [
        Column("Workload", lambda at: here.workloads[at[0]]),
        Column("Strategy", lambda at: here.strategies[at[1]]),
        Column("Time", lambda at: text.measure(seconds(at), text.TIME), right=True),
        Column("Seconds", where_reached(lambda at: f"{seconds(at):.1f}"), right=True),
        Column("Steps", where_reached(lambda at: text.number(steps[at])), right=True),
        Column("x fastest", ratio, right=True),
        Column("Studies", studies, right=True),
        Column("", lambda at: _why_not(here, *at)),
    ]

    def soonest(at: Place) -> tuple[float, int]:
        return math.inf if math.isnan(seconds(at)) else seconds(at), at[1]

    places = [at for w in range(len(here.workloads)) for at in sorted(((w, s) for s in here.order), key=soonest)]
    return Table("times", columns, places, title="Times to target")


def _why_not(here: Standings, w: int, s: int) -> str:
    """Why a time to target does not count."""
    if math.isnan(here.time_WS[w, s]):
        return "not measured"
    if math.isinf(here.time_WS[w, s]) or math.isfinite(here.qualified_WS[w, s]):
        return ""
    base = here.base_W[w]
    if base != w and (math.isinf(here.paced_WS[base, s])):
        return f"fails {here.workloads[base]}"
    if math.isinf(here.paced_WS[w, s]):
        return f"over {here.tau_max:g} x the fastest"
    failed = [here.workloads[v] for v in np.flatnonzero(here.base_W == base) if math.isinf(here.paced_WS[v, s])]
    return f"fails {', '.join(failed)}"


TESTS_NOTE = """\
The result of a study is the best of its trials: of their last values, or of all values that they saw. p: one-sided t-test that the mean
over studies of the best of the last values is beyond the target, so that a small p says it is; of a study with several trials this speaks
of the best of so many, not of a single training. None with one study, where a study has no value, or where a trial ended as soon as it met
the target, for then its last value is beyond the target by choice. None for the best of all values, a maximum, for the same reason."""


def test_table(found: Scores) -> "Table[Any]":
    """Whether the mean result over studies meets the target."""

    def goal(t: Any) -> str:
        target = found.targets.workloads[t.workload]
        return f"{'<=' if target.better == 'lower' else '>='} {target.target:g}"

    columns: list[Column[Any]] = [
        Column("Workload", lambda t: t.workload),
        Column("Strategy", lambda t: t.strategy),
        Column("Target", goal, right=True),
        Column("Studies", lambda t: str(t.studies), right=True),
        Column("Last: mean", lambda t: text.number(t.final_mean, 6), right=True),
        Column("sd", lambda t: text.number(t.final_sd, 2), right=True),
        Column("n", lambda t: str(t.final_n), right=True),
        Column("p", lambda t: _p(t.final_p), right=True),
        Column("Best: mean", lambda t: text.number(t.best_mean, 6), right=True),
        Column("sd", lambda t: text.number(t.best_sd, 2), right=True),
        Column("n", lambda t: str(t.best_n), right=True),
        Column("", _why_no_p),
    ]
    lines = list(rows(target_tests(found.studies, found.targets)))
    return Table("target-tests", columns, lines, title="Target tests")


def _why_no_p(t: Any) -> str:
    """Why there is no p-value, where that is not plain from the number of studies."""
    if t.stopped:
        return f"no p: {text.count(t.stopped, 'study')} ended at the target"
    return "no p: a study has no last value" if t.final_n < t.studies else ""


def _p(p: float) -> str:
    return text.NONE if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"
