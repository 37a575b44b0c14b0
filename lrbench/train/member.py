"""A member of a population: a run with its layout, its timing and its lrs, apart from the tensors."""

from dataclasses import dataclass, field
from functools import cache, cached_property
from math import inf
from typing import Any

import numpy as np

from lrbench.config.run import Choice, Run
from lrbench.strategies import SCHEDULES, Pacer, Timing, audit_run, lr_table
from lrbench.strategies.layer_lr import Group
from lrbench.strategies.pacer import Lrs
from lrbench.strategies.schedules import stand_in


@dataclass(frozen=True)
class Layout:
    """The parameter groups of a policy, seen from the model's P parameters, ``names``."""

    groups: tuple[Group, ...]
    names: tuple[str, ...]

    @cached_property
    def group_of(self) -> list[int]:
        """[P] the group of each parameter; for a frozen one, the number of groups."""
        home = {name: i for i, group in enumerate(self.groups) for name in group.params}
        return [home.get(name, len(self.groups)) for name in self.names]

    @cached_property
    def joins(self) -> list[float]:
        """[P] the steps done when each parameter starts to train; infinite for a frozen one."""
        return [group.joins if group else inf for group in self._homes]

    @cached_property
    def weight_decay(self) -> list[float | None]:
        """[P] the weight decay that a group sets in place of the optimizer's."""
        return [group.weight_decay if group else None for group in self._homes]

    @property
    def _homes(self) -> list[Group | None]:
        return [(*self.groups, None)[i] for i in self.group_of]

    def per_parameter(self, lrs: Lrs) -> Lrs:
        """[..., G] lrs of the groups -> [..., P] of the parameters; 0 for a frozen one."""
        return np.concatenate([lrs, np.zeros((*lrs.shape[:-1], 1))], -1)[..., self.group_of]


@dataclass
class Member:
    """A run under way: its layout, its timing, and the lrs of its steps."""

    run: Run
    layout: Layout
    timing: Timing
    together: int = 1
    """How many members the population had when this one entered, itself included."""
    pacer: Pacer | None = None
    """For a closed-loop schedule: its own scheduler, over groups that train nothing."""
    idle: Any = None
    lrs: Lrs = field(init=False)
    """[T, G] the lr of each group at each step; for a closed-loop schedule, as far as known."""

    def __post_init__(self) -> None:
        multipliers = tuple(group.multiplier for group in self.layout.groups)
        if "closed_loop" in SCHEDULES[self.run.schedule.name].flags:
            self.idle = stand_in([self.run.lr * multiplier for multiplier in multipliers])
            self.pacer = Pacer(self.run.schedule, self.idle, self.timing)
            self.lrs = np.full((self.timing.steps, len(multipliers)), np.nan)
        else:
            scale, base = self._scale()
            self.lrs = scale * _table(self.run.schedule.model_dump_json(), base, multipliers, self.timing)

    def _scale(self) -> tuple[float, float]:
        """A factor and a base lr whose product is the run's base lr.

        Built-in schedules scale with the base lr, so that runs share one table. A plug-in's schedule may not scale.
        """
        return (1.0, self.run.lr) if self.run.schedule.is_plugin else (self.run.lr, 1.0)

    def look_ahead(self, done: int, steps: int) -> Lrs:
        """Record and return the lrs that a closed-loop schedule sets for the next steps, [steps, G]."""
        self.lrs[done : done + steps] = [float(group["lr"]) for group in self.idle.param_groups]
        return self.lrs[done : done + steps]

    def used(self, steps: int) -> Lrs:
        """[steps, G] the lr of each group at each step taken; NaN before the group joined."""
        lrs = self.lrs[:steps].copy()
        lrs[np.arange(steps)[:, None] < [group.joins for group in self.layout.groups]] = np.nan
        return lrs

    def fault(self, steps: int, seen: Any) -> str | None:
        """Where lrs in use were not base lr x layer multiplier x schedule, or None. ``seen`` [E, 2]: evaluations."""
        if self.pacer:
            used = self.used(steps)
            return audit_run(
                used, self.run.schedule, self.run.lr, self.timing, self.layout.groups, evaluations=seen.tolist()
            )
        scale, base = self._scale()
        known = _known_fault(self.run.schedule.model_dump_json(), base, self.layout.groups, self.timing)
        return known if known is None or scale == 1.0 else f"{known} (at {scale:g} times these lrs)"


@cache
def _known_fault(schedule: str, base_lr: float, groups: tuple[Group, ...], timing: Timing) -> str | None:
    """The audit of the lr table that open-loop members share: all groups against the schedule of one group."""
    used = _table(schedule, base_lr, tuple(group.multiplier for group in groups), timing).copy()
    used[np.arange(len(used))[:, None] < [group.joins for group in groups]] = np.nan
    return audit_run(used, Choice.model_validate_json(schedule), base_lr, timing, groups)


@cache
def _table(schedule: str, base_lr: float, multipliers: tuple[float, ...], timing: Timing) -> Lrs:
    return lr_table(Choice.model_validate_json(schedule), [base_lr * m for m in multipliers], timing)
