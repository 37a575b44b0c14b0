"""5,000 MNIST images and a perceptron with LayerNorm.

Source: LeCun et al. 1998, doi:10.1109/5.726791; see ``lrbench.workloads.mnist5k`` for the sample and its split.
Known: 93 to 95 % validation accuracy within the budget. To get more, it needs more images, not more training.
Licence: CC BY-SA 3.0.
"""

from torch import nn
from torch.nn.functional import cross_entropy

from lrbench.workloads import mnist5k
from lrbench.workloads.base import ACCURACY, Workload
from lrbench.workloads.parts import mlp


def model() -> nn.Module:
    """784-128-64-10, LayerNorm before each ReLU."""
    return mlp((784, 128, 64, 10), norm=True)


WORKLOAD = Workload(
    name="mnist5k-mlp",
    meaning="5,000 MNIST images, perceptron 784-128-64-10 with LayerNorm",
    source=mnist5k.SOURCE,
    cites=mnist5k.CITES,
    licence=mnist5k.LICENCE,
    data=mnist5k.data,
    model=model,
    layers=("layer1", "layer2", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(4000, 500, 500),
    target=0.92,
    target_reason=(
        "AdamW at 0.003, constant, reaches 92 % at steps 160 to 200 of 400 in 3 of 3 seeds; "
        "at 0.0003 at steps 320 to 380"
    ),
    steps=400,
    batch_size=64,
    eval_every=20,
    missing=mnist5k.missing,
)
