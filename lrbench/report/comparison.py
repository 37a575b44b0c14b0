"""One matrix on several machines as something to read: ``comparison.md`` beside their folders."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench import analyse
from lrbench.analyse import DIFFERENT, groups, rows, seed_warning
from lrbench.config.cost import IN_DOUBT
from lrbench.report import machine_figures as pictures
from lrbench.report import machines, text
from lrbench.report import markdown as md
from lrbench.report.comparing import Comparison
from lrbench.report.drawing import Gallery, write_figures
from lrbench.store import Study, write_whole

FILE = "comparison.md"


def together(studies: Iterable[Study]) -> dict[Path, dict[str, Study]]:
    """Of each folder that holds two or more machines' studies of one matrix: these, by machine; of several matrices the fullest."""
    places: dict[Path, dict[str, list[Study]]] = {}
    for study in studies:
        places.setdefault(study.folder.parent, {}).setdefault(study.name, []).append(study)
    fullest = {
        place: max(sorted(parts.items()), key=lambda part: len(part[1]))[1] for place, parts in sorted(places.items())
    }
    return {place: analyse.side_by_side(part) for place, part in fullest.items() if len(part) > 1}


def write(folder: Path, studies: Mapping[str, Study], prices: Mapping[str, float] | None = None) -> Path:
    """Write ``comparison.md`` and its figures into a folder. Returns: the path of ``comparison.md``.

    The order of the studies changes nothing. Figures of an earlier comparison that this one does not have are removed.
    """
    two = Comparison(
        dict(sorted(studies.items())),
        {name: price for name, price in sorted((prices or {}).items()) if name in studies},
    )
    drawn = pictures.galleries(two.speedups, two.known_times)
    write_figures(folder, [figure for part in drawn.values() for figure in part.figures])
    return write_whole(folder / FILE, _text(two, drawn))


def _text(two: Comparison, drawn: dict[str, Gallery]) -> str:
    parts = [
        _title(two),
        _warnings(two),
        _in_short(two),
        machines.machines(two),
        machines.speedups(two, drawn),
        machines.energy(two),
        machines.times(two, drawn),
        machines.changes(two),
        machines.parity(two),
        machines.money(two),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(two: Comparison) -> str:
    name = next(iter(two.studies.values())).name
    return f"# {md.plain(name)} on {len(two.studies)} machines\n\nSide by side, never pooled: {', '.join(map(md.code, two.studies))}."


def _warnings(two: Comparison) -> str:
    lines = [*_other_steps(two), *_unlike(two), *_lacking(two), *_few_seeds(two), *_versions(two), *_noisy(two)]
    return "\n".join(["> **Beware**", ">", *(f"> - {line}" for line in lines)]) if lines else ""


def _other_steps(two: Comparison) -> list[str]:
    """The machines that need other numbers of steps: what should not be."""
    lines = []
    for (machine,), part in groups(two.parity, ["machine"]) if len(two.parity) else ():
        other = part[part.verdict == DIFFERENT]
        named = text.some(
            [f"{md.code(p.strategy)} on {md.plain(p.workload)} ({_how_other(p)})" for p in rows(other)], 5
        )
        if named:
            lines.append(
                f"**{md.plain(machine)} needs other numbers of steps than {md.plain(str(two.reference))}** with "
                f"{len(other)} of "
                f"{text.count(len(part), 'pair')} of workload and strategy: {named}."
            )
    return lines


def _how_other(p: Any) -> str:
    apart = f"{text.count(p.one_only, 'seed')} of {p.seeds} reached on one only" if p.one_only else ""
    return ", ".join(filter(None, [text.times(p.ratio) if math.isfinite(p.ratio) else "", apart]))


PARTS = {
    "optimizers": "optimizers",
    "layer_lrs": "layer-lr policies",
    "schedules": "schedules",
    "workloads": "workloads",
}


def _unlike(two: Comparison) -> list[str]:
    """In what the studies differ, and how many runs are left to compare."""
    facts = [study.facts for study in two.studies.values()]
    apart = [words for name, words in PARTS.items() if len({tuple(sorted(f.get(name, {}))) for f in facts}) > 1]
    lines = [f"The matrices do not have the same {' and '.join(apart)}."] if apart else []
    names = _other_budgets(facts)
    lines += [f"Targets or budgets differ on {', '.join(map(md.plain, names))}: these are other runs."] if names else []
    counts = {name: len(study.runs) for name, study in two.studies.items() if len(study.runs)}
    shared = len(next(iter(two.found.values())).runs) if two.found else 0
    if len(counts) > 1 and set(counts.values()) != {shared}:
        had = ", ".join(f"{md.plain(name)} has {n:,}" for name, n in counts.items())
        lines.append(
            f"{text.count(shared, 'run')} with the same key were trained on all machines with runs ({had}): only these "
            f"are compared."
        )
    return lines


def _other_budgets(facts: Sequence[dict[str, Any]]) -> list[str]:
    """The workloads of all studies that have another target or budget in some."""
    names = sorted(set.intersection(*(set(f.get("workloads", {})) for f in facts)))
    return [
        w for w in names if len({(f["workloads"][w].get("target"), f["workloads"][w].get("steps")) for f in facts}) > 1
    ]


def _lacking(two: Comparison) -> list[str]:
    no_runs = [md.plain(name) for name, study in two.studies.items() if study.runs.empty]
    no_costs = [md.plain(name) for name, study in two.studies.items() if analyse.case_costs(study).empty]
    lines = [f"No runs are stored of {', '.join(no_runs)}: only its step costs are compared."] if no_runs else []
    return lines + (
        [f"No step costs were measured on {', '.join(no_costs)}: there are no times for it."] if no_costs else []
    )


def _few_seeds(two: Comparison) -> list[str]:
    told = None if two.reference is None else seed_warning(two.found[two.reference].runs.seed.nunique())
    return [told] if told else []


def _versions(two: Comparison) -> list[str]:
    lines = []
    for fact, words in {"torch": "versions of torch", "commit": "commits of lrbench"}.items():
        values = {name: study.machine.get(fact) for name, study in two.studies.items()}
        if len(set(values.values())) > 1:
            lines.append(
                f"Different {words}: {', '.join(f'{md.plain(n)} {md.plain(str(v))[:12]}' for n, v in values.items())}."
            )
    return lines


def _noisy(two: Comparison) -> list[str]:
    counts = {name: sum(bool(cost.noise) for cost in study.costs.costs) for name, study in two.studies.items()}
    told = [f"{n} of {len(two.studies[name].costs.costs)} on {md.plain(name)}" for name, n in counts.items() if n]
    return (
        [f"Step costs in doubt ({IN_DOUBT}): {', '.join(told)}. Each machine's own report says which."] if told else []
    )


def _in_short(two: Comparison) -> str:
    """The strategy that is done first on each machine, for each workload."""
    known = two.known_times
    if known.empty:
        return md.section(
            "In short",
            "No machine has both runs that all share and the step costs of their strategies: there are no times.",
        )
    names = sorted(known.machine.unique())
    lines = [
        [md.plain(workload), *(_first(part[part.machine == name]) for name in names)]
        for (workload,), part in groups(known, ["workload"])
    ]
    return md.section(
        "In short",
        "The strategy that reaches the target soonest:",
        md.table(["Workload", *map(md.plain, names)], lines),
    )


def _first(times: pd.DataFrame) -> str:
    done = times[times.seconds < math.inf].sort_values(["seconds", "strategy"])
    if done.empty:
        return "none reaches it" if len(times) else text.NONE
    first = done.iloc[0]
    return f"{md.code(first.strategy)}: {text.measure(first.seconds, text.TIME, first.seconds_low, first.seconds_high)}"
