"""Fashion-MNIST and a perceptron with LayerNorm.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747; see ``lrbench.workloads.fashion`` for where the images are found.
Known: 87 % validation accuracy within the budget, which is 1.4 passes over the data.
Licence: MIT.
"""

from torch import nn
from torch.nn.functional import cross_entropy

from lrbench.workloads import fashion
from lrbench.workloads.base import ACCURACY, Workload
from lrbench.workloads.parts import mlp


def model() -> nn.Module:
    """784-256-128-10, LayerNorm before each ReLU."""
    return mlp((784, 256, 128, 10), norm=True)


WORKLOAD = Workload(
    name="fashion-mlp",
    meaning="Fashion-MNIST, perceptron 784-256-128-10 with LayerNorm",
    source=fashion.SOURCE,
    cites=fashion.CITES,
    licence=fashion.LICENCE,
    data=fashion.data,
    model=model,
    layers=("layer1", "layer2", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(55_000, 5_000, 10_000),
    target=0.86,
    target_reason=("AdamW at 0.001 and 0.003, constant, reaches 86 % at steps 300 to 390 of 600 in 3 of 3 seeds"),
    steps=600,
    batch_size=128,
    eval_every=30,
    missing=fashion.missing,
    prepared=fashion.is_here,
)
