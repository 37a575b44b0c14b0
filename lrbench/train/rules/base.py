"""What an update rule is, and how an optimizer's settings select one."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from lrbench.strategies import OPTIMIZERS

State = dict[str, Tensor]
"""The state of one stacked parameter, by name; tensors [N, ...]."""
Hyper = Mapping[str, Tensor]
"""The float settings, one value per run and parameter, shaped [N, 1, ..., 1] to broadcast over the parameter."""

SPLIT = {"betas": ("beta1", "beta2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")}
"""The names in Hyper of the parts of a setting with several numbers."""


@dataclass(frozen=True)
class Rule:
    """An optimizer's arithmetic for one parameter of N stacked runs.

    ``start(p, h)`` makes the state of a parameter before its first step. ``update(p, g, s, lr, t, h)`` takes one step
    in place, on ``p`` and on the tensors of ``s``; ``lr`` and ``t``, the count of this parameter's steps from 1, are
    [N, 1, ..., 1] in p's dtype. Members do not see each other, and no value leaves the device, so that a rule can be
    compiled or replayed as a CUDA graph.
    """

    start: Callable[[Tensor, Hyper], State]
    update: Callable[[Tensor, Tensor, State, Tensor, Tensor, Hyper], None]


@dataclass(frozen=True)
class Entry:
    """A rule for all structures: both functions take the structural settings as keywords."""

    start: Callable[..., State]
    update: Callable[..., None]
    switches: tuple[str, ...]
    has_kinds: bool = False
    agrees_within: float = 1e-9
    """How far its weights, losses and lrs may be from those of the optimizer itself after 50 steps in float64."""


RULES: dict[str, Entry] = {}
"""The rules by the name of their optimizer. The reference trainer trains optimizers that are not here."""


def rule(
    name: str,
    start: Callable[..., State],
    switches: tuple[str, ...] = (),
    *,
    has_kinds: bool = False,
    agrees_within: float = 1e-9,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter an update function for an optimizer.

    It and ``start`` get every setting that is no float as a keyword; for a float in ``switches`` they get whether it is
    above 0. All floats are in Hyper, with names as in ``SPLIT``. With ``has_kinds``, for an optimizer that treats
    matrices differently, both get the keyword ``is_matrix``. ``agrees_within`` is the relative difference from the
    optimizer itself that ``lrbench verify`` allows.
    """

    def enter(update: Callable[..., None]) -> Callable[..., None]:
        RULES[name] = Entry(start, update, switches, has_kinds, agrees_within)
        OPTIMIZERS.extend(name, update)
        _rule.cache_clear()
        return update

    return enter


def structure(name: str, settings: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """The settings that select the variant of a rule. Runs of equal structure share one.

    >>> structure("sgd", {"momentum": 0.9})
    ('sgd', ('momentum', True), ('nesterov', False))
    """
    values = OPTIMIZERS[name].resolve(settings)
    flags = {key: value for key, value in values.items() if not _is_number(value)}
    switches = {key: values[key] > 0.0 for key in _entry(name).switches}
    return (name, *sorted((flags | switches).items()))


def numbers(name: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """The float settings, by their names in Hyper.

    >>> numbers("adam", {"eps": 1e-6})
    {'beta1': 0.9, 'beta2': 0.999, 'eps': 1e-06, 'weight_decay': 0.0}
    """
    floats: dict[str, float] = {}
    for key, value in OPTIMIZERS[name].resolve(settings).items():
        if _is_number(value):
            floats |= dict(zip(SPLIT[key], value, strict=True)) if isinstance(value, tuple) else {key: value}
    return floats


def rule_for(name: str, settings: Mapping[str, Any], *, is_matrix: bool = False) -> Rule:
    """The rule of an optimizer with these settings, for a parameter. Equal structures have the same object.

    Raises: LookupError when the optimizer has no rule.
    """
    kind = [("is_matrix", is_matrix)] if _entry(name).has_kinds else []
    return _rule(*structure(name, settings), *kind)


@cache
def _rule(name: str, *flags: tuple[str, Hashable]) -> Rule:
    entry, chosen = RULES[name], dict(flags)
    return Rule(partial(entry.start, **chosen), partial(entry.update, **chosen))


def _entry(name: str) -> Entry:
    if name not in RULES:
        raise LookupError(
            f"{name!r} has no rule for stacked runs: the reference trainer trains it. Rules: "
            f"{', '.join(sorted(RULES))}."
        )
    return RULES[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, tuple) and all(isinstance(v, float) for v in value))


# ---- parts of the formulas


def zeros(*names: str) -> Callable[..., State]:
    """A ``start`` of zeros in the parameter's shape, by these names."""
    return lambda p, h, **_: {name: torch.zeros_like(p) for name in names}


def decayed(p: Tensor, g: Tensor, h: Hyper) -> Tensor:
    """The gradient of loss + weight_decay / 2 x |p|^2: weight decay as L2 regularisation."""
    return torch.addcmul(g, p, h["weight_decay"])


def filled(beta: Tensor, t: Tensor) -> Tensor:
    """1 - beta^t: the total weight of the values in an exponential average that started at 0. It corrects the bias.

    It uses expm1, since 1 - beta^t loses four digits to cancellation in float32, and not pow, whose last bit depends on
    a value's place in the tensor on the CPU.
    """
    return -torch.expm1(t * beta.log())


def add_square(average: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    """Do average <- beta average + (1 - beta) g^2, in place."""
    return average.mul_(beta).addcmul_(g, g * (1 - beta))


def norm(x: Tensor) -> Tensor:
    """Each run's Euclidean norm over the whole parameter. Shapes: x [N, ...] -> [N, 1, ..., 1]."""
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True) if x.ndim > 1 else x.abs()
