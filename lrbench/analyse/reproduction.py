"""What came of training the runs of a study again."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lrbench.analyse.agreement import DIFFERENT, MEASURES, NOT_RUN, UNDECIDED, VERDICTS, CellTest, Measured


@dataclass(frozen=True)
class Rerun:
    """One run of a record and what became of it here.

    ``recorded_as`` and ``trained_as`` say how it was computed; ``note`` why that differs; ``reason`` why it was not trained again, or
    how its record contradicts itself. ``verdict`` is the worst of its measures'.
    """

    key: str
    workload: str
    strategy: str
    lr: float
    seed: int
    status: str
    recorded_as: str
    verdict: str
    trained_as: str = ""
    note: str = ""
    reason: str = ""
    measures: dict[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True)
class Reproduction:
    """A record held to new trainings. ``recorded_on`` and ``here`` are the facts of both machines, as ``machine.json`` has them.

    ``total`` is the number of runs on record; ``asked`` the size of the sample, None for all; ``suspicious`` are records that are much
    better than what was found, by key.
    """

    name: str
    digest: str
    recorded_on: dict[str, Any]
    here: dict[str, Any]
    total: int
    asked: int | None
    runs: tuple[Rerun, ...]
    tests: tuple[CellTest, ...]
    suspicious: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """Runs by verdict, all verdicts in their order."""
        found = Counter(run.verdict for run in self.runs)
        return {verdict: found[verdict] for verdict in (*VERDICTS, NOT_RUN)}

    @property
    def measure_counts(self) -> dict[str, dict[str, int]]:
        """For each measure, the compared runs by verdict."""
        compared = [run.measures for run in self.runs if run.measures]
        found = {name: Counter(measures[name].verdict for measures in compared) for name in MEASURES}
        return {name: {verdict: found[name][verdict] for verdict in VERDICTS} for name in MEASURES}

    @property
    def differs(self) -> bool:
        """Whether anything is different."""
        return self.counts[DIFFERENT] > 0

    @property
    def overall(self) -> str:
        """The verdict on one line."""
        counts, compared = self.counts, len(self.runs) - self.counts[NOT_RUN]
        told = ", ".join(f"{n:,} {verdict}" for verdict, n in counts.items() if n)
        told += f"; {len(self.suspicious):,} suspiciously good on record" if self.suspicious else ""
        if self.differs:
            return f"DIFFERENT: of {len(self.runs):,} runs, {told}"
        if not compared:
            return f"NOTHING COMPARED: none of {len(self.runs):,} runs could be trained again"
        if counts[UNDECIDED]:
            return f"NOT DECIDED: nothing is different, and not all could be shown to agree: of {len(self.runs):,} runs, {told}"
        if counts[NOT_RUN]:
            return f"REPRODUCED IN PART: of {len(self.runs):,} runs, {told}: the certificate says why"
        return f"REPRODUCED: of {len(self.runs):,} runs, {told}"
