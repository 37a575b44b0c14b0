"""Parts of several workloads: a balanced fixed split, a multilayer perceptron, a convolutional network.

The models have no data-dependent control flow, and change nothing in place but BatchNorm's buffers. So
``torch.func.functional_call`` under ``vmap(grad)`` can train many of them at once.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


def deal(y: Tensor, *per_class: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Split examples into parts with the given number of each class, and a last part with the rest.

    Every part is shuffled, with the classes in turn, so that the beginning of a part is balanced too.
    The shuffle uses NumPy's legacy generator, whose stream NumPy promises never to change.

    Shapes: y [n], integer labels; returns ``len(per_class) + 1`` index tensors.

    >>> [part.tolist() for part in deal(torch.tensor([0, 0, 0, 1, 1, 1]), 1)]
    [[2, 5], [1, 3, 0, 4]]
    """
    shuffled = np.random.RandomState(seed).permutation(len(y))
    label = y.numpy()[shuffled]
    rank = np.empty_like(shuffled)
    for c in np.unique(label):
        rank[label == c] = np.arange((label == c).sum())
    dealt = shuffled[np.lexsort((label, rank))]
    ends = np.cumsum(per_class, dtype=np.int64) * len(np.unique(label))
    return tuple(torch.from_numpy(part) for part in np.split(dealt, ends))


def mlp(sizes: Sequence[int], norm: bool = False) -> nn.Sequential:
    """Flatten, then ``layer1``, ``layer2``, ... (linear, optionally LayerNorm, ReLU), then a linear ``head``.

    Shapes: x [n, ...] with ``sizes[0]`` values an example; outputs [n, sizes[-1]].
    """
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    for i, (before, after) in enumerate(pairwise(sizes[:-1]), start=1):
        layer = nn.Sequential()
        layer.add_module("linear", nn.Linear(before, after))
        if norm:
            layer.add_module("norm", nn.LayerNorm(after))
        layer.add_module("relu", nn.ReLU())
        model.add_module(f"layer{i}", layer)
    model.add_module("head", nn.Linear(sizes[-2], sizes[-1]))
    return model


def cnn(
    channels: Sequence[int], classes: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d, pooled: int = 1
) -> nn.Sequential:
    """``conv1``, ``conv2``, ... (3x3 convolution of stride 2, norm, ReLU), average pooling, then a linear ``head``.

    The pooling leaves ``pooled x pooled`` positions. Strided convolutions cost a third of full-resolution ones.
    Shapes: x [n, channels[0], height, width]; outputs [n, classes].
    """
    model = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(channels), start=1):
        layer = nn.Sequential()
        layer.add_module("conv", nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False))
        layer.add_module("norm", norm(after))
        layer.add_module("relu", nn.ReLU())
        model.add_module(f"conv{i}", layer)
    model.add_module("pool", nn.AdaptiveAvgPool2d(pooled))
    model.add_module("flatten", nn.Flatten())
    model.add_module("head", nn.Linear(channels[-1] * pooled**2, classes))
    return model
