"""Logistic regression on the Wisconsin breast cancer data: a convex workload with a known optimum.

Source: Street, Wolberg & Mangasarian 1993, "Nuclear feature extraction for breast tumor diagnosis",
doi:10.1117/12.148698; the copy inside scikit-learn, 569 examples of 30 features, each standardised by its mean and
sample standard deviation.
Known: with an L2 penalty of 0.5e-3 |w|^2 on the weights (not the bias), the minimum of the objective is ``OPTIMUM``.
The Hessian is largest at zero, where its largest eigenvalue is ``EIGENVALUE``: full-batch gradient descent never climbs
at an lr below 2 / 3.31557 = 0.6032. At the optimum that eigenvalue is ``EIGENVALUE_AT_OPTIMUM``: gradient descent
converges there up to lr 2 / 0.139664 = 14.3.
Licence: the data CC BY 4.0 (UCI machine learning repository, doi:10.24432/C5DW2B), scikit-learn BSD-3-Clause.

This is a problem of optimisation, not of generalisation: training, validation and test are the same 569 examples, the
batch is all of them, and the metric is the objective itself, so that its distance to the optimum is known. Training
starts at zero for every seed, so seeds differ in rounding at most.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lrbench.workloads.base import Data, Metric, Split, Workload

L2 = 1e-3
OPTIMUM = 0.0598461
EIGENVALUE = 3.31557
EIGENVALUE_AT_OPTIMUM = 0.139664


class Logistic(nn.Module):
    """A logit and the L2 penalty for every example: x [n, 30] to outputs [n, 2].

    The penalty travels with the outputs, so that loss and metric, which see nothing else, are both the whole objective.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(30, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Column 0: logits; column 1: the penalty, repeated."""
        logit = self.linear(x)[:, 0]
        penalty = 0.5 * L2 * self.linear.weight.square().sum()
        return torch.stack([logit, penalty.to(logit.dtype).expand_as(logit)], dim=-1)


@cache
def data() -> Data:
    """All 569 examples, three times: x [569, 30], y [569], 1 = benign."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    x = torch.from_numpy(bunch.data)
    x = (x - x.mean(0)) / x.std(0)
    examples = Split(x.float(), torch.from_numpy(bunch.target).long())
    return Data(examples, examples, examples)


def objective(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy plus the penalty; outputs [n, 2], y [n]."""
    logit, penalty = outputs.unbind(-1)
    return binary_cross_entropy_with_logits(logit, y.to(logit.dtype)) + penalty.mean()


WORKLOAD = Workload(
    name="cancer-logistic",
    meaning="full-batch logistic regression with L2, a convex problem with a known optimum (train = validation = test)",
    source="Street, Wolberg & Mangasarian 1993, doi:10.1117/12.148698, through scikit-learn",
    cites=("street1993nuclear", "pedregosa2011scikit"),
    licence="CC BY 4.0",
    data=data,
    model=Logistic,
    layers=("linear",),
    loss=objective,
    lowest_loss=0.0,
    has_known_answer=True,
    metric=Metric("loss", higher_is_better=False, of=objective, limits=(0.0, math.inf), is_mean=True, unit="loss"),
    examples=(569, 569, 569),
    target=0.061,
    target_reason=(
        "within 2 % of the optimum 0.0598; constant, gradient descent at 4 reaches it at step 90 of 200, at 2 at step "
        "180, at 0.6 not at all; Adam at 0.3 at step 90, at 0.1 at step 140, at 0.03 not at all"
    ),
    steps=200,
    batch_size=569,
    eval_every=10,
)
