"""lrbench's own products and convolutions of many small tensors on a CPU, built once per machine, and their way into compiled functions."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass

from lrbench.spec.cache import cache_folder

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared")
LARGEST = 1024
"""Products with a longer side than this are left to PyTorch's libraries, which are made for them."""


@cache
def missing() -> str | None:
    """Load the operators of ``torch.ops.lrbench``, built if need be; returns why they cannot be had here, or None."""
    try:
        torch.ops.load_library(_built())
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"the kernels could not be built: {' '.join(str(said).split())[:200]}"

    fakes: dict[str, Callable[..., Any]] = {
        "matmul": lambda a, b: a.new_empty(a.shape[0], a.shape[1], b.shape[2]),
        "convolution": lambda x, w, sh, sw, ph, pw, _: x.new_empty(
            x.shape[0], w.shape[0], (x.shape[2] + 2 * ph - w.shape[2]) // sh + 1, (x.shape[3] + 2 * pw - w.shape[3]) // sw + 1
        ),
        "convolution_weight": lambda g, x, kh, kw, _sh, _sw, _ph, _pw, groups: g.new_empty(g.shape[1], x.shape[1] // groups, kh, kw),
        "convolution_input": lambda g, w, h, width, _sh, _sw, _ph, _pw, groups: g.new_empty(g.shape[0], groups * w.shape[1], h, width),
    }
    for name, fake in fakes.items():
        torch.library.register_fake(f"lrbench::{name}", fake)
    return None


def _built() -> Path:
    """The shared library, from the cache folder or the compiler.

    Raises: OSError when there is no compiler; subprocess.CalledProcessError with what it said.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++", "c++"))), None)
    if compiler is None:
        raise OSError("there is no C++ compiler")
    decides = [SOURCE.read_text(encoding="utf-8"), compiler, *FLAGS, torch.__version__, platform.machine(), _cpu_flags()]
    name = hashlib.sha256("\n".join(decides).encode()).hexdigest()[:16]
    path = cache_folder() / f"kernels-{name}.so"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            torch_home = Path(torch.__file__).parent
            links = [f"-I{torch_home / 'include'}", f"-L{torch_home / 'lib'}", "-ltorch_cpu"]
            subprocess.run([compiler, *FLAGS, SOURCE, *links, "-o", made], check=True, capture_output=True, text=True)
            made.replace(path)
    return path


def _cpu_flags() -> str:
    """What tells processors apart for which native code differs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")


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
        return hashlib.sha256(SOURCE.read_bytes() + Path(__file__).read_bytes()).digest()


def _is_small(*nodes: Any) -> bool:
    values = [node.meta["val"] for node in nodes]
    return all(
        value.device.type == "cpu"
        and value.dtype in (torch.float32, torch.float64)
        and all(isinstance(side, int) and side > 0 for side in value.shape)
        and max(value.shape[-2:]) <= LARGEST
        for value in values
    )


def _geometry(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, groups: int) -> tuple[int, ...] | None:
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
