"""Costs beside those measured before on the same machine: visits a minute apart cannot see that the machine is slower today."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from lrbench.analyse import CASE
from lrbench.cost.measure import AGREE
from lrbench.spec.cost import Costs, StepCost

SAME = ("threads", "torch")
"""The conditions under which two measurements are of the same thing."""


def beside_earlier(found: Costs, earlier: Costs) -> Costs:
    """The costs found, those in doubt that differ by ``AGREE`` or more from the same case measured earlier, in the other direction too.

    ``conditions`` gain how the two measurements compare as wholes. Nothing is compared where torch or the threads are others.
    """
    if any(found.conditions.get(name) != earlier.conditions.get(name) for name in SAME):
        return found
    before = {_case(cost): cost.seconds for cost in earlier.costs if cost.seconds}
    ratios = [cost.seconds / before[_case(cost)] if cost.seconds and _case(cost) in before else None for cost in found.costs]
    if not any(ratios):
        return found
    marked = tuple(_marked(cost, ratio) for cost, ratio in zip(found.costs, ratios, strict=True))
    return replace(found, costs=marked, conditions=found.conditions | {"against_the_measurement_before": _as_a_whole(ratios)})


def _case(cost: StepCost) -> tuple[Any, ...]:
    return (cost.device, *(getattr(cost, name) for name in CASE))


def agrees(ratio: float) -> bool:
    """Whether two medians with this ratio differ by less than ``AGREE``, whichever is the greater."""
    return max(ratio, 1.0 / ratio) < 1.0 + AGREE


def _marked(cost: StepCost, ratio: float | None) -> StepCost:
    if ratio is None or agrees(ratio):
        return cost
    told = f"{100 * (max(ratio, 1.0 / ratio) - 1.0):.0f} % {'slower' if ratio > 1.0 else 'faster'} than when measured before"
    return replace(cost, noise=(*cost.noise, told))


def _as_a_whole(ratios: Iterable[float | None]) -> str:
    known: Sequence[float] = [ratio for ratio in ratios if ratio]
    return f"{sum(map(agrees, known))} of {len(known)} cases within {100 * AGREE:.0f} %, median ratio {median(known):.3f}"
