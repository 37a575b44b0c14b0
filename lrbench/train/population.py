"""The population trainer: it trains many runs as one, in stacked tensors, with the reference trainer's outcomes.

``vmap`` of the gradient does N forward and backward passes at once, and the update rules step N optimizers at once,
each member with its own lr, hyperparameters and step count. Members never mix: a member's result depends on its own
seed alone, and its NaNs stay its own. A population has slots: when a member finishes or diverges, the next run takes
its slot.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrbench.config.outcome import Outcome, population_name
from lrbench.config.run import Run
from lrbench.device import deterministic
from lrbench.strategies import Timing, groups_of, matrices_of
from lrbench.train.checkpoint import Interrupted
from lrbench.train.data import dtype_of
from lrbench.train.faster import speed_up
from lrbench.train.member import Layout, Member
from lrbench.train.record import UNTRAINED, Clocks, Record
from lrbench.train.reference import AuditError, ended_values
from lrbench.train.seeds import Order
from lrbench.train.slots import Slots, rule_of, untrained, unused
from lrbench.train.stacked import Tensors
from lrbench.workloads import Data, Workload, describe

Done = tuple[Run, Outcome]
SMALLEST = 2
"""The least number of slots. From two on, a member's result in eager mode does not depend on the number, to the bit."""


class Population:
    """Runs trained together; see the module. They are sorted first, so that their order changes nothing.

    ``width`` is the number of slots; by default, and for runs of several rules, each run has a slot. ``mode`` is one of
    ``faster.MODES``: modes other than eager are compared with a few eager steps first. Where one differs or fails,
    eager mode is used, and ``self.mode`` has the reason.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        workload: Workload,
        data: Data,
        device: torch.device,
        *,
        width: int | None = None,
        mode: str = "eager",
    ) -> None:
        self.first, self.workload, self.mode = runs[0], workload, mode
        self.name = population_name(run.key for run in runs)
        self.waiting = sorted(runs, key=lambda run: (repr(rule_of(run)), run.key), reverse=True)
        whole = width is None or len({rule_of(run) for run in runs}) > 1
        self.width = max(
            SMALLEST, len(runs) if whole else width or 0 if mode == "compiled" else min(width or 0, len(runs))
        )
        module = untrained(workload, self.first.seed, data, device, dtype_of(self.first))
        self.described = describe(workload, module)
        idle = unused(workload, module, data, self.first.batch_size)
        self.layouts: dict[str, Layout] = {}
        self.orders: dict[int, Order] = {}
        self.untrained: dict[int, list[float]] = {}
        self.timing = Timing(
            self.first.steps, self._order(data, self.first.seed, device).steps_per_epoch, self.first.eval_every
        )
        coming = self.waiting[::-1][: self.width]
        trained = [p for p in self.described if not p.is_frozen and p.name not in idle]
        self.slots = Slots(
            [*coming, *coming[-1:] * (self.width - len(coming))], workload, module, data, device, trained
        )
        self.slots.late = self._late(runs)
        self.members: list[Member | None] = [None] * self.width
        self.lrs = np.zeros(
            (self.first.steps, len(trained), self.width),
            np.float64 if self.slots.dtype is torch.float64 else np.float32,
        )
        self.age = np.zeros(self.width, np.int64)
        self.record = Record(self.width, self.first.steps, self.first.eval_every, workload.lowest_loss)
        self.clocks = Clocks(device, self.record.seconds)
        self.finished: list[tuple[list[Done], Tensors, Tensors]] = []
        self._enter(range(self.width))
        if mode != "eager":
            self.mode = speed_up(self.slots, mode, self._rows(1)[0])

    def _late(self, runs: Sequence[Run]) -> frozenset[str]:
        """The parameters that some run does not train from the first step on. In compiled modes: all or none."""
        joins = zip(*(self._layout(run).joins for run in runs), strict=True)
        late = frozenset(name for name, some in zip(self.slots.names, joins, strict=True) if any(some))
        return frozenset(self.slots.names) if late and self.mode != "eager" else late

    def _layout(self, run: Run) -> Layout:
        key = run.layer_lr.model_dump_json() + (run.optimizer.model_dump_json() if matrices_of(run.optimizer) else "")
        if key not in self.layouts:
            self.layouts[key] = Layout(tuple(groups_of(run, self.described)), self.slots.names)
        return self.layouts[key]

    def _order(self, data: Data, seed: int, device: torch.device) -> Order:
        if seed not in self.orders:
            self.orders[seed] = Order(seed, len(data.train), self.first.batch_size, self.first.accumulate, device)
        return self.orders[seed]

    @property
    def going(self) -> Any:
        """[N] whether each slot has a member."""
        return np.array([member is not None for member in self.members])

    # ---- members come and go

    def _enter(self, free: Sequence[int]) -> None:
        """Give free slots to waiting runs."""
        rows = list(free[: len(self.waiting)])
        if not rows:
            return
        runs = [self.waiting.pop() for _ in rows]
        layouts = [self._layout(run) for run in runs]
        self.slots.enter(rows, runs, layouts)
        self.record.reset(rows)
        self.age[rows] = 0
        together = int(self.going.sum()) + len(rows)
        for row, run, layout in zip(rows, runs, layouts, strict=True):
            member = Member(run, layout, self.timing, together)
            self.members[row] = member
            self.lrs[..., row] = layout.per_parameter(np.nan_to_num(member.lrs))
        self._note_untrained(rows, runs)

    def _note_untrained(self, rows: Sequence[int], runs: Sequence[Run]) -> None:
        """Record the evaluation of the untrained model. It is the same for all runs of a seed, so it is done once."""
        new = list(dict.fromkeys(run.seed for run in runs if run.seed not in self.untrained))
        for start in range(0, len(new), self.width):
            seeds = new[start : start + self.width]
            padded = [*seeds, *seeds[:1] * (self.width - len(seeds))]
            scores = self.slots.score(self.slots.data.validation, *self.slots.stack_initial(padded))
            self.untrained |= dict(zip(seeds, scores.T.tolist(), strict=False))
        values = np.zeros((self.width, 2))
        values[rows] = [self.untrained[run.seed] for run in runs]
        self.record.add_evaluation(values, np.isin(np.arange(self.width), rows))

    def _over(self) -> list[int]:
        """The slots whose members have diverged or finished."""
        diverged_at, done = self.record.diverged_at, self.record.done
        return [
            row
            for row, member in enumerate(self.members)
            if member and (diverged_at[row] or done[row] == member.run.steps)
        ]

    def _leave(self) -> Iterator[Done]:
        """Replace members that ended by waiting runs, until no member has ended. Yields complete outcomes."""
        while over := self._over():
            yield from self._take_out(over)
            if sum(len(done) for done, _, _ in self.finished) >= self.width or not self.waiting:
                yield from self._test()
            self._enter(over)
            self._compact()

    def _take_out(self, over: Sequence[int]) -> Iterator[Done]:
        """Empty some slots. Yields outcomes of diverged members; keeps the weights of finished ones for the test."""
        whole = [row for row in over if not self.record.diverged_at[row]]
        for row in over:
            done = self._done(row)
            self.members[row] = None
            if row not in whole:
                yield done
            elif row == whole[0]:
                index = torch.tensor(whole, device=self.slots.device)
                params, buffers = (
                    {k: v[index] for k, v in some.items()} for some in (self.slots.params, self.slots.buffers)
                )
                self.finished.append(([done], params, buffers))
            else:
                self.finished[-1][0].append(done)

    def _done(self, row: int) -> Done:
        """A run that ended and its outcome, without the final evaluations."""
        member, steps = self.members[row], self.record.steps(row)
        if member is None:
            raise LookupError(f"slot {row} is empty")
        if fault := member.fault(steps, self.record.seen(row)):
            raise AuditError(fault)
        return member.run, self.record.outcome(
            row,
            member.run,
            member.used(steps),
            higher_is_better=self.workload.metric.higher_is_better,
            groups=tuple(group.name for group in member.layout.groups),
            trainer="population",
            mode=self.mode,
            width=member.together,
            population=self.name,
        )

    def _test(self) -> Iterator[Done]:
        """The outcomes of finished members, with the final evaluations, in batches as wide as the population."""
        waiting, self.finished = self.finished, []
        done = [one for some, _, _ in waiting for one in some]
        for start in range(0, len(done), self.width):
            index = torch.arange(start, start + self.width, device=self.slots.device).clamp(max=len(done) - 1)
            params = {name: torch.cat([some[name] for _, some, _ in waiting])[index] for name in waiting[0][1]}
            buffers = {name: torch.cat([some[name] for _, _, some in waiting])[index] for name in waiting[0][2]}
            train, test = (
                self.slots.score(part, params, buffers).T.tolist()
                for part in (self.slots.data.probe, self.slots.data.test)
            )
            for i, (run, outcome) in enumerate(done[start : start + self.width]):
                yield run, replace(outcome, **ended_values(train[i], test[i]))

    def _compact(self) -> None:
        """When no run waits, remove empty slots, which cost time. Compiled code keeps its shape, and its slots."""
        empty = [row for row, member in enumerate(self.members) if not member]
        used = self.width - len(empty)
        go = set(empty[max(0, SMALLEST - used) :])
        if self.waiting or not go or self.slots.faster:
            return
        keep = [row for row in range(self.width) if row not in go]
        self.slots.keep(keep)
        self.record.keep(keep)
        self.lrs, self.age, self.members, self.width = (
            self.lrs[..., keep],
            self.age[keep],
            [self.members[row] for row in keep],
            len(keep),
        )
        self.clocks = Clocks(self.slots.device, self.record.seconds)

    # ---- training

    def train(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Done]:
        """Train every run to its budget. Yields each outcome soon after the run ends.

        ``stop`` is asked before every interval.

        Raises: Interrupted when ``stop`` says so, after yielding what is finished; AuditError as the reference trainer.
        """
        deterministic()
        yield from self._leave()
        while self.going.any():
            if stop():
                yield from self._test()
                raise Interrupted
            self.advance()
            yield from self._leave()

    def advance(self, steps: int | None = None) -> None:
        """Train to the next evaluation of any member, or so many steps, and evaluate. No step waits for the device."""
        going = self.going
        steps = steps or int((self._next_evaluation() - self.record.done)[going].min())
        self.clocks.share = going / going.sum()
        with self.clocks.time("record"):
            lrs = self._coming_lrs(steps)
        with self.clocks.time("train"):
            rows = self._rows(steps)
            losses = torch.stack([self.slots.step(rows[i], lrs[i]).clone() for i in range(steps)], 1)
        with self.clocks.time("record"):
            self._audit(lrs)
            self.record.diverged_at[~going] = UNTRAINED
            self.record.add_steps(losses.to("cpu", torch.float32).numpy())
        self.evaluate()

    def _next_evaluation(self) -> Any:
        """[N] the step of each member's next evaluation."""
        return self.record.eval_step[np.minimum(self.record.evaluated, len(self.record.eval_step) - 1)]

    def _rows(self, steps: int) -> Tensor:
        """The examples of the next steps, [steps, N, accumulate, batch_size], looked up once per seed and position."""
        asked = [
            (m.run.seed, int(self.record.done[row])) if m else (self.first.seed, 0)
            for row, m in enumerate(self.members)
        ]
        place = {key: i for i, key in enumerate(dict.fromkeys(asked))}
        device = self.slots.device
        indices = torch.stack([self._order(self.slots.data, seed, device).rows(done, steps) for seed, done in place], 1)
        return indices.to(device)[:, torch.tensor([place[key] for key in asked], device=device)]

    def _coming_lrs(self, steps: int) -> Tensor:
        """The lr of each parameter of each member at each of the next steps, [steps, P, N]."""
        done = self.record.done
        for row, member in enumerate(self.members):
            if member and member.pacer:
                coming = member.look_ahead(done[row], steps)
                self.lrs[done[row] : done[row] + steps, :, row] = member.layout.per_parameter(coming)
        return self.slots.tensor(self._declared(done, steps).copy())

    def _declared(self, done: Any, steps: int) -> Any:
        """The lrs that the tables declare for some steps after ``done`` [N], as [steps, P, N], a view where possible.

        Empty slots have any lrs.
        """
        first, *others = np.unique(done[self.going])
        if not others and first + steps <= len(self.lrs):
            return self.lrs[first : first + steps]
        at = np.minimum(np.arange(steps)[:, None] + done, len(self.lrs) - 1)
        return np.take_along_axis(self.lrs, at[:, None], 0)

    def _audit(self, passed: Tensor) -> None:
        """Compare the lrs [steps, P, N] passed to the last steps with the tables, at each member's own step count.

        Raises: AuditError where they differ.
        """
        declared, counts = self._declared(self.age, len(passed)), self.going & (self.record.diverged_at == 0)
        if (wrong := (passed.cpu().numpy() != declared) & counts).any():
            step, i, row = np.argwhere(wrong)[0]
            raise AuditError(
                f"lr audit: parameter {self.slots.names[i]!r} was stepped with lr {passed[step, i, row]:.6g} "
                f"at step {self.age[row] + step + 1}, and its table says {declared[step, i, row]:.6g}"
            )
        self.age += len(passed)

    def evaluate(self) -> None:
        """Record the validation loss and metric of every member that is due."""
        with self.clocks.time("eval"):
            values = (
                self.slots.score(self.slots.data.validation, self.slots.params, self.slots.buffers).T.to("cpu").numpy()
            )
        due = self.going & (self._next_evaluation() == self.record.done)
        self.record.add_evaluation(values, due)
        for row, member in enumerate(self.members):
            if member and member.pacer and due[row] and not self.record.diverged_at[row]:
                member.pacer.after_evaluation(*values[row].tolist())
