"""Three independent quadratic bowls: the workload whose every step is known in closed form.

Source: the textbook convex quadratic, 0.5 h w^2; see Goh 2017, "Why Momentum Really Works", doi:10.23915/distill.00006.
Known: from w = 1, gradient descent at lr leaves w_k = (1 - lr h)^k, so a layer of curvature h converges exactly when lr
< 2 / h, and fastest at lr = 1 / h. With one lr for all, the steep layer limits the lr, and the flat layer is then the
slowest.
Licence: none needed; there are no data.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from lrbench.workloads.base import Data, Metric, Split, Workload

CURVATURES = {"flat": 0.1, "medium": 1.0, "steep": 10.0}
"""Second derivative of the loss by each entry of each layer."""
ENTRIES = 4
"""Entries of each layer's parameter vector."""
INITIAL_LOSS = 0.5 * ENTRIES * sum(CURVATURES.values())


class Bowls(nn.Module):
    """0.5 * sum(h w^2), the same for every example of a batch: x [n, 1] to outputs [n].

    It starts at w = 1 for every seed, so that the closed form holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.ones(ENTRIES))
        self.medium = nn.Parameter(torch.ones(ENTRIES))
        self.steep = nn.Parameter(torch.ones(ENTRIES))

    def forward(self, x: Tensor) -> Tensor:
        """The height of the bowls, once per example."""
        bowls = zip(CURVATURES.values(), (self.flat, self.medium, self.steep), strict=True)
        return torch.stack([0.5 * h * w.square().sum() for h, w in bowls]).sum() + 0.0 * x[:, 0]


@cache
def data() -> Data:
    """One empty example: x [1, 1], y [1]."""
    nothing = Split(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
    return Data(nothing, nothing, nothing)


def mean(outputs: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - every loss is given the labels
    """Mean height over the batch; outputs [n], y unused."""
    return outputs.mean()


WORKLOAD = Workload(
    name="quadratic",
    meaning="three quadratic layers of curvature 0.1, 1 and 10; every step known in closed form",
    source="textbook convex quadratic",
    cites=("goh2017momentum",),
    licence="no data",
    data=data,
    model=Bowls,
    layers=tuple(CURVATURES),
    loss=mean,
    lowest_loss=0.0,
    has_known_answer=True,
    metric=Metric("loss", higher_is_better=False, of=mean, limits=(0.0, math.inf), is_mean=True, unit="loss"),
    examples=(1, 1, 1),
    target=1e-4 * INITIAL_LOSS,
    target_reason=(
        "gradient descent at 0.19, constant, just below the largest stable lr 0.2, reaches a ten-thousandth of the "
        "initial loss at step 120 of 200, Adam at 0.1 at step 50, at 0.03 and 1 at step 90"
    ),
    steps=200,
    batch_size=1,
    eval_every=10,
)
