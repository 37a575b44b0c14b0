"""What a report needs besides the results of a study: how metrics and strategies are written."""

from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

from lrbench.analyse.frames import AXES
from lrbench.analyse.results import OfStrategy, Verdict, best_of
from lrbench.analyse.study import Place, StudyResults
from lrbench.report.text import Metric, shortened

LISTED = 10
"""The best strategies of a workload in a table of strategies, besides the baselines."""
Row = TypeVar("Row", bound=OfStrategy)


class Findings(StudyResults):
    """The results of a study, with names and numbers as reports write them."""

    def metric(self, workload: str) -> Metric:
        """How a workload's metric is written."""
        return Metric.of(self.fact(workload))

    @cached_property
    def notable(self) -> set[Place]:
        """Each workload's ``LISTED`` best strategies, and the baselines."""
        return {row.place for row in best_of(self.ranking, LISTED)} | self.baselines

    def notable_first(self, rows: Sequence[Row]) -> tuple[list[Row], int]:
        """Rows of strategies, the notable ones first, and how many these are."""
        first = [row for row in rows if row.place in self.notable]
        return first + [row for row in rows if row.place not in self.notable], len(first)

    @cached_property
    def _short_labels(self) -> dict[tuple[str, str], dict[str, str]]:
        """By workload and axis, each label without the settings that all labels of its entry share there."""
        labels: dict[tuple[str, str], set[str]] = {}
        for row in self.ranking:
            for axis, label in zip(AXES, row.axes, strict=True):
                labels.setdefault((row.workload, axis), set()).add(label)
        return {place: shortened(of) for place, of in labels.items()}

    def short(self, row: OfStrategy | Verdict) -> str:
        """The name of a strategy on its workload, without the settings that all variants share there."""
        workload, *labels = row.place
        names = (self._short_labels[workload, axis].get(label, label) for axis, label in zip(AXES, labels, strict=True))
        return " / ".join(names)
