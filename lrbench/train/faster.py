"""Faster modes than eager PyTorch for a population's step. Each is compared with eager mode before it is used."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from lrbench.config.faults import message_of
from lrbench.device import Compiled, Replayed, without_kernels
from lrbench.train.reference import EVALUATION_BATCH
from lrbench.train.slots import Slots
from lrbench.train.stacked import Changing, Tensors, update

MODES = ("eager", "compiled", "graph")
CHECK_STEPS = 3
CHECK_LRS = (1e-2, 1e-1)
"""The compared steps have lrs between these, another for each run and parameter: none is 0, and no run explodes."""
MODE_TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-9}
"""How far a faster mode may be from eager mode after one step, as a share of the gradient or of the change. In float32,
rounding can switch a ReLU. A wrong formula is off by orders of magnitude more."""
T = TypeVar("T")
Scores = Callable[[Tensors, Tensors, Tensor, Tensor], Tensor]
_made: dict[Any, Any] = {}


class Differs(Exception):  # noqa: N818 - not an error: eager mode does without
    """A faster mode gives another result than eager mode. The message says where."""


def speed_up(slots: Slots, mode: str, rows: Tensor) -> str:
    """Replace the step and the evaluation of some slots by faster ones, if both agree with eager mode on an example.

    Shapes: rows [N, accumulate, batch_size].

    Returns: the mode in use, with the reason for a fallback, as ``Outcome.mode`` has it.
    """
    lrs = torch.linspace(*CHECK_LRS, slots.joins.numel()).view(slots.joins.shape).to(slots.joins)
    try:
        (compile_step if mode == "compiled" else capture_step)(slots, rows, lrs)
    except Differs as difference:
        return f"eager: {mode} given up: {difference}"
    except Exception as error:  # noqa: BLE001 - a compiler or a driver may fail in any way
        return f"eager: {mode} given up: {message_of(error)}"
    lack = without_kernels(slots.device) if mode == "compiled" else None
    return f"{mode}: without own kernels: {lack}" if lack else mode


def compile_step(slots: Slots, rows: Tensor, lrs: Tensor) -> None:
    """Compile gradients, update and evaluation separately, so that gradients and evaluation serve all optimizers.

    All three are compiled before one is used.

    Shapes: rows [N, accumulate, batch_size], lrs [P, N], as in ``capture_step``.

    Raises: Differs; whatever the compiler raises.
    """
    x, y = slots.data.train.x, slots.data.train.y
    model = (slots.params, slots.buffers)
    kind = (
        slots.workload.name,
        slots.workload.revision,
        len(slots.done),
        slots.device,
        slots.dtype,
        rows.shape,
        x.shape,
    )
    with slots.put_back():
        gradients = _once((*kind, "gradients"), lambda: Compiled(slots.model.gradients, *model, x, y, rows))
        grads, _ = gradients(*model, x, y, rows)
    rules = (*kind, tuple((part.start, part.stop, *part.rules.values()) for part in slots.slices), slots.late)
    updated = _once(
        (*rules, "update"), lambda: Compiled(partial(update, slots.slices, slots.late), *slots.changing, grads, lrs)
    )
    _hold((*rules, "step"), lambda: _check_step(slots, gradients, updated, rows, lrs))
    stacked = slots.workload.stacks_evaluation and slots.workload.metric.is_mean
    scores = _compile_scores(slots, kind) if stacked else slots.scores
    gradients_of, update_with = gradients.bind(*model, x, y), updated.bind(*slots.changing)

    def step(rows: Tensor, lrs: Tensor) -> Tensor:
        *grads, losses = gradients_of(rows)
        update_with(*grads, lrs)
        return losses

    slots.faster = _captured(slots, step, rows, lrs) if slots.device.type == "cuda" else step
    slots.scores = scores


def _compile_scores(slots: Slots, kind: tuple[Any, ...]) -> Scores:
    """The evaluation, compiled for pieces of the shape of the validation set's first piece."""
    example, eager = next(slots.data.validation.pieces(EVALUATION_BATCH)), slots.model.scores
    shape = example[0].shape
    fast = _once((*kind, shape, "scores"), lambda: Compiled(eager, slots.params, slots.buffers, *example))
    _hold((*kind, shape, "evaluation"), lambda: _check_scores(slots, fast, *example))
    return lambda params, buffers, x, y: (fast if x.shape == shape else eager)(params, buffers, x, y)


def _once(key: Any, make: Callable[[], T]) -> T:
    """Make a value once per process and key. Compiled functions serve every population of their kind."""
    if key not in _made:
        _made[key] = make()
    made: T = _made[key]
    return made


def _hold(key: Any, check: Callable[[], None]) -> None:
    """Check what was made for a key, unless the check passed before in this process."""
    if key not in _made:
        check()
        _made[key] = True


def _check_step(slots: Slots, gradients: Compiled, updated: Compiled, rows: Tensor, lrs: Tensor) -> None:
    """Compare some steps in eager and compiled mode, each part from the same numbers.

    Raises: Differs.
    """
    x, y = slots.data.train.x, slots.data.train.y
    with slots.put_back():
        for i in range(CHECK_STEPS):
            with slots.put_back() as again:
                expected, losses = slots.model.gradients(slots.params, slots.buffers, x, y, rows)
                buffers = _copies(slots.buffers)
                again()
                grads, compiled = gradients(slots.params, slots.buffers, x, y, rows)
                zero = torch.zeros_like(losses)
                compare([("loss", compiled, losses, zero)])
                compare([("gradient", _joined(grads), _joined(expected), zero[:, None])])
                compare([(k, v, buffers[k], 0 * v) for k, v in slots.buffers.items()])
            with slots.put_back() as again:
                before, changing = _copies(slots.moving), _changing(slots, i)
                update(slots.slices, slots.late, *changing, grads, lrs)
                eager = _copies(slots.moving)
                again()
                updated(*changing, grads, lrs)
                compare([(k, v, eager[k], before[k]) for k, v in slots.moving.items()])
            slots.eager_step(rows, lrs)


def _changing(slots: Slots, i: int) -> Changing:
    """What an update changes or reads, with every parameter training.

    Where some join late, they train in every other run, and in the other runs at the next step.
    """
    params, tensors, joins, done = slots.changing
    joins = torch.zeros_like(joins)
    if slots.late:
        joins[:, i % 2 :: 2] = torch.inf
    return params, tensors, joins, done


def _check_scores(slots: Slots, fast: Compiled, x: Tensor, y: Tensor) -> None:
    """Compare evaluations in eager and compiled mode. Metrics are compared over all runs: rounding can flip examples.

    Raises: Differs.
    """
    expected, actual = (of(slots.params, slots.buffers, x, y).to(slots.dtype) for of in (slots.model.scores, fast))
    zero, finite = torch.zeros_like(expected[0]), expected.isfinite().all(0)
    compare([("validation loss", actual[0], expected[0], zero)])
    compare([("validation metric", actual[1, finite][None], expected[1, finite][None], zero[finite][None])])


def capture_step(slots: Slots, rows: Tensor, lrs: Tensor) -> None:
    """Replace the eager step by its CUDA graph.

    Raises: Differs; whatever capturing raises.
    """
    slots.faster = _captured(slots, slots.eager_step, rows, lrs)


def _captured(slots: Slots, step: Callable[[Tensor, Tensor], Tensor], rows: Tensor, lrs: Tensor) -> Replayed:
    """Capture a step as a CUDA graph, and compare some replays with as many calls of the step.

    Raises: Differs; whatever capturing raises.
    """
    with slots.put_back() as again:
        before = _copies(slots.moving)
        for _ in range(CHECK_STEPS):
            step(rows, lrs)
        expected = _copies(slots.moving)
        again()
        replayed = Replayed(step, rows, lrs)
        again()
        for _ in range(CHECK_STEPS):
            replayed(rows, lrs)
        compare([(k, v, expected[k], before[k]) for k, v in slots.moving.items()])
    return replayed


def _copies(tensors: Tensors) -> Tensors:
    return {name: value.clone() for name, value in tensors.items()}


def _joined(tensors: Tensors) -> Tensor:
    """The numbers of each run in one row, [N, ...]."""
    return torch.cat([_flat(value) for value in tensors.values()], 1)


def _flat(value: Tensor) -> Tensor:
    return value.detach().flatten(1) if value.ndim > 1 else value.detach()[:, None]


def compare(pairs: Sequence[tuple[str, Tensor, Tensor, Tensor]]) -> None:
    """Compare tensors with the expected ones; each pair has a name, and the values before the step too, all [N, ...].

    Runs whose expected numbers are not finite are left out.

    Raises: Differs where they differ by more than rounding, or where no run is left.
    """
    for name, *tensors in pairs:
        actual, expected, before = (_flat(tensor).double() for tensor in tensors)
        tolerance = MODE_TOLERANCE.get(tensors[0].dtype, 0.0)
        error, change, size = (
            torch.linalg.vector_norm(v, dim=1) for v in (actual - expected, expected - before, expected)
        )
        compared = expected.isfinite().all(1)
        wrong = ~(error <= tolerance * change + 1e-4 * tolerance * size) & compared
        if wrong.any():
            raise Differs(f"{name} differs by {float((error / change)[wrong].max()):.2g} of its change")
        if not compared.any():
            raise Differs(f"{name} is finite in no run, so nothing can be compared")
