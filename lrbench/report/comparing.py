"""Everything a comparison tells of several machines, computed once."""

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from lrbench import analyse
from lrbench.report.findings import Findings
from lrbench.report.text import Metric
from lrbench.store import Study


@dataclass(frozen=True)
class Comparison:
    """Studies of one matrix by machine, and the tables that ``analyse`` makes of them; ``prices`` are per hour of a whole machine."""

    studies: dict[str, Study]
    prices: dict[str, float] = field(default_factory=dict)

    @cached_property
    def baseline(self) -> str | None:
        """The machine with the slowest steps, which the others are compared with; None where none has costs."""
        return analyse.slowest(self.studies)

    @cached_property
    def found(self) -> dict[str, Findings]:
        """The machines that have runs, each with those that all of them share."""
        return {name: Findings(study) for name, study in analyse.shared_runs(self.studies).items() if len(study.runs)}

    @cached_property
    def reference(self) -> str | None:
        """The machine whose steps to target, and best lrs, the others are compared with; None where no run is shared."""
        return self.baseline if self.baseline in self.found else next(iter(self.found), None)

    @cached_property
    def best(self) -> dict[str, pd.DataFrame]:
        """The shared runs of each machine at the lrs that are best on the reference."""
        if self.reference is None:
            return {}
        responses = self.found[self.reference].responses
        return {name: analyse.at_best_lr(found.runs, responses) for name, found in self.found.items()}

    @cached_property
    def times(self) -> pd.DataFrame:
        """Time to target by machine, workload and strategy; empty without shared runs."""
        return (
            analyse.times_on({name: self.studies[name] for name in self.best}, self.best)
            if self.best
            else pd.DataFrame()
        )

    @cached_property
    def known_times(self) -> pd.DataFrame:
        """Those of strategies whose step was measured."""
        return self.times.dropna(subset="seconds") if len(self.times) else self.times

    @cached_property
    def parity(self) -> pd.DataFrame:
        """Steps to target beside those of the reference."""
        return analyse.parity(self.best, self.reference) if self.reference else pd.DataFrame()

    @cached_property
    def speedups(self) -> pd.DataFrame:
        """How many times as fast a step is as on the baseline."""
        return analyse.cost_ratios(self.studies, self.baseline) if self.baseline else pd.DataFrame()

    def metric(self, workload: str) -> Metric:
        """How a workload's metric is written."""
        return self.found[str(self.reference)].metric(workload)
