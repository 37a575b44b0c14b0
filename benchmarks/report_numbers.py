"""Every number that reports, comparisons and certificates tell of the published studies, as one file to compare.

``python benchmarks/report_numbers.py > before.json``, change something, ``python benchmarks/report_numbers.py --against before.json``
names each number that moved and exits with 1 if one did. Columns of many rows are told by a digest; ``--whole`` writes
them out.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrbench import analyse
from lrbench.analyse import agreement
from lrbench.analyse.changes import changes
from lrbench.analyse.pairs import Pair
from lrbench.analyse.places import places
from lrbench.report.findings import Findings
from lrbench.report.machines import Comparison
from lrbench.store import Study, load, studies

RECORD = Path(__file__).parents[1] / "results" / "published"
DIGITS = 9
LONG = 30
"""A table of more rows is told by a digest of each column."""

Told = dict[str, dict[str, Any]]
"""For each table its columns."""


def plain(value: Any) -> Any:
    """A cell as JSON has it: nine significant digits, words for what is no number."""
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") + 0.0 if math.isfinite(value) else str(float(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, int | str | bool) else str(value)


def flat(row: Any) -> dict[str, Any]:
    """A row as a dict: an estimate gives its value under the field's own name, and its ends as ``_low`` and ``_high``."""
    if isinstance(row, dict):
        return {str(name): plain(value) for name, value in row.items()}
    named: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if hasattr(value, "low") and hasattr(value, "high") and hasattr(value, "value"):
            named |= {field.name: value.value, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
        elif dataclasses.is_dataclass(value):
            named |= flat(value)
        else:
            named[field.name] = value
    return {name: plain(value) for name, value in named.items()}


def columns(rows: pd.DataFrame | Iterable[Any]) -> dict[str, Any]:
    """A table, whether of typed rows or a frame, by its columns in full."""
    lines = [flat(row) for row in (rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows)]
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [line.get(name) for line in lines] for name in names}


def brief(told: Any) -> Any:
    """The same with a digest in place of each long column."""
    if isinstance(told, dict):
        return {name: brief(of) for name, of in told.items()}
    if isinstance(told, list) and len(told) > LONG:
        return f"{len(told)} rows, {hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}"
    return told


def of_study(study: Study) -> Told:
    """What the report of a study tells."""
    found = Findings(study)
    overall, standings = found.overall, found.standings
    told = {
        "runs": columns(found.runs),
        "cells": columns(found.cell_table),
        "responses": columns(found.response_table),
        "ranking": columns(found.ranking_table),
        "verdicts": columns(analyse.verdicts(found.runs, found.response_table)),
        "places": columns(places(found.best_runs, found.ranking_table, found.notable)),
        "overall": columns(overall.table),
        "friedman": flat(
            dataclasses.asdict(overall.test) if dataclasses.is_dataclass(overall.test) else overall.test._asdict()
        )
        | {"critical_difference": plain(overall.critical_difference), "block": plain(overall.block)},
        "untuned": columns(analyse.untuned(found.runs)),
        "tuning_curves": columns(analyse.tuning_curves(found.runs)),
        "recommendations": columns(analyse.recommendations(found.runs)),
        "shared_recommendations": columns(analyse.shared_recommendations(found.runs)[1]),
        "effects": columns(analyse.effects(found.runs)),
        "effect_measures": columns(analyse.effect_measures(found.runs)),
        "step_costs": columns(found.case_table),
        "times": columns(found.time_table),
        "contrasts": columns(analyse.contrasts(study.costs)),
        "predicted": columns(analyse.predicted(study)),
    }
    for block in found.factorials:
        told[f"contributions {block.workload}"] = columns(analyse.contributions(block))
        told[f"level_means {block.workload}"] = columns(analyse.level_means(block))
    if standings is not None:
        scores = {"score": standings.score_S, "low": standings.bounds.low_S, "high": standings.bounds.high_S}
        told["standings"] = {"strategy": list(standings.strategies)} | {n: plain(list(v)) for n, v in scores.items()}
    return told


def of_machines(found: dict[str, Study]) -> Told:
    """What the comparison of several machines tells."""
    two = Comparison(found)
    return {
        "times": columns(two.times),
        "parity": columns(two.parity),
        "speedups": columns(two.speedups),
        "rank_changes": columns(analyse.rank_changes(two.known_times)),
    }


def of_changes(base: Study, head: Study) -> Told:
    """What a pull request that brings ``head`` for ``base`` is told."""
    found = changes(Pair(base, head))
    return {
        "strategies": columns(found.strategies),
        "measures": columns(found.measures),
        "cells": columns(found.cells),
    }


def of_reproduction(base: Study, head: Study) -> Told:
    """What a certificate tells, as if the runs of ``head`` were those of ``base`` trained again."""
    there = {run["key"]: run for run in head.runs.to_dict("records")}
    pairs = []
    for run in sorted(base.runs.to_dict("records"), key=lambda run: str(run["key"])):
        if run["key"] in there and "crashed" not in (run["status"], there[run["key"]]["status"]):
            facts = base.facts["workloads"][run["workload"]]
            sizes = (facts.get("validation_examples", 0), facts.get("test_examples", 0))
            pairs.append(
                agreement.Pair(
                    cell="|".join(str(run[n]) for n in (*analyse.STRATEGY, "lr", "batch_size", "precision", "budget")),
                    recorded={str(n): v for n, v in run.items()},
                    found={str(n): v for n, v in there[run["key"]].items()},
                    higher_is_better=bool(facts["higher_is_better"]),
                    examples=sizes if facts["metric_unit"] == "fraction" else (0, 0),
                )
            )
    judged, tests = agreement.judge(pairs, {pair.key: agreement.compare_runs(pair) for pair in pairs})
    runs = [
        {"key": k} | {n: f"{m.verdict} {m.apart:.{DIGITS}g} {m.why}" for n, m in of.items()} for k, of in judged.items()
    ]
    return {"runs": columns(runs), "tests": columns(tests), "suspicious": dict(agreement.suspicious(pairs))}


def everything(record: Path = RECORD, matrices: Iterable[str] = ()) -> dict[str, Told]:
    """All of the published studies, by what is told of which."""
    told: dict[str, Told] = {}
    wanted = set(matrices)
    places_of: dict[str, dict[str, Study]] = {}
    for study in map(load, studies(record, record=True)):
        if not wanted or study.name in wanted:
            places_of.setdefault(study.name, {})[study.folder.name] = study
    for matrix, of in places_of.items():
        told |= {f"{matrix}/{machine}": of_study(study) for machine, study in sorted(of.items())}
        told[f"{matrix} machines"] = of_machines(analyse.side_by_side(of.values()))
        (_, first), *others = sorted(of.items())
        for machine, other in others:
            told[f"{matrix} changes to {machine}"] = of_changes(first, other)
            told[f"{matrix} as trained again on {machine}"] = of_reproduction(first, other)
    return told


def moved(before: dict[str, Any], after: dict[str, Any], at: str = "") -> Iterator[str]:
    """A line for everything that is not the same, or is missing on one side."""
    for name in dict.fromkeys([*before, *after]):
        place = f"{at} > {name}" if at else name
        if name not in before or name not in after:
            yield f"{place}: only {'after' if name in after else 'before'}"
        elif isinstance(before[name], dict) and isinstance(after[name], dict):
            yield from moved(before[name], after[name], place)
        elif before[name] != after[name]:
            yield f"{place}: {_first_difference(before[name], after[name])}"


def _first_difference(before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        places = [i for i, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
        return f"{len(places)} of {len(before)} rows, first row {places[0]}: {before[places[0]]} -> {after[places[0]]}"
    return f"{str(before)[:100]} -> {str(after)[:100]}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="a file written before")
    parser.add_argument("--whole", action="store_true", help="every row of every table")
    parser.add_argument("--matrix", action="append", default=[], help="only studies of this matrix")
    asked = parser.parse_args()
    told = json.loads(json.dumps(everything(matrices=asked.matrix)))
    if asked.against is None:
        sys.stdout.write(json.dumps(told if asked.whole else brief(told), indent=0, sort_keys=True) + "\n")
        return
    before = json.loads(asked.against.read_text(encoding="utf-8"))
    before = {
        name: of for name, of in before.items() if not asked.matrix or name.split("/")[0].split(" ")[0] in asked.matrix
    }
    lines = list(moved(before, told)) if asked.whole else list(moved(brief(before), brief(told)))
    sys.stdout.write("\n".join([*lines, f"{len(lines)} tables or columns moved"]) + "\n")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
