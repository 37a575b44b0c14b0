"""5,000 MNIST images and a small convolutional network with BatchNorm.

Source: LeCun et al. 1998, doi:10.1109/5.726791; see ``lrbench.workloads.mnist5k`` for the sample and its split.
Known: 96 to 97 % validation accuracy within the budget.
Licence: CC BY-SA 3.0.
"""

from torch import nn
from torch.nn.functional import cross_entropy

from lrbench.workloads import mnist5k
from lrbench.workloads.base import ACCURACY, Workload
from lrbench.workloads.parts import cnn


def model() -> nn.Module:
    """Three strided convolutions of 16, 32 and 64 channels with BatchNorm."""
    return cnn((1, 16, 32, 64), 10, pooled=2)


WORKLOAD = Workload(
    name="mnist5k-cnn",
    meaning="5,000 MNIST images, three convolutions with BatchNorm",
    source=mnist5k.SOURCE,
    cites=mnist5k.CITES,
    licence=mnist5k.LICENCE,
    data=mnist5k.data,
    model=model,
    layers=("conv1", "conv2", "conv3", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(4000, 500, 500),
    target=0.95,
    target_reason=(
        "AdamW at 0.003, constant, reaches 95 % at step 150 of 300 in 3 of 3 seeds; at 0.001 at steps 255 to 270"
    ),
    steps=300,
    batch_size=64,
    eval_every=15,
    missing=mnist5k.missing,
    stacks_evaluation=False,
)
