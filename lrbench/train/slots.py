"""The tensors of a population: N slots for runs, and a step of all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.config.param import Param
from lrbench.config.run import Run
from lrbench.strategies import OPTIMIZERS, matrices_of
from lrbench.train.data import dtype_of
from lrbench.train.member import Layout
from lrbench.train.reference import EVALUATION_BATCH
from lrbench.train.rules import numbers, rule_for, structure
from lrbench.train.seeds import derive, own_generators, seed_generators
from lrbench.train.stacked import Changing, Slice, StackedModel, Tensors, update
from lrbench.workloads import Data, Split, Workload, make_model, place


def rule_of(run: Run) -> tuple[Any, ...]:
    """What the members of a slice have in common."""
    return structure(run.optimizer.name, run.optimizer.settings)


def untrained(workload: Workload, seed: int, data: Data, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model that a run of this seed starts from. Leaves the global generators as they were."""
    with own_generators(device):
        seed_generators(derive(seed, "model"))
        return place(make_model(workload, lambda: data.train.x[:2]), device, dtype)


def unused(workload: Workload, module: nn.Module, data: Data, batch_size: int) -> frozenset[str]:
    """The parameters that the training loss of a batch does not depend on.

    They have no gradient, so ``torch.optim`` does not change them, not even by weight decay.
    """
    named = {name: value for name, value in module.named_parameters() if value.requires_grad}
    device, dtype = next((value.device, value.dtype) for value in named.values())
    part = Split(data.train.x[:batch_size], data.train.y[:batch_size]).to(device, dtype)
    grads = torch.autograd.grad(workload.loss(module(part.x), part.y), list(named.values()), allow_unused=True)
    return frozenset(name for name, grad in zip(named, grads, strict=True) if grad is None)


def _stack(each: Sequence[Tensors]) -> Tensors:
    """The tensors of several runs as stacked ones, [N, ...]."""
    return {name: torch.stack([tensors[name] for tensors in each]) for name in each[0]}


class Slots:
    """N slots. Their slices have the update rules of the given N runs; the runs ``enter`` afterwards.

    ``params``, ``buffers`` [N, ...]; ``joins`` [P, N] and ``done`` [N] as in ``stacked.update``. ``faster`` may be set
    to a faster version of ``eager_step``, and ``scores`` replaced by a faster one. Neither may refer to the slots, or
    their tensors would outlive them.
    """

    def __init__(
        self,
        planned: Sequence[Run],
        workload: Workload,
        module: nn.Module,
        data: Data,
        device: torch.device,
        trained: Sequence[Param],
    ) -> None:
        """``module`` is a model of the workload; only its structure is used. ``trained`` are the trained parameters."""
        first = planned[0]
        self.workload, self.device, self.dtype, self.names = (
            workload,
            device,
            dtype_of(first),
            tuple(p.name for p in trained),
        )
        self.data = data.to(device, self.dtype)
        self.late = frozenset[str]()
        self.made: dict[int, tuple[Tensors, Tensors]] = {}
        self.model = StackedModel(workload, module)
        n, (params, buffers) = len(planned), self.initial(first.seed)
        self.params, self.buffers = (
            {k: v.repeat(n, *[1] * v.ndim) for k, v in some.items()} for some in (params, buffers)
        )
        self.done, self.joins = self.tensor([0.0] * n), self.tensor([[0.0] * n] * len(trained))
        self.slices: list[Slice] = []
        start = 0
        for _, same in groupby(planned, key=rule_of):
            some = list(same)
            stop = start + len(some)
            optimizer, hyper = some[0].optimizer, self._hyper(some, [[None] * len(trained)] * len(some))
            is_matrix = matrices_of(optimizer) or (lambda _: False)
            rules = {p.name: rule_for(optimizer.name, optimizer.settings, is_matrix=is_matrix(p)) for p in trained}
            states = {name: rules[name].start(self.params[name][start:stop], hyper[name]) for name in self.names}
            self.slices.append(Slice(start, stop, rules, hyper, states))
            start = stop
        self.faster: Callable[[Tensor, Tensor], Tensor] | None = None
        self.scores: Callable[[Tensors, Tensors, Tensor, Tensor], Tensor] = self.model.scores

    def tensor(self, values: Any) -> Tensor:
        """Values in the type of the weights, on the device."""
        return torch.as_tensor(values, dtype=self.dtype).to(self.device)

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """The untrained model of a seed: the parameters that are trained; its buffers and its other parameters."""
        if seed not in self.made:
            module = untrained(self.workload, seed, self.data, self.device, self.dtype)
            named = {name: value.detach() for name, value in module.named_parameters()}
            stay = {name: value for name, value in named.items() if name not in self.names}
            self.made[seed] = {name: named[name] for name in self.names}, dict(module.named_buffers()) | stay
        return self.made[seed]

    def _hyper(self, runs: Sequence[Run], decays: Sequence[Sequence[float | None]]) -> dict[str, Tensors]:
        """The hyperparameters of each parameter, one value per run. A group's decay overrides the optimizer's."""
        values = [
            numbers(run.optimizer.name, OPTIMIZERS[run.optimizer.name].resolve(run.optimizer.settings)) for run in runs
        ]
        common = {key: self.tensor([v[key] for v in values]) for key in values[0]}
        hyper = {}
        for i, name in enumerate(self.names):
            these = dict(common)
            if "weight_decay" in these and any(own[i] is not None for own in decays):
                these["weight_decay"] = self.tensor(
                    [v["weight_decay"] if own[i] is None else own[i] for v, own in zip(values, decays, strict=True)]
                )
            shape = (len(runs), *[1] * (self.params[name].ndim - 1))
            hyper[name] = {key: value.clone().view(shape) for key, value in these.items()}
        return hyper

    def enter(self, rows: Sequence[int], runs: Sequence[Run], layouts: Sequence[Layout]) -> None:
        """Start runs in some slots: untrained models, new states, no step done."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        for slots, models in zip(
            (self.params, self.buffers), zip(*(self.initial(run.seed) for run in runs), strict=True), strict=True
        ):
            for name, value in slots.items():
                value[index] = torch.stack([tensors[name] for tensors in models])
        self.done[index] = 0
        self.joins[:, index] = self.tensor([layout.joins for layout in layouts]).T
        for part in self.slices:
            mine = [i for i, row in enumerate(rows) if part.start <= row < part.stop]
            if mine:
                hyper = self._hyper([runs[i] for i in mine], [layouts[i].weight_decay for i in mine])
                self._reset(part, torch.tensor([rows[i] - part.start for i in mine], device=self.device), hyper)

    def _reset(self, part: Slice, index: Tensor, hyper: dict[str, Tensors]) -> None:
        for name in self.names:
            for key, value in hyper[name].items():
                part.hyper[name][key][index] = value
            for key, value in (
                part.rules[name].start(self.params[name][part.start : part.stop][index], hyper[name]).items()
            ):
                part.states[name][key][index] = value

    def step(self, rows: Tensor, lrs: Tensor) -> Tensor:
        """The ``eager_step``, or its faster version."""
        return (self.faster or self.eager_step)(rows, lrs)

    def eager_step(self, rows: Tensor, lrs: Tensor) -> Tensor:
        """One optimizer step of every run: rows [N, accumulate, batch_size], lrs [P, N] -> losses before it [N]."""
        grads, losses = self.model.gradients(self.params, self.buffers, self.data.train.x, self.data.train.y, rows)
        self.update(grads, lrs)
        return losses

    @property
    def changing(self) -> Changing:
        """What ``stacked.update`` changes, or reads besides gradients and lrs."""
        return self.params, [part.tensors for part in self.slices], self.joins, self.done

    def update(self, grads: Tensors, lrs: Tensor) -> None:
        """Step every optimizer."""
        update(self.slices, self.late, *self.changing, grads, lrs)

    def score(self, part: Split, params: Tensors, buffers: Tensors) -> Tensor:
        """(loss, metric) of every model on a part of the data, [2, N] float64 on the device."""
        if not self.workload.metric.is_mean:
            return self.model.scores_of_whole(params, buffers, part, self.device)
        total = torch.zeros(2, len(next(iter(params.values()))), dtype=torch.float64, device=self.device)
        for x, y in part.pieces(EVALUATION_BATCH):
            total += self.scores(params, buffers, x, y) * len(x)
        return total / len(part)

    def stack_initial(self, seeds: Sequence[int]) -> tuple[Tensors, Tensors]:
        """The untrained models of some seeds."""
        params, buffers = zip(*(self.initial(seed) for seed in seeds), strict=True)
        return _stack(params), _stack(buffers)

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other slots."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        self.params, self.buffers = (
            {name: value[index] for name, value in some.items()} for some in (self.params, self.buffers)
        )
        self.done, self.joins = self.done[index], self.joins[:, index]
        start, slices = 0, []
        for part in self.slices:
            mine = torch.tensor(
                [row - part.start for row in rows if part.start <= row < part.stop],
                dtype=torch.int64,
                device=self.device,
            )
            if len(mine):
                hyper, states = (
                    {name: {key: value[mine] for key, value in some.items()} for name, some in place.items()}
                    for place in part.tensors
                )
                slices.append(Slice(start, start + len(mine), part.rules, hyper, states))
                start += len(mine)
        self.slices = slices

    @property
    def moving(self) -> Tensors:
        """Every tensor that a step changes, by a name for messages."""
        states = {
            f"{key} of {name}, rule {i}": value
            for i, part in enumerate(self.slices)
            for name, state in part.states.items()
            for key, value in state.items()
        }
        return self.params | self.buffers | states | {"step count": self.done}

    @contextmanager
    def put_back(self) -> Iterator[Callable[[], None]]:
        """Restore all tensors at the end of the block. Yields a function that restores them at once."""
        before = {name: value.clone() for name, value in self.moving.items()}

        def restore() -> None:
            for name, value in self.moving.items():
                value.copy_(before[name])

        try:
            yield restore
        finally:
            restore()
