"""What one training step costs on one device, as it was measured there."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lrbench.config.run import Precision, Run
from lrbench.config.types import Count, Strict

PARTS = ("forward", "backward", "optimizer", "scheduler")
"""The parts of a step whose shares are measured."""
IN_DOUBT = "repeated visits still differed by 5 % or more, something else used the processor, or it is not what it was when last measured"
"""What it means that a step cost is in doubt."""
Implementation = Literal["default", "for-loop", "foreach", "fused"]
Grouping = Literal["policy", "one", "two", "layer", "parameter"]


class Case(Strict):
    """One thing to measure: a step of a run, whose lr and seed do not matter, by some implementation of its optimizer.

    ``grouping`` is the policy's own, or so many groups of one lr: what groups cost is a question of their number.
    ``stage`` is the number of steps done before: a policy that unfreezes has one case per stage.
    """

    run: Run
    implementation: Implementation = "default"
    grouping: Grouping = "policy"
    compiled: bool = False
    stage: int = 0


@dataclass(frozen=True)
class StepCost:
    """The cost of one case on one device. Times in seconds per optimizer step; None where a number could not be had.

    A step consumes ``batch_size * accumulate`` examples. Shares are of the time between the step's beginning and end.
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
    """The step from which it holds: 0, or when later layers have joined."""
    groups: int
    """Parameter groups of the optimizer."""
    strategies: tuple[tuple[str, str, str], ...] = ()
    """The strategies (optimizer, layer-lr policy, schedule) of the matrix whose step this is; empty for a case of costs
    alone."""
    reason: str = ""
    """Why it could not be measured; empty if it was."""
    seconds: float | None = None
    """Median over windows of several steps."""
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
    """The most bytes of tensors at any time of a step: parameters, gradients, state, activations and the training
    data."""
    peak_reason: str = ""
    flops: float | None = None
    """Floating-point operations of matrix products and convolutions in a step."""
    flops_per_second: float | None = None
    peak_share: float | None = None
    """``flops_per_second`` against the matrix products of the same precision measured on the device."""
    joules: float | None = None
    """Energy of the device per step, what it draws when idle included."""
    joules_reason: str = ""
    varies: bool = False
    """Whether a step costs more or less as training goes on, as one does that evaluates a closure as often as it likes:
    then the time of a training cannot be told from one of its steps."""
    noise: tuple[str, ...] = ()
    """What made the measurement doubtful, and stayed so when it was repeated; empty for a quiet one."""

    @property
    def measured(self) -> bool:
        """Whether there is a time."""
        return self.seconds is not None


@dataclass(frozen=True)
class TimedRun:
    """A run trained whole and alone by the reference trainer, to be compared with what its step cost predicts."""

    key: str
    device: str
    workload: str
    optimizer: str
    layer_lr: str
    schedule: str
    steps: int
    seconds: float
    """Training time, evaluations left out."""
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
    """What was measured in one go on one machine. ``conditions`` are facts of that time: threads, load, what telemetry could be read."""

    costs: tuple[StepCost, ...] = ()
    timed: tuple[TimedRun, ...] = ()
    peaks: tuple[Peak, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)
