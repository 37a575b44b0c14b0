"""Which optimizers, layer-lr policies and schedules can be combined, and why others cannot."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from lrbench.config.faults import one_line
from lrbench.config.param import Param
from lrbench.config.run import Choice, Run
from lrbench.strategies.layer_lr import LAYER_LRS, Group, NoMatch, param_groups
from lrbench.strategies.optimizers import OPTIMIZERS, built, swaps_weights
from lrbench.strategies.schedules import SCHEDULES, sequential


def groups_of(run: Run, params: Sequence[Param]) -> list[Group]:
    """The parameter groups of a run. For an optimizer of matrices, a group holds only matrices, or none.

    Raises: ValueError as ``param_groups``.
    """
    entry = LAYER_LRS[run.layer_lr.name]
    policy = entry.build(**entry.resolve(run.layer_lr.settings))
    return param_groups(policy, params, run.steps, is_matrix=matrices_of(run.optimizer))


def matrices_of(optimizer: Choice) -> Callable[[Param], bool] | None:
    """A test for the parameters that an optimizer steps as matrices; None for an optimizer that treats all alike.

    These are the hidden matrices, or everything of two dimensions where its setting ``matrices`` is "all".
    """
    entry = OPTIMIZERS[optimizer.name]
    if "only_2d" not in entry.flags:
        return None
    takes_all = entry.resolve(optimizer.settings).get("matrices") == "all"
    return lambda p: len(p.shape) == 2 if takes_all else p.is_hidden_matrix


class DeadPattern(str):
    """The reason of a skip whose layer-lr pattern matches no parameter of the workload."""

    __slots__ = ()


def impossible(run: Run, params: Sequence[Param]) -> str | None:
    """Why a run's strategy cannot train a model with these parameters, or None."""
    entry = OPTIMIZERS[run.optimizer.name]
    if entry.needs and not find_spec(entry.needs):
        return f"{entry.name} needs the package {entry.needs}: pip install {entry.needs}"
    try:
        groups = groups_of(run, params)
    except ValueError as error:
        reason = f"layer-lr policy {run.layer_lr.label}: {error}"
        return DeadPattern(reason) if isinstance(error, NoMatch) else reason
    except Exception as error:  # noqa: BLE001 - a plug-in's policy may raise anything, and the plan goes on
        return f"layer-lr policy {run.layer_lr.label}: {type(error).__name__}: {error}"
    shapes = {p.name: p.shape for p in params}
    trained = {name for group in groups for name in group.params}
    dense, sparse = ([p.name for p in params if p.name in trained and p.is_sparse is kind] for kind in (False, True))
    reasons = {
        "sparse": (
            bool(dense),
            f"{entry.name} accepts sparse gradients only, and those of {''.join(dense[:1])!r} are dense",
        ),
        "one_group": (
            len(groups) > 1,
            f"{entry.name} accepts one parameter group, and {run.layer_lr.label} makes {len(groups)}",
        ),
        "one_lr": (
            len({g.multiplier for g in groups}) > 1,
            f"{entry.name} accepts one lr for all groups, and {run.layer_lr.label} makes several",
        ),
        "only_2d": (not any(g.use_muon for g in groups), f"{entry.name} needs a {_matrix_of(run.optimizer)} to train"),
        "no_schedule": (
            not SCHEDULES[run.schedule.name].keeps_lr(run.schedule.settings),
            f"{entry.name} sets its lr over time itself: only the constant schedule applies",
        ),
        "closure": (
            run.precision == "fp16",
            f"{entry.name} steps on a closure, which gradient scaling (fp16) does not support",
        ),
    }
    for flag, (applies, reason) in reasons.items():
        if flag in entry.flags and applies:
            return reason
    if sparse and (refusal := _refuses_sparse(run.optimizer.model_dump_json())):
        return f"{run.optimizer.label}: {refusal}; the gradients of {sparse[0]!r} are sparse"
    return _unfit_schedule(run.schedule, run.optimizer) or _refused(run, groups, shapes)


def _matrix_of(optimizer: Choice) -> str:
    return (
        "2-D weight"
        if optimizer.settings.get("matrices", "all") == "all"
        else "hidden matrix, neither an embedding nor the head's,"
    )


def _refused(run: Run, groups: Sequence[Group], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why the optimizer's own class refuses its settings, such as Nesterov without momentum. This uses no memory."""
    reason = _refusal(run.optimizer.model_dump_json(), tuple(groups), tuple(shapes.items()))
    return reason and f"{run.optimizer.label}: {reason}"


@cache
def _refusal(optimizer: str, groups: tuple[Group, ...], shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> str | None:
    tensors = {name: torch.nn.Parameter(torch.empty(shape, device="meta")) for name, shape in shapes}
    try:
        built(Choice.model_validate_json(optimizer), [group.options(tensors, 1.0) for group in groups], 1.0)
    except ValueError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - not a matter of settings: the run will crash, and its outcome says how
        return None
    return None


@cache
def _refuses_sparse(optimizer: str) -> str | None:
    """The error of an optimizer given a sparse gradient, or None. One that refuses dense gradients too gives None."""
    choice, dense = Choice.model_validate_json(optimizer), torch.ones(2, 2)
    return None if _fault_with(choice, dense) else _fault_with(choice, dense.to_sparse(1))


def _fault_with(optimizer: Choice, gradient: torch.Tensor) -> str | None:
    """The error of an optimizer in two steps with a gradient, or None. At the second step it has a state."""
    tensor = torch.nn.Parameter(torch.ones(2, 2))
    try:
        made: Any = built(optimizer, [{"params": [tensor], "lr": 1.0}], 1.0)
        if swaps_weights(optimizer, made):
            made.train()
        with warnings.catch_warnings(action="ignore"):
            for _ in range(2):
                tensor.grad = gradient.clone()
                made.step()
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything
        return one_line(error, 200)
    return None


def _unfit_schedule(schedule: Choice, optimizer: Choice) -> str | None:
    if schedule.settings.get("cycle_momentum"):
        has_momentum = optimizer.settings.get("momentum", 0.0) > 0.0 or "betas" in optimizer.settings
        if "momentum" not in OPTIMIZERS[optimizer.name].flags or not has_momentum:
            return f"{schedule.label} cycles the momentum, and {optimizer.label} has none"
        if "only_2d" in OPTIMIZERS[optimizer.name].flags:
            return (
                f"{schedule.label} cycles one kind of momentum, and {optimizer.label} is of two optimizers that have "
                "different ones"
            )
    for name in schedule.settings.get("others", {}):
        shared = name == "weight_decay" or "only_2d" not in OPTIMIZERS[optimizer.name].flags
        if not isinstance(optimizer.settings.get(name), float) or not shared:
            return f"{schedule.label} changes {name}, and {optimizer.label} has no such number in every group"
    parts, milestones = schedule.settings.get("parts"), schedule.settings.get("milestones")
    if SCHEDULES[schedule.name].build is sequential and len(parts or ()) != len(milestones or ()) + 1:
        return f"{schedule.label} needs one milestone fewer than parts"
    return None
