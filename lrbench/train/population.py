"""The population trainer: many runs trained as one, in stacked tensors, to the outcomes that the reference trainer gives.

Every parameter is stacked to [N, ...], one row per member; ``vmap`` of the gradient of ``functional_call`` does N forward and backward
passes at once, and the update rules step N optimizers at once, each member with its own lr, hyperparameters and step count. Members
never mix: a member's result depends on its own seed alone, and its NaNs are its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lrbench.device import deterministic
from lrbench.spec.outcome import Outcome
from lrbench.spec.run import Choice, Run
from lrbench.strategies import OPTIMIZERS, SCHEDULES, Pacer, Timing, audit, groups_of, lr_curve, lr_table
from lrbench.strategies.groups import Group
from lrbench.strategies.pacer import Lrs
from lrbench.strategies.schedules import stand_in
from lrbench.train.checkpoint import Interrupted
from lrbench.train.clocks import Clocks
from lrbench.train.record import Record
from lrbench.train.reference import EVALUATION_BATCH, AuditError, dtype_of
from lrbench.train.rules import RULES, Rule, State, numbers, rule_for, structure
from lrbench.train.seeds import Order, derive
from lrbench.workloads import Data, Split, Workload, describe

Tensors = dict[str, Tensor]


def alone(run: Run) -> str | None:
    """Why a run must be trained by the reference trainer, or None if it can be a member of a population."""
    if run.optimizer.name not in RULES:
        return f"{run.optimizer.name} has no stacked update rule"
    if run.precision not in ("fp32", "fp64"):
        return f"{run.precision} is trained one by one"
    if run.schedule.settings.get("cycle_momentum") or run.schedule.settings.get("others"):
        return f"{run.schedule.label} changes more than the lr"
    return None


def shared(run: Run) -> tuple[Any, ...]:
    """What the members of one population have in common."""
    return (run.workload.name, run.batch_size, run.accumulate, run.precision, run.steps, run.eval_every)


@dataclass
class Member:
    """One run of a population: its groups, the lrs it will use, its record."""

    run: Run
    groups: list[Group]
    timing: Timing
    order: Order
    record: Record = field(default_factory=Record)
    pacer: Pacer | None = None
    """Only for a closed-loop schedule: a scheduler of its own, over groups that train nothing."""
    idle: Any = None

    def __post_init__(self) -> None:
        if "closed_loop" in SCHEDULES[self.run.schedule.name].flags:
            self.idle = stand_in([self.run.lr * group.multiplier for group in self.groups])
            self.pacer = Pacer(self.run.schedule, self.idle, self.timing)

    @property
    def rule(self) -> tuple[Any, ...]:
        """Members with the same are updated together: the rule's structure, and when each parameter starts to move."""
        moves = {name: group.joins for group in self.groups for name in group.params}
        return structure(self.run.optimizer.name, self.run.optimizer.settings), tuple(sorted(moves.items()))

    def lrs(self, done: int, steps: int) -> Lrs:
        """The lrs of the next steps, [steps, G]."""
        if self.pacer:
            return np.tile([group["lr"] for group in self.idle.param_groups], (steps, 1))
        exact = isinstance(self.run.schedule.revision, int)  # a built-in schedule scales with the base lr; a plug-in's may not
        scale, base = (self.run.lr, 1.0) if exact else (1.0, self.run.lr)
        key = self.run.schedule.model_dump_json()
        return scale * _table(key, base, tuple(group.multiplier for group in self.groups), self.timing)[done : done + steps]

    def audit(self) -> None:
        """Hold the lrs that were used to base lr x layer multiplier x schedule.

        Raises: AuditError.
        """
        run, seen = self.run, [(loss, metric) for loss, metric, _ in self.record.evaluations[1:]]
        curve = lr_curve(run.schedule, run.lr, self.timing, evaluations=seen) if self.pacer else None
        if curve is None:
            curve = _curve(run.schedule.model_dump_json(), run.lr, self.timing)
        multipliers, joins, names = zip(*((g.multiplier, g.joins, g.name) for g in self.groups), strict=True)
        if fault := audit(self.record.lr_array(), curve, multipliers, joins, names):
            raise AuditError(fault)


@cache
def _table(schedule: str, base_lr: float, multipliers: tuple[float, ...], timing: Timing) -> Lrs:
    return lr_table(Choice.model_validate_json(schedule), [base_lr * m for m in multipliers], timing)


@cache
def _curve(schedule: str, base_lr: float, timing: Timing) -> Lrs:
    return lr_curve(Choice.model_validate_json(schedule), base_lr, timing)


@dataclass
class Slice:
    """Consecutive members that one rule updates, rows [start, stop) of every stacked tensor."""

    start: int
    stop: int
    rule: Rule
    joins: dict[str, int]
    """The steps done when each parameter starts to move; a frozen one is missing."""
    hyper: dict[str, Tensors]
    """Per parameter, each hyperparameter as [members, 1, ...]."""
    states: dict[str, State] = field(default_factory=dict)

    def begin(self, done: int, params: Tensors) -> None:
        """Make the state of the parameters that start to move after ``done`` steps."""
        for name, joins in self.joins.items():
            if joins <= done and name not in self.states:
                self.states[name] = self.rule.start(params[name][self.start : self.stop], self.hyper[name])

    def step(self, params: Tensors, grads: Tensors, lrs: dict[str, Tensor], done: Tensor) -> None:
        """Update every parameter that moves; ``lrs`` [N] per parameter, ``done`` the number of steps before this one."""
        for name, state in self.states.items():
            p = params[name][self.start : self.stop]
            shape = (len(p), *[1] * (p.ndim - 1))
            lr = lrs[name][self.start : self.stop].view(shape)
            self.rule.update(
                p, grads[name][self.start : self.stop], state, lr, (done + (1 - self.joins[name])).expand(shape), self.hyper[name]
            )


class Population:
    """Runs trained together; see the module. ``members`` are sorted, so that their order on entry changes nothing."""

    def __init__(self, runs: Sequence[Run], workload: Workload, data: Data, device: torch.device) -> None:
        first = runs[0]
        self.runs, self.workload, self.device, self.first, self.done = runs, workload, device, first, 0
        self.dtype = dtype_of(first)
        self.data = data.to(device, self.dtype)
        with torch.device("meta"):
            params = describe(workload, workload.model())
        orders = {
            seed: Order(seed, len(data.train), first.batch_size, first.accumulate, device) for seed in sorted({run.seed for run in runs})
        }
        timing = Timing(first.steps, orders[first.seed].steps_per_epoch, first.eval_every)
        members = [Member(run, groups_of(run, params), timing, orders[run.seed]) for run in runs]
        self.members = sorted(members, key=lambda m: (repr(m.rule), m.run.key))
        self.all = list(self.members)
        self.names = [p.name for p in params]
        self.model, self.params, self.buffers = self._stack()
        self.slices = self._slice()
        self.gradients = vmap(grad_and_value(self._loss))
        self.clocks = Clocks(device)

    def _stack(self) -> tuple[nn.Module, Tensors, Tensors]:
        """The model as a function, and every member's own initialisation, stacked."""
        made: dict[int, nn.Module] = {}
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for seed in sorted({m.run.seed for m in self.members}):
                torch.manual_seed(derive(seed, "model"))
                made[seed] = self.workload.model().to(self.device, self.dtype)
        models = [made[m.run.seed] for m in self.members]
        params = {name: torch.stack([dict(m.named_parameters())[name].detach() for m in models]) for name in self.names}
        buffers = {name: torch.stack([dict(m.named_buffers())[name] for m in models]) for name, _ in models[0].named_buffers()}
        return models[0], params, buffers

    def _slice(self) -> list[Slice]:
        slices, start = [], 0
        for _, same in groupby(self.members, key=lambda m: m.rule):
            some = list(same)
            run, stop = some[0].run, start + len(some)
            joins = {name: group.joins for group in some[0].groups for name in group.params}
            slices.append(Slice(start, stop, rule_for(run.optimizer.name, run.optimizer.settings), joins, self._hyper(some)))
            start = stop
        return slices

    def _hyper(self, some: Sequence[Member]) -> dict[str, Tensors]:
        """Every hyperparameter of every parameter, one value per member; a group's own weight decay goes before the optimizer's."""
        values = [numbers(m.run.optimizer.name, OPTIMIZERS[m.run.optimizer.name].resolve(m.run.optimizer.settings)) for m in some]
        own = [{name: g.weight_decay for g in m.groups for name in g.params if g.weight_decay is not None} for m in some]
        hyper = {}
        for name in self.names:
            rows = [v | ({"weight_decay": o[name]} if name in o and "weight_decay" in v else {}) for v, o in zip(values, own, strict=True)]
            shape = (len(some), *[1] * (self.params[name].ndim - 1))
            hyper[name] = {
                key: torch.tensor([row[key] for row in rows], dtype=self.dtype, device=self.device).view(shape) for key in values[0]
            }
        return hyper

    def _loss(self, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
        return self.workload.loss(functional_call(self.model, (params, buffers), (x,)), y)

    def train(self, stop: Callable[[], bool] = lambda: False) -> Iterator[tuple[Run, Outcome]]:
        """Train to the budget; yields each run's outcome.

        Raises: Interrupted when ``stop``, asked after every interval, says so; AuditError as the reference trainer.
        """
        deterministic()
        self.evaluate()
        while self.done < self.first.steps and self.members:
            if stop():
                raise Interrupted
            self.advance(min(self.first.eval_every, self.first.steps - self.done))
        return self._finish()

    def advance(self, steps: int) -> None:
        """Train an interval, then evaluate. Nothing inside the interval waits for the device."""
        tables = [m.lrs(self.done, steps) for m in self.members]
        lrs = self._per_parameter(tables)
        losses = []
        with self.clocks.time("train"):
            rows = self._rows(steps)
            for i in range(steps):
                losses.append(self._step(rows[:, i], {name: lr[i] for name, lr in lrs.items()}))
                self.done += 1
        with self.clocks.time("record"):
            self._record(torch.stack(losses).to("cpu", torch.float32).numpy(), tables)
        self.evaluate()

    def _rows(self, steps: int) -> Tensor:
        """The examples of each step, [N, steps, accumulate, batch_size]; gathered once per seed."""
        seeds = {m.run.seed: m.order for m in self.members}
        found = {seed: torch.stack([torch.stack(order(i)) for i in range(self.done, self.done + steps)]) for seed, order in seeds.items()}
        return torch.stack([found[m.run.seed] for m in self.members])

    def _per_parameter(self, tables: Sequence[Lrs]) -> dict[str, Tensor]:
        """The lr of each parameter of each member at each step, {name: [steps, N]}; 0 for a frozen one."""
        found = {}
        for name in self.names:
            columns = []
            for m, table in zip(self.members, tables, strict=True):
                at = next((i for i, group in enumerate(m.groups) if name in group.params), None)
                columns.append(np.zeros(len(table)) if at is None else table[:, at])
            found[name] = torch.tensor(np.stack(columns, 1), dtype=self.dtype).to(self.device)
        return found

    def _step(self, rows: Tensor, lrs: dict[str, Tensor]) -> Tensor:
        """One optimizer step of every member on its own examples, [N, accumulate, batch_size]; returns the losses before it, [N]."""
        x, y = self.data.train.x, self.data.train.y
        parts = [self.gradients(self.params, self.buffers, x[part], y[part]) for part in rows.unbind(1)]
        grads: Tensors = parts[0][0]
        loss: Tensor = parts[0][1]
        if len(parts) > 1:
            grads = {name: torch.stack([g[name] for g, _ in parts]).mean(0) for name in grads}
            loss = torch.stack([some for _, some in parts]).mean(0)
        done = torch.full((1,), self.done, dtype=self.dtype, device=self.device)
        for part in self.slices:
            part.begin(self.done, self.params)
            part.step(self.params, grads, lrs, done)
        return loss

    def _record(self, losses: Any, tables: Sequence[Lrs]) -> None:
        start = self.done - len(losses)
        for column, (member, table) in enumerate(zip(self.members, tables, strict=True)):
            if member.record.diverged_at is not None:
                continue
            used = table.copy()
            used[np.arange(start, self.done)[:, None] < [group.joins for group in member.groups]] = np.nan
            member.record.add_steps(losses[:, column], used)

    def evaluate(self) -> None:
        """Record the validation loss and metric, and the loss on as many training examples, of every member that has not diverged."""
        with self.clocks.time("eval"):
            n = len(self.data.validation)
            probe = Split(self.data.train.x[:n], self.data.train.y[:n])
            values = torch.cat([self._score(probe)[:1], self._score(self.data.validation)]).T.tolist()
        for member, (train_loss, loss, metric) in zip(self.members, values, strict=True):
            if member.record.diverged_at is None:
                member.record.add_evaluation(self.done, [loss, metric, train_loss])
            if member.pacer and self.done and member.record.diverged_at is None:
                member.pacer.after_evaluation(loss, metric)
        self._compact()

    def _score(self, part: Split) -> Tensor:
        """(loss, metric) of every member on a part of the data, [2, N] float64 on the device."""

        def score(params: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
            outputs = functional_call(self.model, (params, buffers), (x,))
            return torch.stack([self.workload.loss(outputs, y).double(), self.workload.metric.of(outputs, y).double()])

        def in_turn(params: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
            each = range(len(self.members))
            return torch.stack([score({k: v[i] for k, v in params.items()}, {k: v[i] for k, v in buffers.items()}, x, y) for i in each], 1)

        scores = vmap(score, in_dims=(0, 0, None, None), out_dims=1) if self.workload.stacks_evaluation else in_turn
        self.model.eval()
        total = torch.zeros(2, len(self.members), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for x, y in zip(part.x.split(EVALUATION_BATCH), part.y.split(EVALUATION_BATCH), strict=True):
                total += scores(self.params, self.buffers, x, y) * len(x)
        self.model.train()
        return total / len(part)

    def _compact(self) -> None:
        """Let the diverged members go, so that they cost nothing more; two rows at least stay, for the same kernels."""
        alive = [i for i, m in enumerate(self.members) if m.record.diverged_at is None]
        spare = [i for i, m in enumerate(self.members) if m.record.diverged_at is not None]
        keep = sorted(alive + spare[:1]) if len(alive) == 1 else alive
        if len(keep) == len(self.members):
            return
        index = torch.tensor(keep, dtype=torch.int64, device=self.device)
        self.params = {name: value[index] for name, value in self.params.items()}
        self.buffers = {name: value[index] for name, value in self.buffers.items()}
        self.members = [self.members[i] for i in keep]
        start, slices = 0, []
        for part in self.slices:
            mine = torch.tensor([i - part.start for i in keep if part.start <= i < part.stop], dtype=torch.int64, device=self.device)
            if len(mine):
                hyper = {name: {key: value[mine] for key, value in values.items()} for name, values in part.hyper.items()}
                states = {name: {key: value[mine] for key, value in state.items()} for name, state in part.states.items()}
                slices.append(Slice(start, start + len(mine), part.rule, part.joins, hyper, states))
                start += len(mine)
        self.slices = slices

    def _finish(self) -> Iterator[tuple[Run, Outcome]]:
        tests = self._score(self.data.test).T.tolist() if self.members else []
        tested = {m.run.key: test for m, test in zip(self.members, tests, strict=True)}
        for member in self.all:
            member.audit()
            loss, metric = tested.get(member.run.key, (None, None)) if member.record.diverged_at is None else (None, None)
            yield (
                member.run,
                member.record.outcome(
                    member.run.key,
                    member.run.target,
                    higher_is_better=self.workload.metric.higher_is_better,
                    groups=tuple(group.name for group in member.groups),
                    test_loss=loss,
                    test_metric=metric,
                    trainer="population",
                    width=len(self.all),
                    **{f"{part}_seconds": seconds / len(self.all) for part, seconds in self.clocks.seconds.items()},
                ),
            )
