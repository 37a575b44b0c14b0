"""What a reader in a hurry reads: what was run, what to beware of, and the verdicts."""

import math
from typing import Any

from lrbench.analyse import AXES, rows, seed_warning
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.findings import Findings


def title(found: Findings) -> str:
    """The heading, one sentence, and where to look closer."""
    return f"# {md.plain(found.study.name)}\n\n{summary(found)}\n\n{LINK}"


LINK = "[report.html](report.html) has all strategies to sort, filter and lay over each other: one file, opened in a browser, offline."


def summary(found: Findings) -> str:
    """One sentence of what was run."""
    runs, machine = found.runs, found.study.machine
    if runs.empty:
        return "No run is stored yet."
    strategies = len(runs[AXES].drop_duplicates())
    named = text.count(runs.workload.nunique(), "workload")
    return (
        f"{text.count(len(runs), 'run')}: {text.count(strategies, 'strategy')} on {named}, "
        f"at {text.count(runs.lr.nunique(), 'lr')} and {text.count(runs.seed.nunique(), 'seed')}, on "
        f"{md.plain(str(machine['model']))}."
    )


def warnings(found: Findings) -> str:
    """What weakens the results; empty if nothing does."""
    lines = cautions(found)
    return "\n".join(["> **Beware**", ">", *(f"> - {line}" for line in lines)]) if lines else ""


def cautions(found: Findings) -> list[str]:
    """A sentence for everything that weakens the results."""
    told = [
        _missing(found),
        _seeds(found),
        *_edges(found),
        _unfinished(found),
        _crashed(found),
        _dirty(found),
        _moved(found),
    ]
    return [line for line in told if line]


def _missing(found: Findings) -> str | None:
    stored, planned = len(found.runs), int(found.study.facts["matrix"].get("runs", 0))
    return (
        f"Only {stored:,} of {planned:,} runs are stored: the same `lrbench run` goes on with the rest."
        if stored < planned
        else None
    )


def _seeds(found: Findings) -> str | None:
    return None if found.runs.empty else seed_warning(found.runs.seed.nunique())


def _edges(found: Findings) -> list[str]:
    told = {
        "lowest": "the lowest lr of its grid",
        "highest": "the highest lr of its grid",
        "only": "the only lr it was run at",
    }
    winners = [
        f"On {md.plain(v.workload)} the best strategy is at {told[v.edge]} ({text.lr(v.lr)}): a better lr may lie "
        f"beyond."
        for v in rows(found.verdicts[found.verdicts.edge != ""])
    ]
    at_edge = int((found.responses.edge != "").sum())
    others = at_edge - len(winners)
    if others:
        winners.append(
            f"{at_edge} of {len(found.responses)} pairs of workload and strategy have their best lr at the edge of "
            f"their grid."
        )
    return winners


def _unfinished(found: Findings) -> str | None:
    lost = [md.plain(w) for w in found.workloads if w not in found.ranked_workloads]
    return f"No run finished on {', '.join(lost)}." if lost else None


def _crashed(found: Findings) -> str | None:
    crashed = int((found.runs.status == "crashed").sum())
    return (
        f"{text.count(crashed, 'run')} crashed and count nowhere below; the next start tries them again."
        if crashed
        else None
    )


def _moved(found: Findings) -> str | None:
    told = found.study.costs.conditions.get("moved")
    return f"The machine is not as it was: {md.plain(str(told))}." if told else None


def _dirty(found: Findings) -> str | None:
    return "The code had uncommitted changes when this was run." if found.study.machine.get("dirty") else None


VERDICT_HEADER = [
    "Workload",
    "Best strategy",
    "lr",
    "Validation",
    "Steps to target",
    "Gain over plain",
    "Not separated from it",
    "Test",
]


def verdict_cells(found: Findings, v: Any) -> list[str]:
    """One verdict as the words of ``VERDICT_HEADER``, unformatted."""
    if not v.strategy:
        return [v.workload, "no run finished", *[text.NONE] * 6]
    metric = found.metric(v.workload)
    return [
        v.workload,
        v.strategy,
        text.lr(v.lr) + (" (edge)" if v.edge else ""),
        f"{metric.show(v.quality)} {metric.name}{metric.interval(v.low, v.high)}",
        _steps(v, metric),
        _gain(v, metric),
        _rivals(v),
        metric.show(v.test_metric),
    ]


def verdict_line(found: Findings, v: Any) -> str:
    """One verdict as a line for a terminal."""
    if not v.strategy:
        return f"{v.workload}: no run finished"
    metric, others = found.metric(v.workload), v.strategies - 1
    rest = f"; {len(v.not_separated)} of {others} others not separated" if others else ""
    return (
        f"{v.workload}: {v.strategy} at lr {text.lr(v.lr)}{' (edge)' if v.edge else ''}, {metric.show(v.quality)} "
        f"{metric.name}"
        f"{metric.interval(v.low, v.high)}{rest}"
    )


def _steps(v: Any, metric: text.Metric) -> str:
    reached = f"{v.reached} of {text.count(v.seeds, 'seed')} reached {metric.show(v.target)}"
    return reached if math.isnan(v.steps_to_target) else f"{text.number(v.steps_to_target)} ({reached})"


def _gain(v: Any, metric: text.Metric) -> str:
    if not v.baseline:
        return "plain one not run"
    if v.baseline == v.strategy:
        return "is the plain one"
    other = "" if v.baseline.startswith(f"{v.optimizer} / ") else f" of {md.code(v.baseline)}"
    edge = " (edge)" if v.baseline_edge else ""
    return f"{metric.gain(v.gain)}{metric.interval(v.gain_low, v.gain_high)} over {metric.show(v.baseline_quality)}{edge}{other}"


def _rivals(v: Any) -> str:
    others, alike = v.strategies - 1, list(v.not_separated)
    if not others:
        return "no other was run"
    return f"{len(alike)} of {others}" + (f": {text.some(alike, 3)}" if alike else "")


def verdict(found: Findings) -> str:
    """The verdict table."""
    if found.verdicts.empty:
        return md.section("Verdict", "Nothing was run, so there is no verdict.")
    lines = [_marked(found, v) for v in rows(found.verdicts)]
    return md.section("Verdict", md.table(VERDICT_HEADER, lines, right=[2]), HOW_TO_READ)


def _marked(found: Findings, v: Any) -> list[str]:
    workload, strategy, *rest = verdict_cells(found, v)
    return [md.plain(workload), f"**{md.code(strategy)}**" if v.strategy else strategy, *map(md.plain, rest)]


HOW_TO_READ = """\
*How to read it.* A strategy is optimizer / layer-lr policy / schedule. Each stands at its best lr, chosen on validation (a diverged run \
counting as the untrained model); numbers are interquartile means over seeds, brackets bootstrap 95 % intervals over seeds. *Plain* is \
the same optimizer with one constant lr for all layers; *edge*, that the best lr is at an end of its grid. *Steps* are calls of \
`optimizer.step()`: an optimizer with a closure, such as L-BFGS, evaluates its loss several times in one.

*Which runs.* The keys of the runs under each number stand in [summary.csv](summary.csv), by strategy and lr, and for the best strategies \
in their cards below; `lrbench show KEY` tells a run's whole story.

*How sure.* A strategy is *not separated* from the best when a paired t-test over the shared seeds, \
corrected for the number of others (Bonferroni), is above 5 %, or the mean difference below 0.1 % (of the metric, or of the untrained \
one): no difference was shown, which is not the same as none. The strategy that is best in truth is the one found or among these in 95 % \
of studies or more. *Gain* is the interquartile mean of the differences by seed, not the difference of the means. \
The winner is the best of many on validation, so its gain is flattered; with 5 seeds a 95 % interval covers about 90 %. \
Intervals cover the seeds, not other data, models or budgets; the test metric is the \
winner's alone."""
