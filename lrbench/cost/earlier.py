"""Costs beside those measured before on the same machine: visits a minute apart cannot see that the machine is slower today."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from lrbench.analyse import CASE
from lrbench.config.cost import Costs, StepCost
from lrbench.cost.measure import AGREE
from lrbench.stats.curves import MAD_TO_DEVIATION

SAME = ("threads", "torch")
"""The conditions under which two measurements are of the same thing."""
MANY = 10
"""The cases it takes to tell that the whole machine moved."""
FEW = 0.1
"""The share of cases that may differ from before without a word on the machine: each of them is marked."""
SPREAD = 3.0
"""On a machine that moved, a case is as the others if it lies within so many robust deviations of the median ratio."""
WIDEST = 0.2
"""The most that these deviations may come to: cases that differ by more from the median ratio did not move with it."""


def beside_earlier(found: Costs, earlier: Costs) -> Costs:
    """The costs found, those in doubt that differ by ``AGREE`` or more from the same case measured earlier, in the other direction too.

    Where more than ``FEW`` of ``MANY`` cases or more did, and most of all moved together, as they do with the machine,
    that is said once, as the condition ``moved``. A case is then in doubt if it did not move with the others.
    ``conditions`` gain how the two measurements compare as wholes. Nothing is compared where torch or the threads are
    others.
    """
    if any(found.conditions.get(name) != earlier.conditions.get(name) for name in SAME):
        return found
    before = {_case(cost): cost.seconds for cost in earlier.costs if cost.seconds}
    ratios = [
        cost.seconds / before[_case(cost)] if cost.seconds and _case(cost) in before else None for cost in found.costs
    ]
    known = [ratio for ratio in ratios if ratio]
    if not known:
        return found
    conditions = {"against_the_measurement_before": _as_a_whole(known)}
    middle, limit, has_moved = _movement(known)
    if has_moved:
        conditions["moved"] = (
            f"the median step is {_change(middle)} than when measured before, and a case is in doubt only if it "
            f"differs "
            f"by {100 * limit:.0f} % or more from that"
        )
    marked = tuple(_marked(cost, ratio, middle, limit) for cost, ratio in zip(found.costs, ratios, strict=True))
    return replace(found, costs=marked, conditions=found.conditions | conditions)


def _movement(ratios: Sequence[float]) -> tuple[float, float, bool]:
    """By which ratio all cases moved, how far from it a case may lie, and whether that is the machine's doing."""
    middle = median(ratios)
    away = median(max(ratio / middle, middle / ratio) - 1.0 for ratio in ratios)
    limit = min(max(AGREE, SPREAD * MAD_TO_DEVIATION * away), WIDEST)
    together = sum(agrees(ratio / middle, limit) for ratio in ratios)
    differ = sum(not agrees(ratio) for ratio in ratios)
    if len(ratios) >= MANY and differ > FEW * len(ratios) and 2 * together > len(ratios):
        return middle, limit, True
    return 1.0, AGREE, False


def _case(cost: StepCost) -> tuple[Any, ...]:
    return (cost.device, *(getattr(cost, name) for name in CASE))


def agrees(ratio: float, limit: float = AGREE) -> bool:
    """Whether two medians with this ratio differ by less than a share, whichever is the greater."""
    return max(ratio, 1.0 / ratio) < 1.0 + limit


def _change(ratio: float) -> str:
    return f"{100 * (max(ratio, 1.0 / ratio) - 1.0):.0f} % {'slower' if ratio > 1.0 else 'faster'}"


def _marked(cost: StepCost, ratio: float | None, middle: float, limit: float) -> StepCost:
    if ratio is None or agrees(ratio / middle, limit):
        return cost
    told = f"{_change(ratio)} than when measured before" if not agrees(ratio) else "as when measured before"
    return replace(cost, noise=(*cost.noise, told if middle == 1.0 else f"{told}, the median step {_change(middle)}"))


def _as_a_whole(known: Sequence[float]) -> str:
    return (
        f"{sum(map(agrees, known))} of {len(known)} cases within {100 * AGREE:.0f} %, median ratio {median(known):.3f}"
    )
