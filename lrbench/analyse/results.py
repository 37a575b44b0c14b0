"""What analyse says of a study: one frozen row for each thing, numbers with an interval as estimates.

A new measure of a strategy is a field of its row here; a column shows it in a report. Numbers that are not known are NaN,
steps and times of what never reaches its target infinite.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.stats.estimates import Estimate

Row = TypeVar("Row")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def typed(table: pd.DataFrame, kind: type[Row], **bounds: tuple[str, str]) -> list[Row]:
    """The rows of a table as rows of a type, whose fields are columns of the table.

    An ``Estimate`` is made of the column with its field's name and those of its bounds, which ``bounds`` names where they
    are not ``<field>_low`` and ``<field>_high``.
    """
    named = [(field.name, field.type is Estimate) for field in fields(kind)]  # type: ignore[arg-type] # all are dataclasses
    columns = []
    for name, is_estimate in named:
        values = table[name].tolist()
        if is_estimate:
            low, high = (table[end].tolist() for end in bounds.get(name, (f"{name}_low", f"{name}_high")))
            values = [Estimate(*each) for each in zip(values, low, high, strict=True)]
        columns.append(values)
    return [kind(*values) for values in zip(*columns, strict=True)]


DTYPES: dict[object, str] = {int: "int64", float: "float64", bool: "bool", str: "str"}


def table_of(rows: Iterable[Mapping[str, object]], kind: type[object]) -> pd.DataFrame:
    """Rows as a table with the fields of a type as its columns; a number that a row does not have is NaN."""
    types = {field.name: DTYPES[field.type] for field in fields(kind)}  # type: ignore[arg-type] # all are dataclasses
    return pd.DataFrame(list(rows), columns=list(types)).astype(types)


@dataclass(frozen=True)
class OfStrategy:
    """Something said of a strategy on a workload."""

    workload: str
    optimizer: str
    layer_lr: str
    schedule: str

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return " / ".join(self.axes)

    @property
    def axes(self) -> tuple[str, str, str]:
        """Its optimizer, layer-lr policy and schedule."""
        return self.optimizer, self.layer_lr, self.schedule

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Its workload and axes: what rows of one strategy share."""
        return self.workload, *self.axes


@dataclass(frozen=True)
class Response(OfStrategy):
    """How the outcome depends on the lr: see ``response.responses``."""

    lrs: int
    best_lr: float
    edge: str
    score: float
    loss: float
    usable_low: float
    usable_high: float
    usable_open: float
    width: float
    largest_stable: float
    cliff_seen: bool
    sensitivity: float
    default_lr: float
    headroom: float


@dataclass(frozen=True)
class Cell(OfStrategy):
    """The outcome of a strategy at one lr, over seeds: a row of ``summary.csv``, and the range over the seeds that trained.

    ``middle``, ``least`` and ``most`` are of the final metric (of a loss, at most that of the untrained model); likewise
    of the loss and of steps to target, infinite where it is never reached.
    """

    lr: float
    runs: int
    reached: int
    missed: int
    diverged: int
    crashed: int
    val_metric: Estimate
    val_metric_spread: float
    val_loss: float
    train_loss: float
    gap: float
    steps_to_target: float
    spikes: float
    oscillation: float
    keys: str
    middle: float
    least: float
    most: float
    loss: float
    loss_least: float
    loss_most: float
    steps: float
    steps_least: float
    steps_most: float

    @property
    def trained(self) -> int:
        """The runs that did not crash."""
        return self.runs - self.crashed


@dataclass(frozen=True)
class Counts(OfStrategy):
    """How many runs a strategy has at all lrs, and what became of them; whether it is a baseline."""

    runs: int
    trained: int
    diverged: int
    crashed: int
    is_baseline: bool


@dataclass(frozen=True)
class Verdict:
    """The best strategy of a workload: see ``verdicts.verdicts``. Without one, ``strategy`` is empty."""

    workload: str
    strategy: str
    optimizer: str
    layer_lr: str
    schedule: str
    lr: float
    edge: str
    seeds: int
    quality: Estimate
    target: float
    reached: int
    steps_to_target: float
    test_metric: Estimate
    strategies: int
    not_separated: list[str]
    baseline: str
    baseline_lr: float
    baseline_edge: str
    baseline_quality: float
    gain: Estimate
    gain_p: float

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Its workload and axes."""
        return self.workload, self.optimizer, self.layer_lr, self.schedule


@dataclass(frozen=True)
class Standing(OfStrategy):
    """A strategy among the others of its workload: see ``places.places``."""

    rank: int
    of: int
    group: str
    lr: float
    seeds: int
    quality: Estimate
    mean: Estimate
    deviation: float
    target_p: float
    behind: Estimate
    more_seeds: float
    steps: Estimate


@dataclass(frozen=True)
class TimeToTarget(OfStrategy):
    """Time and energy to the target: see ``costs.time_to_target``."""

    lr: float
    seeds: int
    reached: int
    steps: float
    step_seconds: float
    seconds: Estimate
    step_joules: float
    joules: Estimate
    reason: str
    joules_reason: str


@dataclass(frozen=True)
class Case(OfStrategy):
    """The cost of one step: a row of ``costs.csv``; see ``config.cost.StepCost``."""

    device: str
    batch_size: int
    accumulate: int
    precision: str
    implementation: str
    grouping: str
    compiled: bool
    from_step: int
    groups: int
    strategies: tuple[tuple[str, str, str], ...]
    seconds: Estimate
    samples_per_second: float
    forward_share: float
    backward_share: float
    optimizer_share: float
    scheduler_share: float
    peak_bytes: float
    flops_per_second: float
    peak_share: float
    joules: float
    reason: str
    shares_reason: str
    peak_reason: str
    joules_reason: str
    noise: tuple[str, ...]

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Forward, backward, optimizer and scheduler."""
        return self.forward_share, self.backward_share, self.optimizer_share, self.scheduler_share


@dataclass(frozen=True)
class Contrast(OfStrategy):
    """A case beside the one that differs from it in one property: see ``costs.contrasts``."""

    property: str
    base: str
    value: str
    implementation: str
    from_step: int
    groups: int
    base_groups: int
    seconds: float
    base_seconds: float
    ratio: float


@dataclass(frozen=True)
class WholeTraining(OfStrategy):
    """A training timed whole beside what its step costs predict: see ``costs.predicted``."""

    key: str
    steps: int
    seconds: float
    predicted: float
    ratio: float
    joules: float
    joules_predicted: float


@dataclass(frozen=True)
class Advice(OfStrategy):
    """Which strategy to take for a number of trials: see ``tuning.recommendations``."""

    trials: int
    lr: float
    which: str
    expected: Estimate
    seeds: int
    strategies: int
    not_separated: list[str]


@dataclass(frozen=True)
class TuningCurve(OfStrategy):
    """The expected best validation score after each of K trials, and that of one trial at the lr that is known beforehand."""

    expected_K: tuple[Estimate, ...]
    first: float


@dataclass(frozen=True)
class Overall(OfStrategy):
    """A strategy over several workloads: see ``overall.overall``. Its own ``workload`` is empty."""

    is_baseline: bool
    workloads: tuple[str, ...]
    iqm: Estimate
    mean: Estimate
    rank: float
    group: str
    baseline: str
    shared: tuple[str, ...]
    improvement: Estimate


@dataclass(frozen=True)
class ClaimVerdict:
    """What the runs say of a claim about one optimizer on one workload: see ``effects.effects``."""

    workload: str
    optimizer: str
    claim: str
    verdict: str
    difference: float
    p: float
    seeds: int


@dataclass(frozen=True)
class ClaimMeasures:
    """The numbers behind the claims, at the low, the best and the high lr: see ``effects.effect_measures``."""

    workload: str
    optimizer: str
    which: str
    lr: float
    seeds: int
    early: float
    exploded: float
    diverged: float
    spikes: float
    oscillation: float
    quality: float
    loss: float
    gap: float


@dataclass(frozen=True)
class LevelMean:
    """The mean outcome of a level of an axis; ``low`` and ``high`` are of seeds: see ``factorial.level_means``."""

    factor: str
    level: object
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The validation metric and loss of a strategy at its best lr: median, least and most over seeds at each evaluation.

    ``seeds_E`` counts the runs that got there: a diverged run ends early.
    """

    step_E: Ints
    seeds_E: Ints
    metric_E: Floats
    metric_least_E: Floats
    metric_most_E: Floats
    loss_E: Floats
    loss_least_E: Floats
    loss_most_E: Floats


@dataclass(frozen=True)
class LayerLrs:
    """The lrs of a run's groups of parameters at each evaluation; NaN before a group joined."""

    step_E: Ints
    groups: tuple[str, ...]
    lr_EG: Floats


@dataclass(frozen=True)
class Ending:
    """How the runs with one optimizer ended, over all lrs."""

    optimizer: str
    statuses: Sequence[str]

    def count(self, status: str) -> int:
        """The runs of a status."""
        return sum(of == status for of in self.statuses)


@dataclass(frozen=True)
class Reason:
    """Why some runs were skipped or crashed, and the labels of the axis that says most briefly which they are."""

    reason: str
    runs: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Throughput:
    """The samples per second of the runs on a workload that were trained one by one: quartiles."""

    workload: str
    low: float
    middle: float
    high: float


def best_of(rows: Iterable[Any], most: int) -> list[Any]:
    """The first rows of each workload, of rows in order of workload and rank."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row.workload] = seen.get(row.workload, 0) + 1
        if seen[row.workload] <= most:
            kept.append(row)
    return kept
