"""Fashion-MNIST and a small convolutional network with BatchNorm.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747; see ``lrbench.workloads.fashion`` for where the images are found.
Known: 88 to 89 % validation accuracy within the budget, which is 1.4 passes over the data.
Licence: MIT.

Of the 5,000 validation images, 2,000 are used, so that evaluation stays cheaper than training on a CPU. The test, done
once, has all 10,000.
"""

from dataclasses import replace

from torch import nn
from torch.nn.functional import cross_entropy

from lrbench.workloads import fashion
from lrbench.workloads.base import ACCURACY, Data, Split, Workload
from lrbench.workloads.parts import cnn

VALIDATION = 2_000


def data() -> Data:
    """A fixed split: 55,000 images train, 2,000 validate, the official 10,000 test. x [n, 1, 28, 28], y [n].

    Raises: Unavailable, with the reason.
    """
    full = fashion.data()
    return replace(full, validation=Split(full.validation.x[:VALIDATION], full.validation.y[:VALIDATION]))


def model() -> nn.Module:
    """Three strided convolutions of 16, 32 and 64 channels with BatchNorm."""
    return cnn((1, 16, 32, 64), 10, pooled=2)


WORKLOAD = Workload(
    name="fashion-cnn",
    meaning="Fashion-MNIST, three convolutions with BatchNorm",
    source=fashion.SOURCE,
    cites=fashion.CITES,
    licence=fashion.LICENCE,
    data=data,
    model=model,
    layers=("conv1", "conv2", "conv3", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(55_000, 2_000, 10_000),
    target=0.87,
    target_reason=(
        "AdamW at 0.003, constant, reaches 87 % at steps 240 to 300 of 600 in 3 of 3 seeds; "
        "at 0.001 at steps 390 to 480"
    ),
    steps=600,
    batch_size=128,
    eval_every=30,
    missing=fashion.missing,
    prepared=fashion.is_here,
    stacks_evaluation=False,
)
