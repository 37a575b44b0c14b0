"""Handwritten digits of 8x8 pixels and a small perceptron: the quickest classification.

Source: Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", doi:10.24432/C50P49; the copy inside
scikit-learn (the 1,797 images of the original test set). It has no official split; here, always the same, 30 images of
each digit validate, 30 test, and the other 1,197 train.
Known: 95 to 97 % validation accuracy within the budget.
Licence: the data CC BY 4.0 (UCI machine learning repository), scikit-learn BSD-3-Clause.
"""

from functools import cache

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lrbench.workloads.base import ACCURACY, Data, Split, Workload
from lrbench.workloads.parts import deal, mlp


@cache
def data() -> Data:
    """Images x [n, 64] in [0, 1] and digits y [n]; n is 1197, 300, 300."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = torch.from_numpy(bunch.data / 16).float(), torch.from_numpy(bunch.target).long()
    validation, test, train = (Split(x[part], y[part]) for part in deal(y, 30, 30))
    return Data(train, validation, test)


def model() -> nn.Module:
    """64-32-32-10, ReLU."""
    return mlp((64, 32, 32, 10))


WORKLOAD = Workload(
    name="digits-mlp",
    meaning="8x8 digits, perceptron 64-32-32-10",
    source="Alpaydin & Kaynak 1998, doi:10.24432/C50P49, through scikit-learn",
    cites=("alpaydin1998optical", "pedregosa2011scikit"),
    licence="CC BY 4.0",
    data=data,
    model=model,
    layers=("layer1", "layer2", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(1197, 300, 300),
    target=0.95,
    target_reason=(
        "AdamW at 0.01, constant, reaches 95 % at steps 150 to 165 of 300 in 3 of 3 seeds; at 0.003 at steps 255 to "
        "285 in 2 of 3"
    ),
    steps=300,
    batch_size=32,
    eval_every=30,
)
