"""The way of lrbench's own kernels into functions that are compiled. Apart from them, since PyTorch's compiler takes a second to import."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass

from lrbench.device import kernels

LARGEST = 1024
"""Products with a longer side than this are left to PyTorch's libraries, which are made for them."""


class OwnKernels(CustomGraphPass):
    """Put lrbench's operators in the place of small float32 or float64 products and grouped convolutions, in a graph to be compiled."""

    def __call__(self, graph: fx.Graph) -> None:
        """Change the graph."""
        for node in list(graph.nodes):
            if node.target is torch.ops.aten.bmm.default and _is_small(node.args[0], node.args[1]):
                node.target = torch.ops.lrbench.matmul.default
            elif node.target is torch.ops.aten.convolution.default:
                _own_convolution(node)
            elif node.target is torch.ops.aten.convolution_backward.default:
                _own_gradients(graph, node)

    def uuid(self) -> bytes:
        """What compiled graphs are cached under, beside the graph."""
        return hashlib.sha256(kernels.SOURCE.read_bytes() + Path(__file__).read_bytes()).digest()


def _is_small(*nodes: Any) -> bool:
    values = [node.meta["val"] for node in nodes]
    return all(
        value.device.type == "cpu"
        and value.dtype in (torch.float32, torch.float64)
        and all(isinstance(side, int) and side > 0 for side in value.shape)
        and max(value.shape[-2:]) <= LARGEST
        for value in values
    )


def _geometry(
    x: Any, w: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, groups: int
) -> tuple[int, ...] | None:
    """(stride, stride, padding, padding, groups) of a convolution of one small image per group, or None for another kind."""
    fits = _is_small(x, w) and x.meta["val"].ndim == 4 and w.meta["val"].is_contiguous()
    if not fits or groups == 1 or transposed or any(d != 1 for d in dilation):
        return None
    return (*stride, *padding, groups)


def _own_convolution(node: fx.Node) -> None:
    x, w, bias, stride, padding, dilation, transposed, _, groups = node.args
    how = _geometry(x, w, stride, padding, dilation, transposed, groups)  # type: ignore[arg-type]
    if how and bias is None and node.meta["val"].is_contiguous():
        node.target, node.args = torch.ops.lrbench.convolution.default, (x, w, *how)


def _own_gradients(graph: fx.Graph, node: fx.Node) -> None:
    """The gradients of a convolution, an operator for each that is asked for."""
    g, x, w, _, stride, padding, dilation, transposed, _, groups, asked = node.args
    how = _geometry(x, w, stride, padding, dilation, transposed, groups)  # type: ignore[arg-type]
    parts = {user.args[1]: user for user in node.users}
    if not how or asked[2] or not all(user.meta["val"].is_contiguous() for user in parts.values()):  # type: ignore[index]
        return
    x_shape, w_shape = x.meta["val"].shape, w.meta["val"].shape  # type: ignore[union-attr]
    calls = {
        0: (torch.ops.lrbench.convolution_input.default, (g, w, *x_shape[2:], *how)),
        1: (torch.ops.lrbench.convolution_weight.default, (g, x, *w_shape[2:], *how)),
    }
    for i, user in parts.items():
        target, arguments = calls[i]  # type: ignore[index]
        with graph.inserting_before(user):
            own = graph.call_function(target, arguments)
        own.meta.update(user.meta)
        user.replace_all_uses_with(own)
        graph.erase_node(user)
    graph.erase_node(node)
