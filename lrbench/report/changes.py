"""What changed between two sets of results: read, counted, judged, and told to programs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench.analyse import STRATEGY, rows, seed_warning
from lrbench.analyse.changes import (
    BOTH,
    CRASHES,
    DOUBTFUL,
    GONE,
    MEASURES,
    MENDED,
    NEW,
    UNCHANGED,
    Changes,
    changes,
)
from lrbench.analyse.meaning import apart, mixed
from lrbench.analyse.pairs import Matched, Pair, Place, match, slug
from lrbench.config.faults import BadInput, nearest
from lrbench.report.text import Metric, count, some
from lrbench.stats.comparison import BETTER, TIED, WORSE
from lrbench.store import Study, load, studies
from lrbench.store.revision import results_of

FAILURES = {"worse": WORSE, "gone": GONE, "crashed": CRASHES}
"""What ``--fail-on`` knows."""
KINDS = (WORSE, CRASHES, GONE, BETTER, MENDED, NEW, TIED, UNCHANGED)
"""What can be said of a strategy on a workload, the gravest first. One that is worse in one measure and better in
another is both."""


@dataclass(frozen=True)
class Found:
    """A pair of studies and what changed between them."""

    pair: Pair
    changes: Changes

    @property
    def name(self) -> str:
        """The matrix and the machines, for people."""
        machines = dict.fromkeys((slug(self.pair.base), slug(self.pair.head)))
        return f"{self.pair.head.name} on {' -> '.join(machines)}"

    def metric(self, workload: str) -> Metric:
        """How a workload's metric is written; ``workload`` may name conditions."""
        known: dict[str, Any] = self.pair.base.facts["workloads"] | self.pair.head.facts["workloads"]
        facts = known.get(workload) or known.get(workload.partition(" [")[0], {})
        return Metric.of(facts) if facts else Metric("metric")


@dataclass(frozen=True)
class Compared:
    """Two sets of results, by what they are called, and all that changed from the first to the second."""

    base: str
    head: str
    matched: Matched
    found: tuple[Found, ...]

    @cached_property
    def kinds(self) -> list[set[str]]:
        """For each strategy on each workload, what can be said of it: some of ``KINDS``."""
        return [kinds for found in self.found for kinds in _kinds(found.changes)]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many strategies, each on its workload, are of which of ``KINDS``."""
        return {kind: sum(kind in kinds for kinds in self.kinds) for kind in KINDS}


def compare(base: str, head: str, inside: str = "results") -> Compared:
    """Compare two sets of results: folders, git revisions (``inside`` is then the folder of results in them), or ``REVISION:FOLDER``.

    Raises: BadInput when one holds no study, is damaged, or they have no matrix in common.
    """
    with ExitStack() as stack:
        (one, here), (other, there) = (stack.enter_context(results_of(place, inside)) for place in (base, head))
        matched = match(_load(here), _load(there))
    return Compared(one, other, matched, tuple(Found(pair, changes(pair)) for pair in matched.pairs))


def _load(folder: Path) -> list[Study]:
    return [load(path) for path in studies(folder)]


def _kinds(found: Changes) -> Iterator[set[str]]:
    """What can be said of each strategy."""
    verdicts = {names: set(part.verdict) for names, part in found.measures.groupby(STRATEGY, sort=True)}
    for row in rows(found.strategies):
        told = verdicts.pop(tuple(getattr(row, name) for name in STRATEGY), set())
        yield _of_one_side(row) if row.state != BOTH else _of_both(told, same=row.identical == row.shared > 0)
    yield from (_of_both(told, same=True) for told in verdicts.values())  # of which only step costs are known


def _of_one_side(row: Any) -> set[str]:
    return {NEW, CRASHES} if row.state == NEW and row.head_crashed else {row.state}


def _of_both(verdicts: set[str], *, same: bool) -> set[str]:
    changed = verdicts & {WORSE, CRASHES, BETTER, MENDED}
    return changed or ({UNCHANGED} if same and verdicts <= {UNCHANGED} else {TIED})


def failures(compared: Compared, fail_on: str) -> list[str]:
    """Which of the things that must not be are there. ``fail_on`` names them, separated by commas; see ``FAILURES``.

    A study without a partner in head is gone. Raises: BadInput for an unknown name.
    """
    there = {kind for kind, n in compared.counts.items() if n} | ({GONE} if compared.matched.base_only else set())
    return [name for name in _failures(fail_on) if FAILURES[name] in there]


def _failures(fail_on: str) -> list[str]:
    names = [name.strip() for name in fail_on.split(",") if name.strip()]
    for name in names:
        if name not in FAILURES:
            raise BadInput(f"--fail-on {fail_on}: there is no {name!r}. {nearest(name, FAILURES)}")
    return names


def check(fail_on: str, how: str, known: Iterable[str]) -> None:
    """Refuse options that make no sense, before anything is read.

    Raises: BadInput.
    """
    _failures(fail_on)
    if how not in known:
        raise BadInput(f"--format {how}: there is no such format. {nearest(how, known)}")


def summary(compared: Compared) -> str:
    """All of it in one line."""
    counts, only = compared.counts, (compared.matched.base_only, compared.matched.head_only)
    total = count(len(compared.kinds), "strategy")
    if nothing_changed(compared):
        return f"nothing changed: {total} unchanged"
    told = [
        f"{counts[kind]:,} {'crash' if kind == CRASHES else kind}{_by_measure(compared, kind)}"
        for kind in KINDS[:6]
        if counts[kind]
    ]
    told += [f"{count(len(places), 'study')} {kind}" for places, kind in zip(only, (GONE, NEW), strict=True) if places]
    rest = [f"{counts[kind]:,} {kind}" for kind in KINDS[6:] if counts[kind]]
    return f"of {total}, " + "; ".join(filter(None, [", ".join(told) or "none is better or worse", ", ".join(rest)]))


def nothing_changed(compared: Compared) -> bool:
    """Whether both sides have the same strategies, and what they share is equal to the bit."""
    return compared.counts[UNCHANGED] == len(compared.kinds) and not (
        compared.matched.base_only or compared.matched.head_only
    )


def _by_measure(compared: Compared, kind: str) -> str:
    """In which measures the strategies of a kind are so."""
    verdicts = table_of(compared, "measures")
    found = verdicts[verdicts.verdict == kind].measure.value_counts()
    parts = [f"{measure} {found[measure]:,}" for measure in MEASURES if measure in found]
    return f" ({', '.join(parts)})" if parts and kind in (WORSE, BETTER) else ""


def provenance(found: Found) -> str:
    """What was compared, in one line."""
    table = found.changes.strategies
    return (
        f"{found.name}: {count(int(table.base_runs.sum()), 'run')} before, {int(table.head_runs.sum()):,} now; "
        f"{int(table.shared.sum()):,} with the same key, {int(table.identical.sum()):,} of these with the same outcome "
        f"to the bit"
    )


def warnings(compared: Compared) -> list[str]:
    """What limits the comparison, a sentence each."""
    lines = [line for found in compared.found for line in _warnings(found)]
    for places, side in ((compared.matched.base_only, compared.base), (compared.matched.head_only, compared.head)):
        if places:
            lines.append(f"Only in {side}, so compared with nothing: {some(_named(places), 5)}.")
    return list(dict.fromkeys(lines))


def _named(places: Sequence[Place]) -> list[str]:
    return [f"{matrix} on {machine}" for matrix, machine in places]


FACTS = {"torch": "torch", "python": "Python", "driver": "driver", "cuda": "CUDA"}


def _warnings(found: Found) -> Iterator[str]:
    base, head = found.pair.base, found.pair.head
    if not found.pair.one_machine:
        yield (
            f"{head.name} was trained on another machine ({slug(base)}, then {slug(head)}): only what they learn is "
            f"compared, since step "
            "costs are those of a machine, and equal runs need not be equal to the bit."
        )
    else:
        others = [
            f"{words} {base.machine.get(f)} then {head.machine.get(f)}"
            for f, words in FACTS.items()
            if _differ(base, head, f)
        ]
        if others:
            yield f"{found.name}: other versions: {', '.join(others)}."
    if names := _other_terms(base, head):
        yield f"{found.name}: budget, target or metric are others on {some(names, 5)}: runs that differ in them are not compared."
    yield from _meanings(found)
    both = found.changes.strategies[found.changes.strategies.state == BOTH]
    if unlike := int((both.shared == 0).sum()):
        yield (
            f"{found.name}: {count(unlike, 'strategy')} of {len(both)} shared ones {'has' if unlike == 1 else 'have'} "
            f"no run with the same "
            "key: seeds, lrs or settings are others, or a catalog entry has a new revision."
        )
    seeds = min((study.runs.seed.nunique() for study in (base, head) if len(study.runs)), default=0)
    if seeds and (told := seed_warning(seeds)):
        yield told
    yield from _cost_warnings(found)


def _meanings(found: Found) -> Iterator[str]:
    """What is compared under one name and is not one thing."""
    for study, side in ((found.pair.base, "base"), (found.pair.head, "head")):
        if names := mixed(study):
            yield f"{found.name}: {some(names, 5)} {'is' if len(names) == 1 else 'are each'} more than one thing in {side}."
    others = apart(found.pair)
    for one in (one for one in others if one.settings):
        told = ", ".join(f"{name} {before} then {now}" for name, before, now in one.settings)
        yield f"{found.name}: {one.name} has other settings in base and head, which its name does not tell: {told}."
    if code := [one.name for one in others if not one.settings and one.is_plugin]:
        them, it = ("differs", "its") if len(code) == 1 else ("differ", "their")
        yield f"{found.name}: {some(code, 5)} {them} in {it} code, or a package, between base and head: compared by {it} settings."
    if raised := [
        f"{one.name} ({' then '.join(one.revisions)})" for one in others if not one.settings and not one.is_plugin
    ]:
        yield f"{found.name}: another revision of {some(raised, 5)} in base and head: compared by settings."


def _differ(base: Study, head: Study, fact: str) -> bool:
    return bool(base.machine.get(fact) != head.machine.get(fact))


def _other_terms(base: Study, head: Study) -> list[str]:
    """The workloads of both whose budget, target or metric are not the same."""
    one, other = base.facts["workloads"], head.facts["workloads"]
    terms = ("steps", "target", "metric", "higher_is_better")
    return [w for w in sorted(one.keys() & other.keys()) if any(one[w].get(t) != other[w].get(t) for t in terms)]


def _cost_warnings(found: Found) -> Iterator[str]:
    measured = [bool(study.costs.costs) for study in (found.pair.base, found.pair.head)]
    if found.pair.one_machine and measured[0] != measured[1]:
        yield f"{found.name}: step costs were measured {'before' if measured[0] else 'now'} only."
    doubtful = found.changes.measures[found.changes.measures.verdict == DOUBTFUL]
    if len(doubtful):
        yield f"{found.name}: of {count(len(doubtful), 'step cost')} the difference was measured in doubt: not counted."


def table_of(compared: Compared, which: str) -> pd.DataFrame:
    """One table of ``Changes`` over all pairs; the column ``pair`` is the index of each row's pair."""
    tables: list[pd.DataFrame] = [
        getattr(found.changes, which).assign(pair=i) for i, found in enumerate(compared.found)
    ]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def gravest_first(table: pd.DataFrame, verdicts: Sequence[str]) -> pd.DataFrame:
    """The rows with these verdicts, in their order, then by measure, the size of the change relative to the values, and name."""
    part = table[table.verdict.isin(verdicts)]
    size = part.difference.abs() / part[["base", "head"]].abs().max(axis=1)
    names = [name for name in ("pair", *STRATEGY, "lr") if name in part]
    ranks = {"rank": part.verdict.map(verdicts.index), "which": part.measure.map(MEASURES.index)}
    ranked = part.assign(**ranks, size=-size.astype(float).round(9).fillna(0.0))
    ordered: pd.DataFrame = ranked.sort_values(["rank", "which", "size", *names], ignore_index=True).drop(
        columns=[*ranks, "size"]
    )
    return ordered


def as_json(compared: Compared) -> dict[str, Any]:
    """All of it for programs. Numbers that cannot be told are null; keys are lists."""
    return {
        "schema": 2,
        "base": compared.base,
        "head": compared.head,
        "summary": summary(compared),
        "counts": compared.counts,
        "warnings": warnings(compared),
        "base_only": [list(place) for place in compared.matched.base_only],
        "head_only": [list(place) for place in compared.matched.head_only],
        "pairs": [
            {
                "matrix": found.pair.head.name,
                "base_machine": slug(found.pair.base),
                "head_machine": slug(found.pair.head),
            }
            | {name: [_plain(row) for row in table.to_dict("records")] for name, table in vars(found.changes).items()}
            for found in compared.found
        ],
    }


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    values = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
    return known | {name: str(known[name]).split() for name in ("base_keys", "head_keys")}
