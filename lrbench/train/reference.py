"""The reference trainer: a plain loop over ``torch.optim``. What it does is what a run means.

``loss.backward()`` turns the loss into gradients, ``optimizer.step()`` turns gradient x learning rate into a weight change,
``scheduler.step()`` comes after it, and ``optimizer.zero_grad()`` stops this batch's gradient from leaking into the next.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrbench.device import DTYPES, deterministic, use_tf32
from lrbench.spec.outcome import Outcome
from lrbench.spec.run import Run
from lrbench.strategies import OPTIMIZERS, Group, Pacer, Timing, audit_run, groups_of
from lrbench.strategies.composite import Staged
from lrbench.train.checkpoint import Checkpoint
from lrbench.train.clocks import Clocks
from lrbench.train.data import dtype_of
from lrbench.train.record import Lrs, Record
from lrbench.train.seeds import Order, derive
from lrbench.workloads import Data, Split, Workload, describe

EVALUATION_BATCH = 1024
Batches = tuple[Tensor, ...]
"""Numbers of training examples, [batch_size] int64 each; as many batches as are accumulated into one step."""


def ended_values(train: list[float], test: list[float]) -> dict[str, Any]:
    """The (loss, metric) pairs at the end of a run by their names in its outcome."""
    return {"train_loss": train[0], "test_loss": test[0], "test_metric": test[1]}


class AuditError(Exception):
    """A group was stepped with another lr than its strategy declares, so the result would not be that strategy's."""


def train(run: Run, workload: Workload, data: Data, device: torch.device, checkpoint: Checkpoint | None = None) -> Outcome:
    """Train one run from its seed to its budget, or on from its checkpoint, to the same outcome bit for bit.

    Shapes: as ``Outcome``. Every ``run.eval_every`` steps the validation set is evaluated; at the end, also the test set and as many
    training examples as there are for validation.

    Raises: AuditError when the lrs in use were not the declared ones; Interrupted when the checkpoint asks to stop; whatever the model
    or the optimizer raises.
    """
    deterministic()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training = Training(run, workload, data, device)
        if checkpoint and (state := checkpoint.load(run.key)):
            training.load_state_dict(state)
        else:
            training.evaluate()
        while training.done < run.steps and not training.diverged:
            training.advance(training.to_edge, checkpoint.is_asked if checkpoint else None)
            if checkpoint and not training.diverged:
                checkpoint.visit(training.state_dict)
        return training.finish()


class Training:
    """A run under way: model, optimizer, schedule, data order, and the record of what happened."""

    def __init__(self, run: Run, workload: Workload, data: Data, device: torch.device) -> None:
        self.run, self.workload, self.device, self.done = run, workload, device, 0
        dtype = dtype_of(run)
        use_tf32(run.precision == "tf32")
        torch.manual_seed(derive(run.seed, "model"))
        self.model = workload.model().to(device, dtype)
        torch.manual_seed(derive(run.seed, "dropout"))
        self.data = data.to(device, dtype)
        self.order = Order(run.seed, len(data.train), run.batch_size, run.accumulate, device)
        self.timing = Timing(run.steps, self.order.steps_per_epoch, run.eval_every)
        self.groups = self._make_groups()
        self.flags = OPTIMIZERS[run.optimizer.name].flags
        self.optimizer = self._build_optimizer()
        self.is_staged = isinstance(self.optimizer, Staged)
        self.pacer = Pacer(run.schedule, self.optimizer, self.timing)
        low = run.precision in ("bf16", "fp16")
        self.autocast = torch.autocast(device.type, DTYPES[run.precision]) if low else None
        self.scaler = torch.amp.GradScaler(device.type) if run.precision == "fp16" else None
        self.step = self._build_step()
        self.record = Record(1, run.steps, run.eval_every, workload.lowest_loss)
        self.lrs: list[Lrs] = []
        self.clocks = Clocks(device, self.record.seconds[0])

    @property
    def diverged(self) -> bool:
        """Whether training has come to its end early."""
        return bool(self.record.diverged_at[0])

    def _make_groups(self) -> list[Group]:
        return groups_of(self.run, describe(self.workload, self.model))

    def _build_optimizer(self) -> Any:
        tensors = dict(self.model.named_parameters())
        trained = {name for group in self.groups for name in group.params}
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in trained)
        options = [group.options(tensors, self.run.lr) for group in self.groups]
        entry = OPTIMIZERS[self.run.optimizer.name]
        settings = entry.resolve(self.run.optimizer.settings)

        def build(some: list[dict[str, Any]]) -> Any:
            return entry.build(some, self.run.lr, **settings)

        joins = [group.joins for group in self.groups]
        return Staged(options, joins, build) if any(joins) else build(options)

    @property
    def to_edge(self) -> int:
        """The steps that are left of an evaluation interval."""
        every = self.run.eval_every
        return min(every - self.done % every, self.run.steps - self.done)

    def advance(self, steps: int, stop: Callable[[], bool] | None = None) -> None:
        """Train an interval, then evaluate. Nothing inside the interval waits for the device, closures and fp16 scaling apart.

        Asked to ``stop``, it ends after the step that it is at, without an evaluation unless that was the last one.
        """
        losses: list[Tensor] = []
        lrs: list[float] = []
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
                    lrs.append(group["lr"])  # noqa: PERF401 - a list made anew for each step would be one more thing to collect
                loss = step(order(done))  # kept until the next one: freeing its graph at once costs a small model 2 %
                losses.append(loss.detach())
                after_step(done + 1)
                if stop and stop():
                    break
        taken = len(losses)
        with self.clocks.time("record"):
            used = np.asarray(lrs).reshape(taken, -1)
            if self.is_staged:
                used[np.arange(self.done, self.done + taken)[:, None] < [group.joins for group in self.groups]] = np.nan
            self.lrs.append(used)
            self.record.add_steps(torch.stack(losses).to("cpu", torch.float32).numpy()[None])
        self.done += taken
        if taken == steps and not self.diverged:
            self.evaluate()

    def _build_step(self) -> Callable[[Batches], Tensor]:
        """One optimizer step on the mean loss over some batches; it returns that loss before the step, still on the device.

        A function of local names: in small models, looking up attributes is what a loop would cost beside one written by hand.
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
            optimizer._opt_called = True  # a step left out for its overflow counts as one
            return loss

        def on_closure(batches: Batches) -> Tensor:
            return torch.as_tensor(optimizer.step(lambda: gradients(batches)))

        if "closure" in self.flags:
            return on_closure
        return scaled if scaler else plain if parts == 1 and autocast is None else general

    def evaluate(self) -> None:
        """Record the validation loss and metric."""
        with self.clocks.time("eval"):
            values = self._score(self.data.validation).tolist()
        self.record.add_evaluation(np.array([values]), np.array([True]))
        if self.done and not self.diverged:
            self.pacer.after_evaluation(*values)

    def _score(self, part: Split) -> Tensor:
        """(loss, metric) of a part of the data in evaluation mode, float64 on the device."""
        self._evaluation_mode(True)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad(), self.autocast or nullcontext():
            for x, y in part.pieces(EVALUATION_BATCH):
                outputs = self.model(x)
                loss = self.workload.loss(outputs, y)
                total += torch.stack([loss.double(), self.workload.metric.of(outputs, y).double()]) * len(x)
        self._evaluation_mode(False)
        return total / len(part)

    def _evaluation_mode(self, on: bool) -> None:
        self.model.train(not on)
        if "train_eval" in self.flags:
            self.optimizer.eval() if on else self.optimizer.train()

    def finish(self) -> Outcome:
        """Audit the lrs and make the outcome. Training and test loss are evaluated here, once, for the weights at the end."""
        steps = self.record.steps(0)
        lrs = np.concatenate(self.lrs)[:steps] if self.lrs else np.zeros((0, len(self.groups)))
        if fault := self._audit(lrs):
            raise AuditError(fault)
        ended = ended_values(self._score(self.data.probe).tolist(), self._score(self.data.test).tolist()) if not self.diverged else {}
        better, names = self.workload.metric.higher_is_better, tuple(group.name for group in self.groups)
        return self.record.outcome(0, self.run, lrs, higher_is_better=better, groups=names, **ended)

    def _audit(self, lrs: Lrs) -> str | None:
        numbers = {k: v for k, v in self.optimizer.param_groups[0].items() if isinstance(v, int | float) and k != "initial_lr"}
        seen = self.record.seen(0).tolist()
        return audit_run(lrs, self.run.schedule, self.run.lr, self.timing, self.groups, evaluations=seen, options=numbers)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.empty(0)
        return {
            "key": self.run.key,
            "done": self.done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pacer": self.pacer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "random": torch.get_rng_state(),
            "random_cuda": cuda,
            "record": self.record.state_dict(),
            "lrs": [torch.from_numpy(part) for part in self.lrs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved moment: the scheduler before the optimizer, whose lrs it would otherwise overwrite."""
        self.done = state["done"]
        if isinstance(self.optimizer, Staged):
            self.optimizer.join(self.done - 1)
        self.model.load_state_dict(state["model"])
        self.pacer.load_state_dict(state["pacer"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.record.load_state_dict(state["record"])
        self.lrs = [part.numpy() for part in state["lrs"]]
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
