"""Convolutions as matrix products, for GPUs: ``vmap`` makes a grouped convolution of N runs, which cuDNN computes many times slower."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Columns = Callable[[Tensor, Sequence[int], Sequence[int], Sequence[int], Sequence[int]], Tensor]
"""Of x [B, C, H, W], a kernel's size, dilation, padding and stride: what the kernel sees at each of L places, [B, C * kh * kw, L]."""


def unfolded(x: Tensor, size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]) -> Tensor:
    """By PyTorch's own kernels: one each way, and the way back adds in a fixed order."""
    return functional.unfold(x, size, dilation, padding, stride)  # type: ignore[arg-type] # sequences of two


def sliced(x: Tensor, size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]) -> Tensor:
    """By slices, which a compiler fuses; of ``unfolded`` it would make additions in an order that changes from call to call."""
    x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    h, w = ((x.shape[2 + i] - dilation[i] * (size[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    seen = [
        x[:, :, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]][:, :, :h, :w] for i in range(size[0]) for j in range(size[1])
    ]
    return torch.stack(seen, 2).reshape(x.shape[0], -1, h * w)


class Products(TorchFunctionMode):
    """Within it, ``conv2d`` with one group is a product of its weights and columns; all else is as ever.

    Takes the kernel's area times the memory of a convolution.
    """

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.conv2d and (found := self._product(*args, **kwargs)) is not None:
            return found
        return function(*args, **kwargs)

    def _product(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Tensor | None:
        if groups != 1 or x.ndim != 4 or isinstance(padding, str):
            return None
        stride, padding, dilation = (value if isinstance(value, Sequence) else (value, value) for value in (stride, padding, dilation))
        size = weight.shape[2:]
        h, w = ((x.shape[2 + i] + 2 * padding[i] - dilation[i] * (size[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
        out = torch.einsum("ok,bkl->bol", weight.flatten(1), self.columns(x, size, dilation, padding, stride))
        out = out.view(x.shape[0], weight.shape[0], h, w)
        return out if bias is None else out + bias[:, None, None]
