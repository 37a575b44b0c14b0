"""Functions of tensors, made faster than eager PyTorch: compiled, or replayed as a CUDA graph."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lrbench.device import kernels

WARM_UP = 3
"""Calls before a CUDA graph is captured, as PyTorch asks for: libraries set themselves up in the first ones."""


class Compiled:
    """A function of nested dicts, lists and tuples of tensors, compiled for arguments like the given ones.

    Making it calls nothing and changes no argument. What the function does in place, the compiled one does. A call
    checks nothing: that its arguments have the same structure, shapes, strides and types is the caller's to keep. Takes
    seconds when its cache is cold.

    Raises: whatever tracing or the compiler raises, such as where there is no C++ compiler.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        from torch._inductor import compile as compile_graph
        from torch.fx.experimental.proxy_tensor import make_fx

        leaves, structure = pytree.tree_flatten(arguments)

        def flat(*tensors: Tensor) -> list[Tensor]:
            values, self.returns = pytree.tree_flatten(function(*pytree.tree_unflatten(list(tensors), structure)))
            return values

        with torch.no_grad(), _quiet():
            options: dict[str, Any] = {"compile_threads": 1, "emulate_precision_casts": True}
            if leaves[0].device.type == "cpu" and not kernels.missing():
                from lrbench.device.rewrite import OwnKernels

                options["post_grad_custom_post_pass"] = OwnKernels()
            graph = make_fx(flat, tracing_mode="fake")(*leaves)
            self.run: Callable[..., Any] = compile_graph(graph, leaves, options=options)

    def bind(self, *fixed: Any) -> Callable[..., list[Tensor]]:
        """The function of the leaves of the arguments after the first ones, which stay these; it returns the leaves of the result.

        A call then costs no search through nested arguments, which would be felt in small models.
        """
        run, held = self.run, pytree.tree_leaves(fixed)
        return lambda *leaves: run(*held, *leaves)

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns for these arguments."""
        return pytree.tree_unflatten(self.run(*pytree.tree_leaves(arguments)), self.returns)


def without_kernels(device: torch.device) -> str | None:
    """Why compiled functions do without lrbench's own kernels on a CPU, or None where they have them, or are made for another device."""
    return kernels.missing() if device.type == "cpu" else None


class Replayed:
    """A function of tensors on a GPU, captured as a CUDA graph: one launch for all its kernels.

    Calls copy their arguments to where the graph reads them; what is returned is overwritten by the next call.
    Capturing calls the function ``WARM_UP`` times on the arguments, so what it changes in place must be put back by the
    caller.
    """

    def __init__(self, function: Callable[..., Tensor], *arguments: Tensor) -> None:
        self.arguments = [argument.clone() for argument in arguments]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function(*self.arguments)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.returned = function(*self.arguments)

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Replay the graph on other values of the arguments."""
        for place, value in zip(self.arguments, arguments, strict=True):
            place.copy_(value)
        self.graph.replay()
        return self.returned


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the compiler's remarks on CUDA toolkits that a machine without a GPU does not need."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before, logger.level = logger.level, logging.ERROR
    try:
        yield
    finally:
        logger.level = before
