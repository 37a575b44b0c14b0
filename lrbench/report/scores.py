"""Scores of curves that other tools recorded: as text, as JSON, as a picture."""

import math
from collections.abc import Iterable, Sequence
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
from lrbench.report.drawing import encoded, line_style
from lrbench.report.study.overall import profile_figure as figure
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
    return encoded(figure(found.standings, lines, "time"), kind)


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
    parts = [
        _head(found),
        _scores(found),
        _rule(found),
        "Times to target",
        _times(found),
        "Target tests",
        _tests(found),
        TESTS_NOTE,
    ]
    return "\n\n".join(parts)


def _head(found: Scores) -> str:
    here, trials = found.standings, found.curves.trials
    variants = len(here.workloads) - len(here.base_names)
    more = f" and {text.count(variants, 'held-out variant')}" if variants else ""
    counted = f"{text.count(len(here.strategies), 'strategy')} on {text.count(len(here.base_names), 'workload')}{more}"
    return f"{counted}, {text.count(len(trials), 'trial')} in {text.count(len(found.studies), 'study')}"


def _rule(found: Scores) -> str:
    tau = f"{found.targets.tau_max:g}"
    which = "in the least time" if found.targets.trial == "fastest" else "in the fewest evaluations"
    lines = [
        f"Score: area under the performance profile for tau from 1 to {tau}, between 0 and 1.",
        f"Time of a study: that of its trial that reaches the target {which}. Medians over studies; one that never "
        f"reaches is infinite.",
        "Brackets: bootstrap range, the middle 95 % of scores with the studies drawn anew; none where a workload has a "
        "single study. It is",
        "no 95 % interval: with few studies or many strategies it holds the true score far more seldom. One below its "
        "score says that",
        "the lead is partly luck.",
        f"Counts: workloads within {tau} x the fastest, with their held-out variants.",
        "x fastest: of times that count, to the fastest of these; of others, to the fastest of all.",
    ]
    if found.baseline:
        lines.append(
            f"Speed-up: geometric mean of times of {found.baseline} / times, over the workloads that both reach."
        )
    return "\n".join(lines)


def _scores(found: Scores) -> str:
    here = found.standings
    header = ["Strategy", "Score", "Bootstrap range", "Counts", "Fastest"] + (
        [f"Speed-up over {found.baseline}", "Both", "It alone", "Other alone"] if found.baseline else []
    )
    return table(header, [_score(found, s) for s in here.order], left=1)


def _score(found: Scores, s: int) -> list[str]:
    here, ratio_B = found.standings, found.standings.ratio_BS[:, s]
    low, high = here.bounds.low_S[s], here.bounds.high_S[s]
    cells = [
        here.strategies[s],
        f"{here.score_S[s]:.4f}",
        text.NONE if math.isnan(low) else f"[{low:.3f}, {high:.3f}]",
        f"{int(np.isfinite(ratio_B).sum())} of {len(ratio_B)}",
        str(int((ratio_B == 1.0).sum())),
    ]
    if not found.baseline:
        return cells
    faster = here.speedup(here.strategies[s], found.baseline)
    return [*cells, text.times(faster.ratio), str(faster.both), str(faster.only_this), str(faster.only_other)]


def _times(found: Scores) -> str:
    here = found.standings
    header = ["Workload", "Strategy", "Time", "Seconds", "Steps", "x fastest", "Studies", ""]
    lines = [
        _time(found, w, s)
        for w in range(len(here.workloads))
        for s in sorted(here.order, key=lambda s: (_last(here.time_WS[w, s]), s))
    ]
    return table(header, lines, left=2)


def _last(time: float) -> float:
    return math.inf if math.isnan(time) else time


def _time(found: Scores, w: int, s: int) -> list[str]:
    here, time = found.standings, found.standings.time_WS[w, s]
    of = here.times[w, s][~np.isnan(here.times[w, s])]
    among = here.qualified_WS if math.isfinite(here.qualified_WS[w, s]) else here.time_WS
    fastest = np.min(np.nan_to_num(among[w], nan=math.inf))
    ratio = 1.0 if time == fastest else time / fastest if 0.0 < fastest < math.inf else math.nan
    return [
        here.workloads[w],
        here.strategies[s],
        text.measure(time, text.TIME),
        f"{time:.1f}" if math.isfinite(time) else text.NONE,
        text.number(found.steps.time_WS[w, s]) if math.isfinite(time) else text.NONE,
        f"{ratio:.2f}" if math.isfinite(ratio) else text.NONE,
        f"{int(np.isfinite(of).sum())} of {len(of)}",
        _why_not(here, w, s),
    ]


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


def _tests(found: Scores) -> str:
    header = ["Workload", "Strategy", "Target", "Studies", "Last: mean", "sd", "n", "p", "Best: mean", "sd", "n", ""]
    return table(header, [_test(found, t) for t in rows(target_tests(found.studies, found.targets))], left=2)


def _test(found: Scores, t: Any) -> list[str]:
    target = found.targets.workloads[t.workload]
    sign = "<=" if target.better == "lower" else ">="
    return [
        *(t.workload, t.strategy, f"{sign} {target.target:g}", str(t.studies)),
        *(text.number(t.final_mean, 6), text.number(t.final_sd, 2), str(t.final_n), _p(t.final_p)),
        *(text.number(t.best_mean, 6), text.number(t.best_sd, 2), str(t.best_n)),
        _why_no_p(t),
    ]


def _why_no_p(t: Any) -> str:
    """Why there is no p-value, where that is not plain from the number of studies."""
    if t.stopped:
        return f"no p: {text.count(t.stopped, 'study')} ended at the target"
    return "no p: a study has no last value" if t.final_n < t.studies else ""


def _p(p: float) -> str:
    return text.NONE if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def table(header: Sequence[str], lines: Iterable[Sequence[str]], *, left: int) -> str:
    """A table in columns as wide as their cells; all but the first ``left`` are flush right, and the last if it has no header is not."""
    cells = [list(header), *map(list, lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]

    def flush(i: int, cell: str) -> str:
        return cell.ljust(widths[i]) if i < left or not header[i] else cell.rjust(widths[i])

    return "\n".join("  ".join(flush(i, cell) for i, cell in enumerate(line)).rstrip() for line in cells)
