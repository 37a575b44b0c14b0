"""Step costs: what one training step costs on one device, as measured there."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lrbench.config.run import Precision, Run
from lrbench.config.types import Count, Strict

PARTS = ("forward", "backward", "optimizer", "scheduler")
"""The parts of a step whose shares are measured."""
IN_DOUBT = (
    "repeated visits still differed by 5 % or more, something else used the processor, or it is not what it was when "
    "last measured"
)
"""What it means that a step cost is in doubt."""
Implementation = Literal["default", "for-loop", "foreach", "fused"]
Grouping = Literal["policy", "one", "two", "layer", "parameter"]


class Case(Strict):
    """One case to measure: a step of a run, with one implementation of its optimizer. Lr and seed do not matter.

    ``grouping`` is the policy's own parameter groups, or a number of groups with one lr, which measures what groups
    cost. ``stage`` is the number of steps done before: a policy that unfreezes has one case per stage.
    """

    run: Run
    implementation: Implementation = "default"
    grouping: Grouping = "policy"
    compiled: bool = False
    stage: int = 0


@dataclass(frozen=True)
class StepCost:
    """The cost of one case on one device. Times are in seconds per optimizer step; None: not measured.

    A step consumes ``batch_size * accumulate`` examples. Shares are of the time from the step's beginning to its end.
    """

    device: str
    workload: str
    optimizer: str
    layer_lr: str
    schedule: str
    batch_size: Count
    accumulate: Count
    precision: Precision
    implementation: Implementation
    grouping: Grouping
    compiled: bool
    from_step: int
    """The first step with this cost: 0, or the step at which further layers join."""
    groups: int
    """Parameter groups of the optimizer."""
    strategies: tuple[tuple[str, str, str], ...] = ()
    """The strategies of the matrix that take this step, as (optimizer, layer-lr policy, schedule). Empty: the case is
    measured for its cost alone."""
    reason: str = ""
    """Why it could not be measured; empty if it was measured."""
    seconds: float | None = None
    """Median over windows; a window is several steps."""
    seconds_low: float | None = None
    """First quartile."""
    seconds_high: float | None = None
    """Third quartile."""
    windows: int = 0
    window_steps: int = 0
    samples_per_second: float | None = None
    forward_share: float | None = None
    backward_share: float | None = None
    optimizer_share: float | None = None
    """``optimizer.step()``."""
    scheduler_share: float | None = None
    """``scheduler.step()``."""
    shares_reason: str = ""
    peak_bytes: int | None = None
    """Peak memory of tensors during a step: parameters, gradients, state, activations and the training data."""
    peak_reason: str = ""
    flops: float | None = None
    """Floating-point operations of matrix products and convolutions in a step."""
    flops_per_second: float | None = None
    peak_share: float | None = None
    """``flops_per_second`` as a share of the device's measured peak in the same precision."""
    joules: float | None = None
    """Energy of the device per step, with its idle power."""
    joules_reason: str = ""
    varies: bool = False
    """Whether the cost changes during training, as with an optimizer that evaluates its closure a varying number of
    times. Then one step does not predict the time of a training."""
    noise: tuple[str, ...] = ()
    """Reasons for doubt that remained after repeating the measurement; empty: none."""

    @property
    def measured(self) -> bool:
        """Whether it was measured."""
        return self.seconds is not None


@dataclass(frozen=True)
class TimedRun:
    """A run trained whole and alone by the reference trainer, to compare with what its step cost predicts."""

    key: str
    device: str
    workload: str
    optimizer: str
    layer_lr: str
    schedule: str
    steps: int
    seconds: float
    """Training time, without evaluations."""
    joules: float | None = None


@dataclass(frozen=True)
class Peak:
    """The fastest matrix product measured on a device in one precision."""

    device: str
    precision: str
    flops_per_second: float
    size: int
    """Rows and columns of the square matrices."""


@dataclass(frozen=True)
class Costs:
    """The measurements of one session on one machine.

    ``conditions`` are facts about the machine at that time: threads, load, the telemetry that could be read.
    """

    costs: tuple[StepCost, ...] = ()
    timed: tuple[TimedRun, ...] = ()
    peaks: tuple[Peak, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)
