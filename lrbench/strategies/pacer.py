"""When schedules are stepped, the lrs that they give, and the audit: were the lrs in use those declared?"""

import inspect
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrbench.config.run import Choice
from lrbench.config.types import steps_of
from lrbench.strategies.layer_lr import Group
from lrbench.strategies.schedules import SCHEDULES, Scheduler, Warmup, stand_in

Lrs = NDArray[np.float64]
LR_ROUNDING, PLUGIN_LR_ROUNDING = 1e-9, 1e-6
"""How far a recorded lr may be from the declared one, as a share of the largest. A plug-in may compute in float32."""


@dataclass(frozen=True)
class Timing:
    """The lengths of a training, of its epochs and of its evaluation intervals, in optimizer steps."""

    steps: int
    steps_per_epoch: int
    eval_every: int


class CallOrderError(Exception):
    """The scheduler was about to be stepped before the optimizer."""


class Pacer:
    """Steps a scheduler at the right moments.

    Open loop: after every optimizer step, or after every epoch. Closed loop: after every evaluation.
    """

    def __init__(self, choice: Choice, optimizer: Optimizer, timing: Timing) -> None:
        entry = SCHEDULES[choice.name]
        settings = entry.resolve(choice.settings)
        common = {name: settings.pop(name) for name in ("warmup", "per") if name in settings and name not in entry.own}
        self._noted = optimizer.__dict__  # where torch notes each optimizer.step(), once a scheduler is attached
        self.closed_loop = "closed_loop" in entry.flags
        rise, per = common.get("warmup", 0), common.get("per", "evaluation" if self.closed_loop else "step")
        self.watches_metric = settings.get("mode") == "max"
        self.period = {"step": 1, "epoch": timing.steps_per_epoch, "evaluation": timing.eval_every}[per]
        total = max(1, -(-timing.steps // self.period))
        rise = steps_of(rise, total)

        def build(optimizer: Optimizer) -> Scheduler:
            made = entry.build(optimizer, max(1, total - rise), **settings)
            if fault := _unfit(made, closed_loop=self.closed_loop):
                raise ValueError(fault)
            return made

        self.scheduler: Scheduler = Warmup(optimizer, rise, build) if rise else build(optimizer)
        if not self.closed_loop and not hasattr(
            optimizer.step, "_wrapped_by_lr_sched"
        ):  # torch notes steps for its own schedulers alone
            _note_steps(optimizer)

    def after_step(self, done: int) -> None:
        """Call this after the optimizer's ``done``-th step.

        Raises: CallOrderError when the optimizer has not stepped since the last call.
        """
        if self.closed_loop:
            return
        if not self._noted.get("_opt_called"):
            raise CallOrderError(
                "scheduler.step() was called before optimizer.step(): the first lr of the schedule would be skipped. "
                "Call optimizer.step() first, then scheduler.step()."
            )
        if done % self.period == 0:
            self.scheduler.step()
            self._noted["_opt_called"] = False

    def after_evaluation(self, loss: float, metric: float) -> None:
        """Call this after each evaluation but the one before training, with the validation loss and metric."""
        if self.closed_loop:
            self.scheduler.step(metric if self.watches_metric else loss)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state without functions, which building the scheduler restores."""
        state: dict[str, Any] = _without_functions(self.scheduler.state_dict())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scheduler. Restore the optimizer afterwards."""
        self.scheduler.load_state_dict(state)


class Unpaced:
    """Stands in for a pacer where the optimizer sets its own lr: no scheduler changes its groups."""

    def after_step(self, done: int) -> None:
        """Nothing."""

    def after_evaluation(self, loss: float, metric: float) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _unfit(scheduler: Any, *, closed_loop: bool) -> str | None:
    """Why a scheduler cannot be stepped as its flags say, or None."""
    step = getattr(scheduler, "step", None)
    if not callable(step):
        return f"its builder returned {scheduler!r}, which cannot be stepped: return an LRScheduler"
    values = [p for p in inspect.signature(step).parameters.values() if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    needed = [p.name for p in values if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    if not closed_loop and (needed or isinstance(scheduler, ReduceLROnPlateau)):
        return (
            f"its step({', '.join(p.name for p in values)}) needs a value, and only a closed-loop schedule is given "
            f"one, the validation "
            'loss at each evaluation: register it with flags=["closed_loop"]'
        )
    if closed_loop and (not values or values[0].name == "epoch"):
        return "its step takes no validation loss, which the flag closed_loop gives it: leave the flag out"
    return None


def _note_steps(optimizer: Optimizer) -> None:
    """Let an optimizer record that it was stepped, as torch does for its own schedulers."""
    noted, step = optimizer.__dict__, optimizer.step

    def stepped(*arguments: Any, **more: Any) -> Any:
        noted["_opt_called"] = True
        return step(*arguments, **more)

    optimizer.step = stepped  # type: ignore[method-assign] # as torch does


def _without_functions(value: Any) -> Any:
    if type(value) is dict:
        return {k: _without_functions(v) for k, v in value.items() if not callable(v)}
    return [_without_functions(v) for v in value] if type(value) is list else value


def lr_curve(
    choice: Choice,
    base_lr: float,
    timing: Timing,
    *,
    evaluations: Iterable[tuple[float, float]] = (),
    options: dict[str, Any] | None = None,
) -> Lrs:
    """The lr of a single group at every step; [steps]. Arguments as of ``lr_table``."""
    return lr_table(choice, [base_lr], timing, evaluations=evaluations, options=options)[:, 0]


def lr_table(
    choice: Choice,
    lrs: Sequence[float],
    timing: Timing,
    *,
    evaluations: Iterable[tuple[float, float]] = (),
    options: dict[str, Any] | None = None,
) -> Lrs:
    """The lrs of groups that start at ``lrs``: the real scheduler, stepped over an optimizer that trains nothing.

    ``evaluations`` are the (loss, metric) pairs for a closed-loop schedule; ``options`` are further options of groups.

    Returns: [steps, groups], in the order in which optimizer steps use them.
    """
    optimizer = stand_in(lrs, options or {})
    pacer = Pacer(choice, optimizer, timing)
    reports = iter(evaluations)
    table = np.empty((timing.steps, len(lrs)))
    for done in range(timing.steps):
        table[done] = [float(group["lr"]) for group in optimizer.param_groups]
        optimizer.step()
        pacer.after_step(done + 1)
        if (done + 1) % timing.eval_every == 0 and (report := next(reports, None)):
            pacer.after_evaluation(*report)
    return table


def rounding_of(*choices: Choice) -> float:
    """How far lrs may be from the declared ones, given the choices that compute them."""
    return LR_ROUNDING if not any(choice.is_plugin for choice in choices) else PLUGIN_LR_ROUNDING


def audit_run(
    recorded: Lrs,
    choice: Choice,
    base_lr: float,
    timing: Timing,
    groups: Sequence[Group],
    *,
    evaluations: Sequence[tuple[float, float]] = (),
    options: dict[str, Any] | None = None,
    rounding: float = LR_ROUNDING,
) -> str | None:
    """``audit`` of the lrs of a run. A plug-in's schedule must also scale with the base lr.

    ``evaluations`` and ``options`` are as in ``lr_table``, ``rounding`` as in ``audit``. Shapes: recorded [T, G].
    """

    def curve_at(lr: float) -> Lrs:
        return lr_curve(choice, lr, timing, evaluations=evaluations, options=options)

    rounding = max(rounding, rounding_of(choice))
    curve, twice = curve_at(base_lr), None
    if choice.is_plugin:  # the tests hold every built-in schedule to it
        with suppress(Exception):  # a schedule may refuse an lr
            twice = 2.0 * curve_at(0.5 * base_lr)
    fault = _no_factor(curve[: len(recorded)], curve if twice is None else twice, base_lr, rounding)
    if fault and choice.is_plugin and not np.array_equal(curve, curve_at(base_lr), equal_nan=True):
        fault = (
            "the schedule gives other lrs each time, so that none can be held to it: draw its random numbers from a "
            "generator of its own, "
            "seeded where it is built."
        )
    if fault:
        return f"lr audit: {choice.label}: {fault}"
    multipliers, joins, names = zip(*((g.multiplier, g.joins, g.name) for g in groups), strict=True)
    return audit(recorded, curve, multipliers, joins, names, rounding)


def _no_factor(curve: Lrs, twice: Lrs, base_lr: float, rounding: float) -> str | None:
    """Why a curve is not base lr x schedule, or None; ``twice`` is twice the curve at half of the base lr.

    Rounding may bring an lr slightly below 0.
    """
    most = np.fmax.reduce(curve, initial=0.0)
    if (wrong := ~(np.isfinite(curve) & (curve >= -1e-6 * most))).any():
        step = int(wrong.argmax())
        return f"the schedule gives lr {curve[step]:.6g} at step {step + 1}; an lr is a number from 0 up."
    if (wrong := ~(np.abs(curve - twice[: len(curve)]) <= rounding * most)).any():
        step = int(wrong.argmax())
        return (
            f"the schedule gives lr {curve[step]:.6g} at step {step + 1} with base lr {base_lr:.6g}, and "
            f"{twice[step] / 2:.6g} with half "
            "of it: it must multiply the base lr, with no floor or eps that is absolute, else no ratio between layers "
            "survives it."
        )
    return None


def audit(
    recorded: Lrs,
    curve: Lrs,
    multipliers: Sequence[float],
    joins: Sequence[int],
    names: Sequence[str],
    rounding: float = LR_ROUNDING,
) -> str | None:
    """Compare the lrs that each group was stepped with against base lr x layer multiplier x schedule.

    Shapes: recorded [T, G], NaN before a group joined; curve [at least T], one group's lr; the rest [G].

    Returns: None if they agree within ``rounding``, as a share of each group's largest lr; else a sentence about the
    first step that differs.
    """
    recorded = recorded.reshape(-1, len(names))
    declared = curve[: len(recorded), None] * np.asarray(multipliers)
    declared[np.arange(len(recorded))[:, None] < np.asarray(joins)] = np.nan
    scale = curve.max() * np.asarray(multipliers)
    wrong = ~(np.isnan(declared) & np.isnan(recorded)) & ~(np.abs(recorded - declared) <= rounding * scale)
    if not wrong.any():
        return None
    step, group = np.argwhere(wrong)[0]
    return (
        f"lr audit: group {names[group]!r} was stepped with lr {recorded[step, group]:.6g} at step {step + 1}, "
        f"and base lr x layer multiplier x schedule is {declared[step, group]:.6g}."
    )
