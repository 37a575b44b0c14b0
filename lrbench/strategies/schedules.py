"""The schedules: each entry builds the real ``torch.optim.lr_scheduler`` object on an optimizer.

``total`` is the length of the training in scheduler steps (optimizer steps, or epochs with ``per = "epoch"``). Every lr
a schedule sets is a share of each group's own base lr, never an absolute number, so that the ratios between groups
survive.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import SWALR

from lrbench.config.catalog import PYTORCH, Catalog, Entry
from lrbench.config.faults import fault
from lrbench.config.types import Count, Fraction, NonNegative, Positive, Rise, Share, Span, steps_of

Scheduler = Any
"""An ``LRScheduler``, or a ``ReduceLROnPlateau``, which takes a metric at each step and is none."""
Build = Callable[..., Scheduler]


def _common(flags: frozenset[str]) -> dict[str, Any]:
    rise = {"warmup": (Rise, 0)}
    return rise if "closed_loop" in flags else {"per": (Literal["step", "epoch"], "step")} | rise


FLAGS = {
    "closed_loop": "is stepped at each evaluation with the validation loss, or the metric where its setting `mode` is "
    '"max": '
    "its steps are evaluations",
}


@dataclass(frozen=True)
class ScheduleEntry(Entry[Build]):
    """A schedule, as a function of an optimizer and the length of the training."""

    is_constant: bool = False
    """Whether the lr never changes after the warm-up."""
    is_chainable: bool = False
    """Whether it computes the next lr from the current one, so that several can act at once."""
    has_parts: bool = False
    """Whether it is made of other schedules. Then it cannot be a part of another."""

    def keeps_lr(self, settings: Mapping[str, Any]) -> bool:
        """Whether the lr is the base lr at every step."""
        return self.is_constant and not settings.get("warmup")

    def stored(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Whether it is constant too."""
        return super().stored(settings) | {"is_constant": self.keeps_lr(settings)}


SCHEDULES = Catalog("schedule", ScheduleEntry, flags=FLAGS, common=_common)
"""Every open-loop schedule can count epochs in place of steps (``per``), and every one can follow a linear
``warmup``."""
schedule = SCHEDULES.register

Others = Annotated[dict[str, NonNegative], AfterValidator(lambda given: dict(sorted(given.items())))]
"""Factors by the name of a group's option; their order changes nothing."""
Gamma = Annotated[float, Field(gt=0.0, le=1.0)]
Anneal = Literal["cos", "linear"]


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)) or len({type(v) for v in values}) > 1:
        raise fault(f"must ascend, all as steps or all as shares of the budget, got {list(values)}")
    return values


def _rightwards(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    shares = [share for share, _ in points]
    if shares != sorted(shares):
        raise fault(f"must go from left to right, got the shares {shares}")
    return points


Points = Annotated[
    tuple[Annotated[tuple[Share, NonNegative], Field(strict=False)], ...],
    Field(strict=False, min_length=2),
    AfterValidator(_rightwards),
]
Spans = Annotated[tuple[Span, ...], Field(strict=False, min_length=1), AfterValidator(_ascending)]


@schedule("constant", is_constant=True, cites=[PYTORCH])
def constant(optimizer: Optimizer, total: int) -> Scheduler:
    """The base lr throughout.

    Source: torch.optim.lr_scheduler.LambdaLR with a factor of 1.
    """
    return torch_schedules.LambdaLR(optimizer, lambda step: 1.0)


@schedule("lambda", cites=[PYTORCH])
def points(
    optimizer: Optimizer,
    total: int,
    *,
    points: Points = ((0.0, 1.0), (0.5, 1.0), (1.0, 0.0)),
) -> Scheduler:
    """Straight lines between points (share of the budget, share of the base lr); by default flat, then down to 0.

    Source: torch.optim.lr_scheduler.LambdaLR.
    """

    def factor(step: int) -> float:
        at = min(step / total, 1.0)
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 <= at <= x1 and x0 < x1:
                return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        return points[0][1] if at < points[0][0] else points[-1][1]

    return torch_schedules.LambdaLR(optimizer, factor)


@schedule("multiplicative", is_chainable=True, cites=[PYTORCH])
def multiplicative(optimizer: Optimizer, total: int, *, every: Span = 0.1, factor: Gamma = 0.8) -> Scheduler:
    """Multiply the lr by a factor that is a function of the step: here factor after every so many steps, else 1.

    Source: torch.optim.lr_scheduler.MultiplicativeLR.
    """
    period = steps_of(every, total)
    return torch_schedules.MultiplicativeLR(optimizer, lambda step: 1.0 if step % period else factor)


@schedule("step", is_chainable=True, cites=[PYTORCH])
def step(optimizer: Optimizer, total: int, *, step_size: Span = 0.3, gamma: Gamma = 0.1) -> Scheduler:
    """Multiply the lr by gamma every step_size.

    Source: torch.optim.lr_scheduler.StepLR.
    """
    return torch_schedules.StepLR(optimizer, steps_of(step_size, total), gamma)


@schedule("multistep", is_chainable=True, cites=[PYTORCH])
def multistep(optimizer: Optimizer, total: int, *, milestones: Spans = (0.5, 0.75), gamma: Gamma = 0.1) -> Scheduler:
    """Multiply the lr by gamma at each milestone.

    Source: torch.optim.lr_scheduler.MultiStepLR.
    """
    return torch_schedules.MultiStepLR(optimizer, [steps_of(m, total) for m in milestones], gamma)


@schedule("constant-factor", is_chainable=True, cites=[PYTORCH])
def constant_factor(optimizer: Optimizer, total: int, *, factor: Gamma = 1 / 3, total_iters: Span = 0.1) -> Scheduler:
    """A share of the lr for total_iters, then all of it.

    Source: torch.optim.lr_scheduler.ConstantLR.
    """
    return torch_schedules.ConstantLR(optimizer, factor, steps_of(total_iters, total))


@schedule("linear", is_chainable=True, cites=[PYTORCH])
def linear(
    optimizer: Optimizer, total: int, *, start_factor: Gamma = 1.0, end_factor: Share = 0.0, total_iters: Span = 1.0
) -> Scheduler:
    """A straight line from start_factor to end_factor times the base lr, by default down to 0 over the budget.

    Source: torch.optim.lr_scheduler.LinearLR.
    """
    return torch_schedules.LinearLR(optimizer, start_factor, end_factor, steps_of(total_iters, total))


@schedule("exponential", is_chainable=True, cites=[PYTORCH])
def exponential(optimizer: Optimizer, total: int, *, final: Gamma = 0.01) -> Scheduler:
    """Multiply the lr by the same gamma after every step, chosen so that it ends at final times the base lr.

    Source: torch.optim.lr_scheduler.ExponentialLR.
    """
    return torch_schedules.ExponentialLR(optimizer, final ** (1 / total))


@schedule("polynomial", is_chainable=True, cites=[PYTORCH])
def polynomial(optimizer: Optimizer, total: int, *, power: Positive = 2.0, total_iters: Span = 1.0) -> Scheduler:
    """Decay the lr to 0 as a power of what is left of total_iters.

    Source: torch.optim.lr_scheduler.PolynomialLR.
    """
    return torch_schedules.PolynomialLR(optimizer, steps_of(total_iters, total), power)


@schedule("cosine", is_chainable=True, cites=["loshchilov2017sgdr", PYTORCH])
def cosine(optimizer: Optimizer, total: int, *, t_max: Span = 1.0, eta_min: Share = 0.0) -> Scheduler:
    """Half a cosine from the base lr to eta_min times the base lr.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983; torch.optim.lr_scheduler.CosineAnnealingLR.
    """
    return _of_each_group(
        optimizer, lambda o: torch_schedules.CosineAnnealingLR(o, steps_of(t_max, total), eta_min), plain=eta_min == 0.0
    )


@schedule("cosine-restarts", cites=["loshchilov2017sgdr", PYTORCH])
def cosine_restarts(
    optimizer: Optimizer, total: int, *, t_0: Span = 0.25, t_mult: Count = 1, eta_min: Share = 0.0
) -> Scheduler:
    """Cosine annealing that starts again after t_0, each cycle t_mult times as long as the last.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983; torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.
    """
    return _of_each_group(
        optimizer,
        lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, steps_of(t_0, total), t_mult, eta_min),
        plain=eta_min == 0.0,
    )


@schedule("one-cycle", cites=["smith2018super", PYTORCH])
def one_cycle(
    optimizer: Optimizer,
    total: int,
    *,
    pct_start: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3,
    anneal_strategy: Anneal = "cos",
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    three_phase: bool = False,
    cycle_momentum: bool = False,
    base_momentum: Fraction = 0.85,
    max_momentum: Fraction = 0.95,
) -> Scheduler:
    """Up from lr / div_factor to lr, then far down. Momentum stays the same unless cycle_momentum is set.

    Source: Smith & Topin 2018, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR.
    """
    return torch_schedules.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
    )


@schedule("cyclic", cites=["smith2017cyclical", PYTORCH])
def cyclic(
    optimizer: Optimizer,
    total: int,
    *,
    base: Share = 0.1,
    step_size_up: Span = 0.125,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Gamma = 1.0,
    cycle_momentum: bool = False,
    base_momentum: Fraction = 0.8,
    max_momentum: Fraction = 0.9,
) -> Scheduler:
    """Zigzag between base times the lr and the lr. Momentum stays the same unless cycle_momentum is set.

    Source: Smith 2017, arXiv:1506.01186; torch.optim.lr_scheduler.CyclicLR.
    """
    tops = [group["lr"] for group in optimizer.param_groups]
    return torch_schedules.CyclicLR(
        optimizer,
        [base * top for top in tops],
        tops,
        steps_of(step_size_up, total),
        mode=mode,
        gamma=gamma,
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


@schedule("swa", cites=["izmailov2018averaging", PYTORCH])
def swa(
    optimizer: Optimizer,
    total: int,
    *,
    swa_lr: Share = 0.05,
    anneal_epochs: Span = 0.25,
    anneal_strategy: Anneal = "cos",
) -> Scheduler:
    """Anneal to swa_lr times the base lr, then stay: the lr of stochastic weight averaging, without the averaging.

    Source: Izmailov et al. 2018, arXiv:1803.05407; torch.optim.swa_utils.SWALR.
    """
    floors: Any = [swa_lr * group["lr"] for group in optimizer.param_groups]
    return SWALR(optimizer, floors, steps_of(anneal_epochs, total), anneal_strategy)


class Plateau(ReduceLROnPlateau):
    """``ReduceLROnPlateau`` for values of any sign: better means better by a share of the size of the best one.

    torch multiplies the best value by 1 - threshold, so that of negative ones it takes a slightly worse one for better.
    """

    def _is_better(self, a: float, best: float) -> bool:
        if best >= 0.0:
            return bool(super()._is_better(a, best))  # type: ignore[no-untyped-call] # torch's own, without types
        return bool(a < best * (1.0 + self.threshold) if self.mode == "min" else a > best * (1.0 - self.threshold))


@schedule("plateau", flags=["closed_loop"], cites=[PYTORCH])
def plateau(
    optimizer: Optimizer,
    total: int,
    *,
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5,
    patience: Annotated[int, Field(ge=0)] = 2,
    threshold: NonNegative = 1e-4,
    cooldown: Annotated[int, Field(ge=0)] = 0,
    min_lr: Share = 0.0,
    mode: Literal["min", "max"] = "min",
) -> Scheduler:
    """Multiply the lr by factor when the validation loss has not improved for more than patience evaluations.

    Improved means better by threshold x the size of the best value, so a constant added to the loss matters; with 0,
    any gain counts. ``mode = "max"`` watches the validation metric instead of the loss, where more is better.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau.
    """
    floors = [min_lr * group["lr"] for group in optimizer.param_groups]
    return Plateau(optimizer, mode, factor, patience, threshold, cooldown=cooldown, min_lr=floors, eps=0.0)


@schedule("by-hand", is_chainable=True, cites=[PYTORCH])
def by_hand(
    optimizer: Optimizer,
    total: int,
    *,
    every: Span = 0.1,
    factor: Gamma = 0.9,
    others: Others = {},  # noqa: B006 - nothing changes it
) -> Scheduler:
    """Change ``optimizer.param_groups`` by hand: every so many steps, each group's lr x factor and ``others`` x theirs.

    ``others`` names further group properties, such as {weight_decay = 0.5}.

    Source: adjusting options through param_groups, torch.optim.
    """
    return ByHand(optimizer, steps_of(every, total), factor, others)


@schedule("warmup-stable-decay", cites=["hu2024minicpm", "haegele2024scaling"])
def warmup_stable_decay(
    optimizer: Optimizer,
    total: int,
    *,
    rise: Share = 0.1,
    decay: Share = 0.2,
    shape: Literal["linear", "sqrt"] = "linear",
) -> Scheduler:
    """Rise linearly, stay at the base lr, then fall to 0 over the last part: as a line, or as 1 - sqrt.

    Source: Hu et al. 2024, arXiv:2404.06395; 1 - sqrt: Haegele et al. 2024, arXiv:2405.18392.
    """
    if rise + decay > 1.0:
        raise ValueError(f"rise {rise:g} and decay {decay:g} together exceed the budget.")

    def factor(step: int) -> float:
        up, down = rise * total, decay * total
        if step + 1 < up:
            return (step + 1) / up
        left = (total - step) / down if down else 1.0
        if left >= 1.0:
            return 1.0
        return max(left, 0.0) if shape == "linear" else 1.0 - math.sqrt(min(1.0 - left, 1.0))

    return torch_schedules.LambdaLR(optimizer, factor)


@schedule("inverse-sqrt", cites=["vaswani2017attention"])
def inverse_sqrt(optimizer: Optimizer, total: int, *, rise: Span = 0.1) -> Scheduler:
    """Rise linearly, then fall with the square root of the step.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 5.3.
    """
    up = steps_of(rise, total)
    return torch_schedules.LambdaLR(optimizer, lambda step: min((step + 1) / up, math.sqrt(up / (step + 1))))


def _part(value: Any) -> dict[str, Any]:
    """A schedule inside another: its name alone, or a table with its settings."""
    table = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    name = table.pop("name", None)
    possible = sorted(n for n, entry in SCHEDULES.items() if not (entry.flags or entry.has_parts))
    if name not in possible:
        raise fault(f"must name one of {', '.join(possible)}, got {value!r}")
    whole = {"per", "warmup"} - SCHEDULES[name].own
    if common := table.keys() & whole:
        raise fault(f"{sorted(common)} belong to the whole schedule, not to a part of it")
    settings = dict(SCHEDULES[name].settings.model_validate(table))
    if settings.get("cycle_momentum") or settings.get("others"):
        raise fault("must change nothing but the lr: a part of a schedule can not have cycle_momentum or others")
    neutral = SCHEDULES[name].settings.neutral()
    own = {k: v for k, v in settings.items() if k not in whole and not (k in neutral and v == neutral[k])}
    return {"name": name} | own


def _several(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(parts) < 2:
        raise fault("must be at least two")
    return parts


def _chainable(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    chainable = sorted(name for name, entry in SCHEDULES.items() if entry.is_chainable)
    for part in parts:
        bent = part.get("eta_min") or part.get("t_max", 1.0) != 1.0
        if part["name"] not in chainable or bent:
            shown = part["name"] + (" with an eta_min or a t_max" if part["name"] in chainable else "")
            raise fault(
                f"{shown} ignores the lr that other schedules leave. Those that act on it are {', '.join(chainable)}"
            )
    return parts


Part = Annotated[Any, AfterValidator(_part)]
Parts = Annotated[tuple[Part, ...], Field(strict=False), AfterValidator(_several)]
ChainedParts = Annotated[tuple[Part, ...], Field(strict=False), AfterValidator(_several), AfterValidator(_chainable)]


@schedule("sequential", has_parts=True, cites=[PYTORCH])
def sequential(
    optimizer: Optimizer,
    total: int,
    *,
    parts: Parts = ({"name": "constant"}, {"name": "cosine"}),
    milestones: Spans = (0.5,),
) -> Scheduler:
    """One schedule after another, each starting from the base lr at its milestone.

    Source: torch.optim.lr_scheduler.SequentialLR.
    """
    if len(parts) != len(milestones) + 1:
        raise ValueError(
            f"has {len(parts)} parts and {len(milestones)} milestones: needs one milestone fewer than parts."
        )
    edges = [0, *(steps_of(m, total) for m in milestones), total]
    lengths = [max(1, b - a) for a, b in pairwise(edges)]
    made: Any = [
        OfEachGroup(optimizer, partial(_build_part, part, length)) for part, length in zip(parts, lengths, strict=True)
    ]
    return torch_schedules.SequentialLR(optimizer, made, edges[1:-1])


@schedule("chained", has_parts=True, cites=[PYTORCH])
def chained(
    optimizer: Optimizer, total: int, *, parts: ChainedParts = ({"name": "constant-factor"}, {"name": "exponential"})
) -> Scheduler:
    """Several schedules at once, each acting on the lr that the others left; by default, a low start and a decay.

    Source: torch.optim.lr_scheduler.ChainedScheduler.
    """
    made: Any = [_build_part(part, total, optimizer) for part in parts]
    return torch_schedules.ChainedScheduler(made, optimizer)


def _build_part(part: dict[str, Any], total: int, optimizer: Optimizer) -> Scheduler:
    entry = SCHEDULES[part["name"]]
    return entry.build(optimizer, total, **{k: v for k, v in part.items() if k != "name"})


class ByHand(LRScheduler):
    """Multiply properties of every parameter group after each ``every`` steps, as one would by hand."""

    def __init__(self, optimizer: Optimizer, every: int, factor: float, others: dict[str, float]) -> None:
        for name in others:
            if not all(isinstance(group.get(name), float | int) for group in optimizer.param_groups):
                raise ValueError(f"others.{name}: the optimizer's groups have no number of that name.")
        self.every, self.factor, self.others = every, factor, others
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Not asked for by ``step``, which changes the groups itself."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Count a step; at each multiple of ``every`` change the groups."""
        super().step(epoch)
        if self.last_epoch and self.last_epoch % self.every == 0:
            for group in self.optimizer.param_groups:
                group["lr"] *= self.factor
                for name, factor in self.others.items():
                    group[name] *= factor
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class OfEachGroup(LRScheduler):
    """Sets every group's lr to its base lr times the lr of one real scheduler that runs at lr 1.

    For schedulers with one absolute bound, such as ``eta_min``, which would pull all groups to the same lr. And for
    schedulers that start late: they would take the current lr, or another scheduler's ``initial_lr``, for the base lr.
    """

    def __init__(self, optimizer: Optimizer, make: Callable[[Optimizer], LRScheduler]) -> None:
        self.unit = make(stand_in([1.0]))
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Base lr x what the unit scheduler says."""
        [factor] = self.unit.get_last_lr()
        return [base * factor for base in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Step the unit scheduler, then all groups."""
        if self.last_epoch >= 0:
            self.unit.optimizer.step()
            self.unit.step()
        super().step(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The unit scheduler's state beside its own."""
        return super().state_dict() | {"unit": self.unit.state_dict() | {"lr": self.unit.get_last_lr()[0]}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        own, unit = dict(state_dict), dict(state_dict["unit"])
        del own["unit"]
        self.unit.optimizer.param_groups[0]["lr"] = unit.pop("lr")
        self.unit.load_state_dict(unit)
        super().load_state_dict(own)


def _of_each_group(optimizer: Optimizer, make: Callable[[Optimizer], LRScheduler], *, plain: bool) -> Scheduler:
    return make(optimizer) if plain else OfEachGroup(optimizer, make)


class Warmup:
    """A linear rise to the first lr of any scheduler, which then runs as if it had just started.

    In step k of ``rise`` the lr is k / (rise + 1) of that first lr. It is ``SequentialLR`` of ``LinearLR`` and the
    scheduler, for closed-loop schedulers too.
    """

    def __init__(self, optimizer: Optimizer, rise: int, then: Callable[[Optimizer], Scheduler]) -> None:
        self.optimizer, self.rise, self.done = optimizer, rise, 0
        self.then = then(optimizer)
        self.tops = [group["lr"] for group in optimizer.param_groups]
        self._scale()

    def _scale(self) -> None:
        share = (self.done + 1) / (self.rise + 1) if self.done < self.rise else 1.0
        for group, top in zip(self.optimizer.param_groups, self.tops, strict=True):
            group["lr"] = top * share

    def step(self, *metrics: float) -> None:
        """One scheduler step; ``metrics`` go to a closed-loop scheduler once the rise is over."""
        self.done += 1
        if self.done <= self.rise:
            self._scale()
        else:
            self.then.step(*metrics)

    def state_dict(self) -> dict[str, Any]:
        """Its own state and that of the scheduler that follows."""
        return {"done": self.done, "tops": self.tops, "then": self.then.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        self.done, self.tops = state_dict["done"], state_dict["tops"]
        self.then.load_state_dict(state_dict["then"])


def stand_in(lrs: Sequence[float], options: Mapping[str, Any] = {}) -> Optimizer:
    """An optimizer that trains nothing, with a group per lr and some options, to run a scheduler on."""
    return torch.optim.SGD([dict(options) | {"params": [torch.zeros(1)], "lr": lr} for lr in lrs], lr=1.0, momentum=0.9)
