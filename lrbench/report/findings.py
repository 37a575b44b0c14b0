"""Everything a report tells of a study, computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from lrbench import analyse
from lrbench.analyse.score import Standings
from lrbench.analyse.shared import shared_standings
from lrbench.report.text import Metric, shortened
from lrbench.store import Study

LISTED = 10
"""The best strategies of a workload in a table of strategies, besides the baselines."""


@dataclass(frozen=True)
class Findings:
    """A study and the tables that ``analyse`` makes of it."""

    study: Study

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        return analyse.per_run(self.study)

    @cached_property
    def responses(self) -> pd.DataFrame:
        """One row per workload and strategy."""
        return analyse.responses(self.runs)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """The strategies of each workload, best first."""
        return analyse.ranking(self.responses)

    @cached_property
    def best(self) -> pd.DataFrame:
        """The runs of every strategy at its best lr."""
        return analyse.at_best_lr(self.runs, self.responses)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per workload."""
        return analyse.verdicts(self.runs, self.responses)

    @cached_property
    def overall(self) -> analyse.Overall:
        """What can be said over several workloads."""
        return analyse.overall(self.best, self.ranking)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per workload, strategy and lr: what ``summary.csv`` holds."""
        return analyse.cells(self.runs)

    @cached_property
    def step_costs(self) -> pd.DataFrame:
        """One row per case whose step was measured, or could not be."""
        return analyse.step_costs(self.study.costs)

    @cached_property
    def times(self) -> pd.DataFrame:
        """Time and energy to target of every strategy at its best lr."""
        return analyse.time_to_target(self.best, self.study.costs)

    @cached_property
    def standings(self) -> Standings | None:
        """How the strategies that several workloads share do over all of them; None where no two workloads share two."""
        return shared_standings(self.runs, self.best, self.study.costs)

    @cached_property
    def plain_strategies(self) -> set[str]:
        """The names of strategies with one lr for all layers and steps."""
        return {
            analyse.strategy(row)
            for row in analyse.rows(self.runs.loc[self.runs.plain, analyse.AXES].drop_duplicates())
        }

    @cached_property
    def factorials(self) -> list[analyse.Factorial]:
        """The largest full factorial of each workload that has one."""
        return analyse.factorials(self.runs)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The stored curves, by run key."""
        return self.study.runs.set_index("key")

    @cached_property
    def workloads(self) -> list[str]:
        """The workloads that were run, by name; one under several conditions counts several times."""
        return sorted(self.runs.workload.unique())

    @cached_property
    def ranked_workloads(self) -> list[str]:
        """Those with a run that finished."""
        return sorted(self.ranking.workload.unique())

    @cached_property
    def known_answers(self) -> set[str]:
        """The workloads whose answer is known, so that they test the instrument and not the strategies."""
        return {w for w in self.workloads if self.fact(w).get("has_known_answer", False)}

    @cached_property
    def notable(self) -> set[tuple[str, ...]]:
        """Workload and axes of each workload's ``LISTED`` best strategies and of the baselines."""
        best = self.ranking.groupby("workload").head(LISTED)[analyse.STRATEGY]
        baselines = self.runs.loc[self.runs.plain, analyse.STRATEGY].drop_duplicates()
        return {tuple(row) for row in analyse.rows(pd.concat([best, baselines]))}

    def notable_first(self, table: pd.DataFrame) -> tuple[list[Any], int]:
        """The rows of a table with one for each workload and strategy, the notable ones first, and how many these are."""
        rows: dict[bool, list[Any]] = {True: [], False: []}
        for row in analyse.rows(table):
            rows[tuple(getattr(row, axis) for axis in analyse.STRATEGY) in self.notable].append(row)
        return rows[True] + rows[False], len(rows[True])

    @cached_property
    def _cells(self) -> dict[tuple[Any, ...], Any]:
        return {tuple(getattr(row, at) for at in (*analyse.STRATEGY, "lr")): row for row in analyse.rows(self.cells)}

    def cell(self, row: Any) -> Any:
        """The outcome over seeds of a strategy at its best lr; ``row`` is one of the ranking."""
        return self._cells[tuple(getattr(row, at) for at in (*analyse.STRATEGY, "best_lr"))]

    @cached_property
    def _short_labels(self) -> dict[tuple[str, str], dict[str, str]]:
        """By workload and axis, each label without the settings that all labels of its entry share there."""
        labels: dict[tuple[str, str], set[str]] = {}
        for names in self.ranking[analyse.STRATEGY].itertuples(index=False, name=None):
            for axis, label in zip(analyse.AXES, names[1:], strict=True):
                labels.setdefault((names[0], axis), set()).add(label)
        return {place: shortened(of) for place, of in labels.items()}

    def short(self, row: Any) -> str:
        """The name of a strategy on its workload, without the settings that all variants share there."""
        labels = (self._short_labels[row.workload, axis].get(getattr(row, axis)) for axis in analyse.AXES)
        return " / ".join(str(label) for label in labels)

    def metric(self, workload: str) -> Metric:
        """How a workload's metric is written."""
        return Metric.of(self.fact(workload))

    def fact(self, workload: str) -> dict[str, Any]:
        """What the study says of a workload."""
        base = self.runs.loc[self.runs.workload == workload, "base"].iloc[0]
        fact: dict[str, Any] = self.study.facts["workloads"][base]
        return fact
