"""The reference trainer: a plain loop over ``torch.optim``. What it does is what a run means.

``loss.backward()`` turns the loss into gradients, ``optimizer.step()`` turns gradient x learning rate into a weight
change, ``scheduler.step()`` comes after it, and ``optimizer.zero_grad()`` stops this batch's gradient from leaking into
the next.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrbench.config.outcome import Outcome
from lrbench.config.run import Run
from lrbench.device import DTYPES, use_tf32
from lrbench.strategies import (
    OPTIMIZERS,
    Group,
    Pacer,
    Timing,
    Unpaced,
    audit_run,
    built,
    groups_of,
    rounding_of,
    swaps_weights,
)
from lrbench.strategies.composite import Staged
from lrbench.train.checkpoint import attributes, load_model_state, model_state
from lrbench.train.data import dtype_of
from lrbench.train.record import Clocks, Lrs, Record
from lrbench.train.seeds import Order, derive, generators_state, restore_generators, seed_generators
from lrbench.workloads import Data, Split, Workload, as_number, concatenated, describe, make_model, place

EVALUATION_BATCH = 1024
Batches = tuple[Tensor, ...]
"""Indices of training examples, [batch_size] int64 each; one tensor per batch that a step accumulates."""


def ended_values(train: list[float], test: list[float]) -> dict[str, Any]:
    """The (loss, metric) pairs at the end of a run, by the names of ``Outcome``."""
    return {"train_loss": train[0], "test_loss": test[0], "test_metric": test[1]}


def score(workload: Workload, model: Callable[[Tensor], Any], part: Split, device: torch.device) -> Tensor:
    """(loss, metric) of a model on a part of the data, [2] float64 on the device.

    Where both are means over examples, they are computed in pieces.
    """
    pieces = part.pieces(EVALUATION_BATCH)
    if not workload.metric.is_mean:
        return values(workload, concatenated([model(x) for x, _ in pieces]), part.y).to(device)
    total = torch.zeros(2, dtype=torch.float64, device=device)
    for x, y in pieces:
        total += values(workload, model(x), y) * len(x)
    return total / len(part)


def values(workload: Workload, outputs: Any, y: Tensor) -> Tensor:
    """(loss, metric) of a model's outputs, [2] float64."""
    loss = as_number(workload.loss(outputs, y), "the loss")
    metric = as_number(workload.metric.of(outputs, y), f"the metric {workload.metric.name!r}")
    return torch.stack([loss, metric.to(loss.device)])


class AuditError(Exception):
    """A group was stepped with another lr than its strategy declares."""


class ClosureError(Exception):
    """An optimizer did not call its closure."""


class Training:
    """A run under way: model, optimizer, schedule, order of the data, and the record."""

    def __init__(self, run: Run, workload: Workload, data: Data, device: torch.device) -> None:
        self.run, self.workload, self.device, self.done = run, workload, device, 0
        dtype = dtype_of(run)
        use_tf32(run.precision == "tf32")
        seed_generators(derive(run.seed, "model"))
        self.model = place(make_model(workload, lambda: data.train.x[:2]), device, dtype)
        self.untrained = attributes(self.model)
        seed_generators(derive(run.seed, "dropout"))
        self.data = data.to(device, dtype)
        self.order = Order(run.seed, len(data.train), run.batch_size, run.accumulate, device)
        self.timing = Timing(run.steps, self.order.steps_per_epoch, run.eval_every)
        self.groups = self._make_groups()
        self.flags = OPTIMIZERS[run.optimizer.name].flags
        self.optimizer = self._build_optimizer()
        self.is_staged = isinstance(self.optimizer, Staged)
        self.swaps_weights = swaps_weights(run.optimizer, self.optimizer)
        self.sets_own_lr = "no_schedule" in self.flags
        self.pacer = Unpaced() if self.sets_own_lr else Pacer(run.schedule, self.optimizer, self.timing)
        low = run.precision in ("bf16", "fp16")
        self.autocast = torch.autocast(device.type, DTYPES[run.precision]) if low else None
        self.scaler = torch.amp.GradScaler(device.type) if run.precision == "fp16" else None
        self.step = self._build_step()
        self.record = Record(1, run.steps, run.eval_every, workload.lowest_loss)
        self.lrs: list[Lrs] = []
        self.clocks = Clocks(device, self.record.seconds[0])

    @property
    def diverged(self) -> bool:
        """Whether the run has diverged."""
        return bool(self.record.diverged_at[0])

    def _make_groups(self) -> list[Group]:
        return groups_of(self.run, describe(self.workload, self.model))

    def _build_optimizer(self) -> Any:
        tensors = dict(self.model.named_parameters())
        trained = {name for group in self.groups for name in group.params}
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in trained)
        options = [group.options(tensors, self.run.lr) for group in self.groups]

        def build(some: list[dict[str, Any]]) -> Any:
            return built(self.run.optimizer, some, self.run.lr)

        joins = [group.joins for group in self.groups]
        return Staged(options, joins, build) if any(joins) else build(options)

    @property
    def to_edge(self) -> int:
        """The steps left in the current evaluation interval."""
        every = self.run.eval_every
        return min(every - self.done % every, self.run.steps - self.done)

    def advance(self, steps: int, stop: Callable[[], bool] | None = None) -> None:
        """Train an interval, then evaluate. Steps do not wait for the device.

        The exceptions are closures, fp16 scaling and lrs in device memory. When ``stop`` says so, training ends after
        the current step, and evaluates only if that was the interval's last one.

        Raises: AuditError when an lr changed inside the optimizer's step, and the optimizer does not declare that.
        """
        losses: list[Tensor] = []
        lrs: list[float] = []
        left: list[float] = []
        optimizer, groups, after_step, order, step = (
            self.optimizer,
            self.optimizer.param_groups,
            self.pacer.after_step,
            self.order,
            self.step,
        )
        with self.clocks.time("train"):
            for done in range(self.done, self.done + steps):
                if self.is_staged:
                    optimizer.join(done)
                    groups = optimizer.param_groups
                for group in groups:
                    lrs.append(float(group["lr"]))  # noqa: PERF401 - a new list for each step would cost time
                loss = step(order(done))  # kept until the next one: freeing its graph at once costs a small model 2 %
                for group in groups:
                    left.append(float(group["lr"]))  # noqa: PERF401 - as above
                losses.append(loss.detach())
                after_step(done + 1)
                if stop and stop():
                    break
        taken = len(losses)
        with self.clocks.time("record"):
            used, after = (np.asarray(some, np.float64).reshape(taken, -1) for some in (lrs, left))
            if self.sets_own_lr:
                used = after
            elif (changed := (used != after) & ~(np.isnan(used) & np.isnan(after))).any():
                raise AuditError(self._undeclared(used, after, *np.argwhere(changed)[0]))
            if self.is_staged:
                used[np.arange(self.done, self.done + taken)[:, None] < [group.joins for group in self.groups]] = np.nan
            self.lrs.append(used)
            self.record.add_steps(torch.stack(losses).to("cpu", torch.float32).numpy()[None])
        self.done += taken
        if taken == steps and not self.diverged:
            self.evaluate()

    def _undeclared(self, before: Lrs, after: Lrs, step: int, group: int) -> str:
        return (
            f"lr audit: group {self.groups[group].name!r} had lr {before[step, group]:.6g} before step "
            f"{self.done + step + 1} and "
            f"{after[step, group]:.6g} after it: {self.run.optimizer.label} changes its lr inside step(). One that is "
            f"meant to set its "
            'own lr is registered with flags=["no_schedule"].'
        )

    def _build_step(self) -> Callable[[Batches], Tensor]:
        """A function for one optimizer step on the mean loss over some batches. It returns the loss before the step.

        The loss stays on the device. With a closure, it is that of the first evaluation: of the step's own batch, at
        the weights before the step. The function uses local names only: in small models, attribute lookups would cost
        more than a loop written by hand.
        """
        model, loss_of, x, y = self.model, self.workload.loss, self.data.train.x, self.data.train.y
        optimizer, autocast, parts = self.optimizer, self.autocast, self.run.accumulate
        scaler: Any = self.scaler

        def backward(rows: Tensor) -> Tensor:
            with autocast or nullcontext():
                loss = loss_of(model(x[rows]), y[rows])
            share = loss / parts
            (scaler.scale(share) if scaler else share).backward()
            return loss.detach()

        def gradients(batches: Batches) -> Tensor:
            optimizer.zero_grad()
            return torch.stack([backward(rows) for rows in batches]).mean()

        def plain(batches: Batches) -> Tensor:
            optimizer.zero_grad()
            (rows,) = batches
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            return loss

        def general(batches: Batches) -> Tensor:
            loss = gradients(batches)
            optimizer.step()
            return loss

        def scaled(batches: Batches) -> Tensor:
            loss = gradients(batches)
            scaler.step(optimizer)
            scaler.update()
            optimizer._opt_called = True  # a step that is skipped for its overflow counts
            return loss

        def on_closure(batches: Batches) -> Tensor:
            loss = gradients(batches)
            optimizer.step(lambda: gradients(batches))
            return loss

        def closure_first(batches: Batches) -> Tensor:
            losses: list[Tensor] = []

            def closure() -> Tensor:
                losses.append(gradients(batches))
                return losses[-1]

            optimizer.step(closure)
            if not losses:
                raise ClosureError(
                    "the optimizer's step did not call its closure, as the flag closure_first says that it does"
                )
            return losses[0]

        if "closure" in self.flags:
            return closure_first if "closure_first" in self.flags else on_closure
        return scaled if scaler else plain if parts == 1 and autocast is None else general

    def evaluate(self) -> None:
        """Record the validation loss and metric."""
        with self.clocks.time("eval"):
            values = self._score(self.data.validation).tolist()
        self.record.add_evaluation(np.array([values]), np.array([True]))
        if self.done and not self.diverged:
            self.pacer.after_evaluation(*values)

    def _score(self, part: Split) -> Tensor:
        """(loss, metric) of a part of the data in evaluation mode, [2] float64 on the device."""
        self._evaluation_mode(True)
        with torch.no_grad(), self.autocast or nullcontext():
            scores = score(self.workload, self.model, part, self.device)
        self._evaluation_mode(False)
        return scores

    def _evaluation_mode(self, on: bool) -> None:
        self.model.train(not on)
        if self.swaps_weights and not on:
            self.optimizer.train()
        elif self.swaps_weights and self.done:  # before the first step there are no other weights to swap in
            self.optimizer.eval()

    def finish(self) -> Outcome:
        """Audit the lrs and make the outcome. Training and test loss are evaluated here, once, at the final weights."""
        steps = self.record.steps(0)
        lrs = np.concatenate(self.lrs)[:steps] if self.lrs else np.zeros((0, len(self.groups)))
        if fault := self._audit(lrs):
            raise AuditError(fault)
        ended = (
            ended_values(self._score(self.data.probe).tolist(), self._score(self.data.test).tolist())
            if not self.diverged
            else {}
        )
        better, names = self.workload.metric.higher_is_better, tuple(group.name for group in self.groups)
        return self.record.outcome(0, self.run, lrs, higher_is_better=better, groups=names, **ended)

    def _audit(self, lrs: Lrs) -> str | None:
        if self.sets_own_lr:
            return None
        numbers = {
            k: v for k, v in self.optimizer.param_groups[0].items() if isinstance(v, int | float) and k != "initial_lr"
        }
        seen = self.record.seen(0).tolist()
        rounding = rounding_of(self.run.optimizer, self.run.schedule)
        return audit_run(
            lrs,
            self.run.schedule,
            self.run.lr,
            self.timing,
            self.groups,
            evaluations=seen,
            options=numbers,
            rounding=rounding,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {
            "key": self.run.key,
            "done": self.done,
            "model": model_state(self.model, self.untrained),
            "optimizer": self.optimizer.state_dict(),
            "pacer": self.pacer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "random": generators_state(self.device),
            "record": self.record.state_dict(),
            "lrs": [torch.from_numpy(part) for part in self.lrs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state: the scheduler before the optimizer, or it would overwrite the optimizer's lrs."""
        self.done = state["done"]
        if isinstance(self.optimizer, Staged):
            self.optimizer.join(self.done - 1)
        load_model_state(self.model, state["model"])
        self.pacer.load_state_dict(state["pacer"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.record.load_state_dict(state["record"])
        self.lrs = [part.numpy() for part in state["lrs"]]
        restore_generators(state["random"], self.device)
