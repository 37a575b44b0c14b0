"""Costs beside those measured before on the same machine: visits a minute apart cannot see that the machine is slower today."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from lrbench.analyse import CASE
from lrbench.cost.measure import AGREE
from lrbench.spec.cost import Costs, StepCost

SAME = ("threads", "torch")
"""The conditions under which two measurements are of the same thing."""
MANY = 10
"""The cases it takes to tell that the whole machine moved."""


def beside_earlier(found: Costs, earlier: Costs) -> Costs:
    """The costs found, those in doubt that differ by ``AGREE`` or more from the same case measured earlier, in the other direction too.

    Where most of ``MANY`` cases or more moved together, as they do with the machine, that is said once, as the condition ``moved``, and a
    case is in doubt if it differs by as much from the others' median ratio. ``conditions`` gain how the two measurements compare as wholes.
    Nothing is compared where torch or the threads are others.
    """
    if any(found.conditions.get(name) != earlier.conditions.get(name) for name in SAME):
        return found
    before = {_case(cost): cost.seconds for cost in earlier.costs if cost.seconds}
    ratios = [cost.seconds / before[_case(cost)] if cost.seconds and _case(cost) in before else None for cost in found.costs]
    known = [ratio for ratio in ratios if ratio]
    if not known:
        return found
    middle = median(known)
    together = sum(agrees(ratio / middle) for ratio in known)
    shift = middle if not agrees(middle) and len(known) >= MANY and 2 * together > len(known) else 1.0
    marked = tuple(_marked(cost, ratio, shift) for cost, ratio in zip(found.costs, ratios, strict=True))
    conditions = {"against_the_measurement_before": _as_a_whole(known)}
    if shift != 1.0:
        conditions["moved"] = f"the median step is {_change(shift)} than when measured before"
    return replace(found, costs=marked, conditions=found.conditions | conditions)


def _case(cost: StepCost) -> tuple[Any, ...]:
    return (cost.device, *(getattr(cost, name) for name in CASE))


def agrees(ratio: float) -> bool:
    """Whether two medians with this ratio differ by less than ``AGREE``, whichever is the greater."""
    return max(ratio, 1.0 / ratio) < 1.0 + AGREE


def _change(ratio: float) -> str:
    return f"{100 * (max(ratio, 1.0 / ratio) - 1.0):.0f} % {'slower' if ratio > 1.0 else 'faster'}"


def _marked(cost: StepCost, ratio: float | None, shift: float) -> StepCost:
    if ratio is None or agrees(ratio / shift):
        return cost
    told = f"{_change(ratio)} than when measured before" if not agrees(ratio) else "as when measured before"
    return replace(cost, noise=(*cost.noise, told if shift == 1.0 else f"{told}, the median step {_change(shift)}"))


def _as_a_whole(known: Sequence[float]) -> str:
    return f"{sum(map(agrees, known))} of {len(known)} cases within {100 * AGREE:.0f} %, median ratio {median(known):.3f}"
