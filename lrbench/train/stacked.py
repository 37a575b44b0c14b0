"""A model and its optimizers as functions of stacked tensors: each parameter is [N, ...], with one row per run.

Nothing here waits for the device or branches on values, so each function can be compiled or replayed as a CUDA graph.
Rows never mix: the new values of a row depend on that row alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lrbench.train.reference import score, values
from lrbench.train.rules import Rule, State
from lrbench.workloads import Split, Workload

Tensors = dict[str, Tensor]
Changing = tuple[Tensors, Sequence[tuple[dict[str, Tensors], dict[str, State]]], Tensor, Tensor]
"""Parameters; hyperparameters and states of each slice; ``joins`` and ``done``, as ``update`` takes them."""


@dataclass(frozen=True)
class StackedModel:
    """A workload's model. Only the structure of ``module`` is used."""

    workload: Workload
    module: nn.Module

    def gradients(
        self, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor, rows: Tensor
    ) -> tuple[Tensors, Tensor]:
        """Gradient and value of each run's mean loss on its own examples. Buffers change in place, as in training.

        Shapes: x, y [examples, ...], shared; rows [N, accumulate, batch_size] -> gradients as params, losses [N].
        """

        def loss(params: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
            return self.workload.loss(functional_call(self.module, (params, buffers), (x,)), y)

        self.module.train()
        of_each = vmap(grad_and_value(loss))
        parts: list[tuple[Tensors, Tensor]] = [of_each(params, buffers, x[part], y[part]) for part in rows.unbind(1)]
        grads, losses = parts[0]
        if len(parts) > 1:
            grads = {name: torch.stack([part[name] for part, _ in parts]).mean(0) for name in grads}
            losses = torch.stack([part for _, part in parts]).mean(0)
        return grads, losses

    def scores(self, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
        """(loss, metric) of each run's model in evaluation mode on the same examples, [2, N] float64."""

        def of_one(params: Tensors, buffers: Tensors) -> Tensor:
            return values(self.workload, self._outputs(params, buffers, x), y)

        self.module.eval()
        with torch.no_grad():
            if self.workload.stacks_evaluation:
                return vmap(of_one, out_dims=1)(params, buffers)
            return torch.stack([of_one(*tensors) for tensors in _one_by_one(params, buffers)], 1)

    def scores_of_whole(self, params: Tensors, buffers: Tensors, part: Split, device: torch.device) -> Tensor:
        """(loss, metric) of each run's model on a part of the data, [2, N] float64, for a metric that is no mean."""
        self.module.eval()
        with torch.no_grad():
            models = [partial(self._outputs, *tensors) for tensors in _one_by_one(params, buffers)]
            return torch.stack([score(self.workload, model, part, device) for model in models], 1)

    def _outputs(self, params: Tensors, buffers: Tensors, x: Tensor) -> Any:
        return functional_call(self.module, (params, buffers), (x,))


def _one_by_one(params: Tensors, buffers: Tensors) -> Iterator[tuple[Tensors, Tensors]]:
    for i in range(len(next(iter(params.values())))):
        yield {name: value[i] for name, value in params.items()}, {name: value[i] for name, value in buffers.items()}


@dataclass
class Slice:
    """Runs that share an update rule: rows [start, stop) of every stacked tensor."""

    start: int
    stop: int
    rules: dict[str, Rule]
    """Per parameter. They are all the same, unless the optimizer treats matrices differently."""
    hyper: dict[str, Tensors]
    """Per parameter, each hyperparameter as [members, 1, ...]."""
    states: dict[str, State]

    @property
    def tensors(self) -> tuple[dict[str, Tensors], dict[str, State]]:
        """The tensors of it that ``update`` takes."""
        return self.hyper, self.states


def update(
    slices: Sequence[Slice],
    late: frozenset[str],
    params: Tensors,
    tensors: Sequence[tuple[dict[str, Tensors], dict[str, State]]],
    joins: Tensor,
    done: Tensor,
    grads: Tensors,
    lrs: Tensor,
) -> None:
    """One optimizer step of every run, in place, on ``params``, the states in ``tensors``, and the step counts.

    A parameter that has not joined does not change, and neither does its state, which starts when the parameter joins.

    Shapes: joins [P, N] the steps done when a parameter starts to train, infinite if never; done [N] the steps before
    this one; lrs [P, N]. ``late`` are the parameters that some run does not train from the first step on.
    """
    for i, (name, param) in enumerate(params.items()):
        t = done + 1 - joins[i]
        for part, (hyper, states) in zip(slices, tensors, strict=True):
            rows = slice(part.start, part.stop)
            p = param[rows]
            shape = (len(p), *[1] * (p.ndim - 1))
            count, state = t[rows].view(shape), states[name]
            held = [p, *state.values()] if name in late else []
            before = [tensor.clone() for tensor in held]
            part.rules[name].update(p, grads[name][rows], state, lrs[i][rows].view(shape), count, hyper[name])
            for now, then in zip(held, before, strict=True):
                now.copy_(torch.where(count >= 1, now, then))
    done.add_(1)
