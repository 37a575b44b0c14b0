"""The parameter groups of a layer-lr policy, seen from the parameters."""

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np

from lrbench.strategies.groups import Group
from lrbench.strategies.pacer import Lrs


@dataclass(frozen=True)
class Layout:
    """The groups, and the parameters of the model: ``names``, P of them."""

    groups: tuple[Group, ...]
    names: tuple[str, ...]

    @cached_property
    def group_of(self) -> list[int]:
        """[P] the group that each parameter is in; the number of groups for a frozen one."""
        home = {name: i for i, group in enumerate(self.groups) for name in group.params}
        return [home.get(name, len(self.groups)) for name in self.names]

    @cached_property
    def joins(self) -> list[float]:
        """[P] the steps done when each parameter starts to move; infinite for a frozen one."""
        return [group.joins if group else inf for group in self._homes]

    @cached_property
    def weight_decay(self) -> list[float | None]:
        """[P] what a group sets in the place of the optimizer's."""
        return [group.weight_decay if group else None for group in self._homes]

    @property
    def _homes(self) -> list[Group | None]:
        return [(*self.groups, None)[i] for i in self.group_of]

    def per_parameter(self, lrs: Lrs) -> Lrs:
        """[..., G] lrs of the groups -> [..., P] of the parameters; 0 for a frozen one."""
        return np.concatenate([lrs, np.zeros((*lrs.shape[:-1], 1))], -1)[..., self.group_of]
