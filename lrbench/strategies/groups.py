"""From a policy's rates to parameter groups: every parameter in exactly one, or frozen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from lrbench.config.param import Param
from lrbench.strategies.layer_lr import Policy, Rate


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate. ``joins`` is the number of steps done when it is added to the optimizer."""

    name: str
    params: tuple[str, ...]
    multiplier: float
    joins: int
    weight_decay: float | None
    use_muon: bool | None = None
    """Whether its parameters are the matrices of an optimizer that steps matrices otherwise than the rest; None for any
    other optimizer."""

    def options(self, tensors: Mapping[str, Any], base_lr: float) -> dict[str, Any]:
        """The dict that ``torch.optim`` and ``add_param_group`` take, with no key that they do not know."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        kind = {} if self.use_muon is None else {"use_muon": self.use_muon}
        return {"params": [tensors[name] for name in self.params], "lr": base_lr * self.multiplier} | decay | kind


def param_groups(
    policy: Policy, params: Sequence[Param], steps: int, *, is_matrix: Callable[[Param], bool] | None = None
) -> list[Group]:
    """The groups that a policy makes of a model's parameters, in the order in which they join, then in the model's.

    Where ``is_matrix`` is given, the parameters that it accepts are kept apart from the others. What the model itself
    froze is in no group.

    Raises: ValueError when the policy leaves a parameter out, names an unknown one, uses a negative multiplier, or
    trains nothing at the start; when the model has nothing to train.
    """
    if all(p.is_frozen for p in params):
        raise ValueError("finds nothing to train: the model has no parameter that it does not freeze itself.")
    rates = policy(params)
    names = [p.name for p in params]
    if missing := [n for n in names if n not in rates]:
        raise ValueError(f"must cover each parameter once: missing {missing}. Use multiplier 0.0 to freeze.")
    if unknown := sorted(set(rates) - set(names)):
        raise ValueError(f"names parameters that the model does not have: {unknown}.")
    if odd := [n for n in names if not (0.0 <= rates[n].multiplier < inf and rates[n].joins >= 0)]:
        raise ValueError(f"gives {odd} a multiplier or a time to join that is negative or no number.")
    together: dict[tuple[Rate, bool | None], list[Param]] = {}
    for p in params:
        if rates[p.name].multiplier > 0.0 and not p.is_frozen:
            together.setdefault((rates[p.name], is_matrix and is_matrix(p)), []).append(p)
    found = _told_apart(
        [replace(_group(rate, members, steps), use_muon=kind) for (rate, kind), members in together.items()]
    )
    if not any(g.joins == 0 for g in found):
        raise ValueError(
            "trains no parameter at the start: at least one must join at step 0 with a multiplier above 0."
        )
    return sorted((g for g in found if g.joins < steps), key=lambda g: g.joins)


def _told_apart(groups: list[Group]) -> list[Group]:
    """The groups, with a number after a name that an earlier one has."""
    seen: Counter[str] = Counter()
    for i, group in enumerate(groups):
        seen[group.name] += 1
        if seen[group.name] > 1:
            groups[i] = replace(group, name=f"{group.name} ({seen[group.name]})")
    return groups


def _group(rate: Rate, members: Sequence[Param], steps: int) -> Group:
    joins = rate.joins if isinstance(rate.joins, int) else round(rate.joins * steps)
    layers = list(dict.fromkeys(p.layer_name for p in members))
    leaves = {p.name.rpartition(".")[2] for p in members}
    name = layers[0] if len(layers) == 1 else f"{layers[0]}..{layers[-1]}"
    name += f".{leaves.pop()}" if len(leaves) == 1 else ""
    return Group(name, tuple(p.name for p in members), rate.multiplier, joins, rate.weight_decay)
