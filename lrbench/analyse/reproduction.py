"""What came of training the runs of a study again."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lrbench.analyse.agreement import MEASURES, NOT_RUN, VERDICTS, CellTest, Measured
from lrbench.stats.comparison import DIFFERENT, UNDECIDED


@dataclass(frozen=True)
class Rerun:
    """One run of a record and what became of it here.

    ``recorded_as`` and ``trained_as`` say how it was computed; ``note`` why that differs; ``reason`` why it was not
    trained again, or how its record contradicts itself. ``verdict`` is the worst of its measures'.
    """

    key: str
    workload: str
    strategy: str
    lr: float
    seed: int
    status: str
    recorded_as: str
    verdict: str
    optimizer: str = ""
    """The name of its catalog entry; empty where it was not trained again."""
    trained_as: str = ""
    note: str = ""
    reason: str = ""
    measures: dict[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True)
class Reproduction:
    """A record held to new trainings. ``recorded_on`` and ``here`` are the facts of both machines, as ``machine.json`` has them.

    ``total`` is the number of runs on record; ``asked`` the size of the sample, None for all; ``suspicious`` are
    records that are much better than what was found, by key.
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
        """What was found, on one line: the counts, what is different first, and what kept the undecided from a verdict."""
        counts, compared = self.counts, len(self.runs) - self.counts[NOT_RUN]
        if not compared:
            return f"none of {len(self.runs):,} runs could be trained again: the certificate says why"
        order = [DIFFERENT, *(verdict for verdict in counts if verdict != DIFFERENT)]
        parts = [
            f"{counts[verdict]:,} {verdict}" + (f": {self.reason()}" if verdict == UNDECIDED else "")
            for verdict in order
            if counts[verdict]
        ]
        first, *rest = [
            part.replace(" ", f" of {len(self.runs):,} ", 1) if i == 0 else part for i, part in enumerate(parts)
        ]
        return ", ".join([first, *rest]) + (
            f"; {len(self.suspicious):,} suspiciously good on record" if self.suspicious else ""
        )

    def reason(self) -> str:
        """Why runs are undecided: the most frequent reason, and the optimizers they were trained with."""
        undecided = [run for run in self.runs if run.verdict == UNDECIDED]
        reasons = Counter(
            _kind(measure.why) for run in undecided for measure in run.measures.values() if measure.verdict == UNDECIDED
        )
        by = Counter(run.optimizer for run in undecided).most_common()
        names = ", ".join(f"{name} {n:,}" if len(by) > 1 else name for name, n in by[:MOST])
        more = f", others {sum(n for _, n in by[MOST:]):,}" if len(by) > MOST else ""
        return f"{reasons.most_common(1)[0][0]} ({names}{more})"


MOST = 3
"""The most optimizers that the line on undecided runs names."""


def _kind(why: str) -> str:
    """A reason without its numbers."""
    if why.startswith(("the training losses part", "seeds of its cell compared")):
        return "rounding parts the training losses, and the seeds trained again decide neither way"
    return "one of the two trainings ended otherwise" if " on record, " in why else why.partition(":")[0]
