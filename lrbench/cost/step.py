"""The step that is measured: the reference trainer's own, without its evaluations, and the same step in parts."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lrbench.config.cost import Case
from lrbench.cost.cases import groups_for
from lrbench.device import Device, Marks, no_tf32
from lrbench.strategies import Group
from lrbench.train import Training, data_for
from lrbench.workloads import WORKLOADS

ENDLESS = 1_000_000
"""More steps than are measured; a schedule is then at its beginning, where it costs what it costs anywhere."""
FLAGS = {
    "for-loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True, "fused": False},
    "fused": {"foreach": False, "fused": True},
}


class CannotMeasure(Exception):  # noqa: N818 - a described fact about a case, not a programming error
    """A case that does not exist, such as a fused kernel that an optimizer does not have; the message is the reason."""


class Step(Training):
    """A training that is only there to be timed: it has the case's groups, joined as they are at its stage, and evaluates nothing."""

    def __init__(self, case: Case, device: Device) -> None:
        if case.run.precision == "tf32" and (reason := no_tf32(device)):
            raise CannotMeasure(reason)
        self.case = case
        run = case.run.but(steps=ENDLESS, eval_every=ENDLESS)
        super().__init__(run, WORKLOADS[run.workload.name], data_for(run, device), device)
        choose_implementation(self.optimizer, case)
        self._evaluation_mode(False)
        self.eager = self.model
        if case.compiled:
            self.model = cast("nn.Module", torch.compile(self.model, dynamic=False))
            self.step = self._build_step()

    def _make_groups(self) -> list[Group]:
        return [
            replace(group, joins=0 if group.joins <= self.case.stage else ENDLESS) for group in groups_for(self.case)
        ]

    def evaluate(self) -> None:
        """Nothing."""

    def validate(self) -> None:
        """Evaluate as a training does after an interval, and record nothing."""
        self._score(self.data.validation)

    def flops(self) -> int:
        """Floating-point operations of matrix products and convolutions in one step. Takes the step, uncompiled."""
        compiled, self.model = self.model, self.eager
        step = self._build_step()
        with FlopCounterMode(display=False) as counter:
            step(self.order(self.done))
        self.model = compiled
        return int(counter.get_total_flops())

    def resident_bytes(self) -> int:
        """Bytes of parameters, gradients, buffers, optimizer state and training data."""
        tensors = [
            *self.eager.parameters(),
            *self.eager.buffers(),
            *_tensors(self.optimizer.state_dict()),
            self.data.train.x,
            self.data.train.y,
        ]
        tensors += [p.grad for p in self.eager.parameters() if p.grad is not None]
        return sum(t.untyped_storage().nbytes() for t in {t.untyped_storage().data_ptr(): t for t in tensors}.values())

    def parts(self, steps: int, marks: Marks) -> list[dict[str, float]]:
        """Take some steps; the seconds of each of ``PARTS``, and of the ``whole``, step by step. The device is waited for at the end."""
        if "closure" in self.flags:
            raise CannotMeasure(
                "forward and backward happen inside optimizer.step(), which calls them as often as it likes"
            )
        marks.clear()
        for done in range(self.done, self.done + steps):
            self._in_parts(self.order(done), done, marks)
        self.done += steps
        seconds = marks.seconds()
        per_step = 2 * self.run.accumulate + 4
        return [_step_of(seconds[i : i + per_step - 1]) for i in range(0, len(seconds), per_step)]

    def _in_parts(self, batches: tuple[Tensor, ...], done: int, marks: Marks) -> None:
        marks.mark()
        if self.is_staged:
            self.optimizer.join(done)
        self.optimizer.zero_grad()
        marks.mark()
        for rows in batches:
            with self.autocast or nullcontext():
                loss = self.workload.loss(self.model(self.data.train.x[rows]), self.data.train.y[rows])
            share = loss / self.run.accumulate
            marks.mark()
            (self.scaler.scale(share) if self.scaler else share).backward()
            marks.mark()
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer._opt_called = True
        else:
            self.optimizer.step()
        marks.mark()
        self.pacer.after_step(done + 1)
        marks.mark()


def _step_of(seconds: list[float]) -> dict[str, float]:
    """The parts of one step from the times between its marks: zero_grad, then (forward, backward) per batch, optimizer, scheduler."""
    passes = seconds[1:-2]
    return {
        "forward": sum(passes[::2]),
        "backward": sum(passes[1::2]),
        "optimizer": seconds[-2],
        "scheduler": seconds[-1],
        "whole": sum(seconds),
    }


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)


def choose_implementation(optimizer: Any, case: Case) -> None:
    """Make an optimizer use a loop over tensors, ``foreach`` kernels or a fused one: torch reads the choice of each group at each step.

    Raises: CannotMeasure when the optimizer has no such implementation.
    """
    if case.implementation == "default":
        return
    needed = "fused" if case.implementation == "fused" else "foreach"
    for group in optimizer.param_groups:
        if needed not in group:
            raise CannotMeasure(f"{case.run.optimizer.name} has no {case.implementation} implementation")
        group.update({name: value for name, value in FLAGS[case.implementation].items() if name in group})
