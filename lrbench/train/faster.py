"""Faster ways to take a population's step than eager PyTorch, each held to it before it is used."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from lrbench.device import Compiled, Replayed
from lrbench.train.reference import EVALUATION_BATCH
from lrbench.train.slots import Slots
from lrbench.train.stacked import Tensors, update

MODES = ("eager", "compiled", "graph")
CHECK_STEPS = 3
TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-9}
"""How far a faster mode may be from eager after one step, as a share of the gradient or of the change. In float32 a rounding can turn
a ReLU on or off; a wrong formula is another order."""
T = TypeVar("T")
_made: dict[Any, Any] = {}


def speed_up(slots: Slots, mode: str, rows: Tensor, lrs: Tensor) -> str | None:
    """Replace the step of some slots by a faster one, if it does the same on an example; returns why not, or None.

    Shapes: rows [N, accumulate, batch_size], lrs [P, N].
    """
    try:
        return compile_step(slots, rows, lrs) if mode == "compiled" else capture_step(slots, rows, lrs)
    except Exception as error:  # noqa: BLE001 - a compiler or a driver may fail in any way, and eager mode does without
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def compile_step(slots: Slots, rows: Tensor, lrs: Tensor) -> str | None:
    """Compile gradients, update and evaluation apart: the first and the last then serve all optimizers."""
    x, y = slots.data.train.x, slots.data.train.y
    validation = next(slots.data.validation.pieces(EVALUATION_BATCH))
    model = (slots.params, slots.buffers)
    kind = (slots.workload.name, slots.workload.revision, len(slots.done), slots.device, slots.dtype, rows.shape, x.shape)
    with slots.put_back():
        gradients = _once((*kind, "gradients"), lambda: Compiled(slots.model.gradients, *model, x, y, rows))
        grads, _ = gradients(*model, x, y, rows)
    rules = tuple((part.start, part.stop, part.rule) for part in slots.slices)
    updated = _once((*kind, rules, slots.late), lambda: Compiled(partial(update, slots.slices, slots.late), *slots.changing, grads, lrs))
    if reason := _once((*kind, rules, slots.late, "check"), lambda: _check(slots, gradients, updated, rows, lrs)):
        return reason
    gradients_of, update_with = gradients.bind(*model, x, y), updated.bind(*slots.changing)

    def step(rows: Tensor, lrs: Tensor) -> Tensor:
        *grads, losses = gradients_of(rows)
        update_with(*grads, lrs)
        return losses

    slots.step = step
    if slots.workload.stacks_evaluation:
        scores = _once((*kind, validation[0].shape), lambda: Compiled(slots.model.scores, *model, *validation))
        fits = validation[0].shape
        slots.scores = lambda params, buffers, x, y: (scores if x.shape == fits else slots.model.scores)(params, buffers, x, y)
    return None


def _once(key: Any, make: Callable[[], T]) -> T:
    """What was made in this process for the same key: compiled functions serve every population of their kind."""
    if key not in _made:
        _made[key] = make()
    found: T = _made[key]
    return found


def _check(slots: Slots, gradients: Compiled, updated: Compiled, rows: Tensor, lrs: Tensor) -> str | None:
    """Take some steps eagerly and compiled, each part from the same numbers; returns where they differ, or None."""
    x, y = slots.data.train.x, slots.data.train.y
    with slots.put_back():
        for _ in range(CHECK_STEPS):
            with slots.put_back() as again:
                expected, losses = slots.model.gradients(slots.params, slots.buffers, x, y, rows)
                buffers = _copies(slots.buffers)
                again()
                grads, found = gradients(slots.params, slots.buffers, x, y, rows)
                zero = torch.zeros_like(losses)
                pairs = [("loss", found, losses, zero), ("gradient", _joined(grads), _joined(expected), zero[:, None])]
                if reason := difference([*pairs, *((k, v, buffers[k], 0 * v) for k, v in slots.buffers.items())]):
                    return reason
            with slots.put_back() as again:
                before = _copies(slots.moving)
                slots.update(grads, lrs)
                eager = _copies(slots.moving)
                again()
                updated(*slots.changing, grads, lrs)
                if reason := difference([(k, v, eager[k], before[k]) for k, v in slots.moving.items()]):
                    return reason
            slots.eager_step(rows, lrs)
    return None


def capture_step(slots: Slots, rows: Tensor, lrs: Tensor) -> str | None:
    """Capture the step as a CUDA graph, and hold some replays of it to as many eager steps."""
    with slots.put_back() as again:
        before = _copies(slots.moving)
        for _ in range(CHECK_STEPS):
            slots.eager_step(rows, lrs)
        eager = _copies(slots.moving)
        again()
        replayed = Replayed(slots.eager_step, rows, lrs)
        again()
        for _ in range(CHECK_STEPS):
            replayed(rows, lrs)
        if reason := difference([(k, v, eager[k], before[k]) for k, v in slots.moving.items()]):
            return reason
    slots.step = replayed
    return None


def _copies(tensors: Tensors) -> Tensors:
    return {name: value.clone() for name, value in tensors.items()}


def _joined(tensors: Tensors) -> Tensor:
    """All numbers of each run, [N, ...]."""
    return torch.cat([_flat(value) for value in tensors.values()], 1)


def _flat(value: Tensor) -> Tensor:
    return value.detach().flatten(1) if value.ndim > 1 else value.detach()[:, None]


def difference(pairs: Sequence[tuple[str, Tensor, Tensor, Tensor]]) -> str | None:
    """Where found and expected differ by more than rounding, or None; of each name those two and what was before, all [N, ...].

    A run whose expected numbers are not finite is left out.
    """
    for name, *tensors in pairs:
        found, expected, before = (_flat(tensor).double() for tensor in tensors)
        tolerance = TOLERANCE.get(tensors[0].dtype, 0.0)
        error, change, size = (torch.linalg.vector_norm(v, dim=1) for v in (found - expected, expected - before, expected))
        wrong = ~(error <= tolerance * change + 1e-4 * tolerance * size) & expected.isfinite().all(1)
        if wrong.any():
            return f"{name} differs by {float((error / change)[wrong].max()):.2g} of its change"
    return None
