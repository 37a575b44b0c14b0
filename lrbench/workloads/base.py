"""What a workload is: data, model, loss, metric, target and budget, in one frozen dataclass."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lrbench.config.metric import Unit
from lrbench.config.param import Param
from lrbench.config.prints import FOR_PEOPLE
from lrbench.workloads.roles import TABLES, role_of


class Unavailable(Exception):  # noqa: N818 - a described fact about this machine, not a programming error
    """The data of a workload are not available here. The message is the reason, for the plan and the report."""


@dataclass(frozen=True)
class Split:
    """Examples: inputs ``x`` [n, ...] and labels ``y`` [n, ...]."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def pieces(self, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples in pieces of one size, at most ``most``; the last piece may be smaller."""
        size = -(-len(self) // -(-len(self) // most))
        return zip(self.x.split(size), self.y.split(size), strict=True)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Split":
        """A copy on a device, floating-point tensors in ``dtype``."""
        x, y = (t.to(device, dtype if t.is_floating_point() else t.dtype) for t in (self.x, self.y))
        return Split(x, y)


@dataclass(frozen=True)
class Data:
    """The fixed three-way split. Strategies are selected on ``validation``; ``test`` is reported once."""

    train: Split
    validation: Split
    test: Split

    @property
    def probe(self) -> Split:
        """A part of the training set with the validation set's size, to compare the losses of the two."""
        n = len(self.validation)
        return Split(self.train.x[:n], self.train.y[:n])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Data":
        """A copy of all three parts on a device."""
        return Data(*(part.to(device, dtype) for part in (self.train, self.validation, self.test)))


@dataclass(frozen=True)
class Metric:
    """What a workload is judged by.

    ``of(outputs, y)`` gets all examples of a part of the data, and returns one number, of torch or of Python.
    """

    name: str
    higher_is_better: bool
    of: Callable[[Tensor, Tensor], Tensor | float]
    limits: tuple[float, float] = (-math.inf, math.inf)
    """The lowest and highest value it can have."""
    is_mean: bool = False
    """Whether metric and loss are both means over examples. Then pieces of the data suffice, one after the other."""
    unit: Unit | None = field(default=None, metadata=FOR_PEOPLE)
    """How reports write it. None: ``usual_unit`` of its name."""


@dataclass(frozen=True)
class Workload:
    """A training problem.

    ``model()`` initialises from torch's global generator, which the trainer seeds per run.
    ``layers`` are prefixes of parameter names, input first, head last; every parameter lies in exactly one.
    ``loss(outputs, y)`` is the mean over the batch, a scalar.
    ``steps``, ``batch_size`` and ``eval_every`` (steps between evaluations) are defaults that a matrix may override.
    ``target_reason`` states the measured baseline that justifies ``target``.
    """

    name: str
    meaning: str
    source: str
    licence: str
    data: Callable[[], Data]
    model: Callable[[], nn.Module]
    layers: tuple[str, ...]
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Metric
    examples: tuple[int, int, int]
    """The sizes of the training, validation and test parts, so that a plan need not load them."""
    target: float
    target_reason: str
    steps: int
    batch_size: int
    eval_every: int
    missing: Callable[[], str | None] = lambda: None
    """Why the data are not available here, or None. It must not download or write anything."""
    pretrained: Callable[[], object] | None = None
    """Makes the weights that ``model`` starts from, so that no run waits for them. Else ``model`` makes them itself."""
    stacks_evaluation: bool = True
    """Whether evaluating many models stacked is faster than one after the other. Grouped convolutions over large
    batches are slower."""
    prepared: Callable[[], bool] = lambda: True
    """Whether data and weights are here, so that using them writes nothing."""
    stacks: bool = True
    """Whether many models can be trained as one. Not a model that draws random numbers, or branches on values."""
    lowest_loss: float = -math.inf
    """The lower bound of the loss, such as 0 for a cross-entropy; minus infinity where it is unknown. The rise of a
    loss is measured as a share of the untrained model's loss above this bound, or else of what training gains, so that
    a constant added to the loss changes nothing."""
    has_known_answer: bool = False
    """Whether every step can be computed by hand, or the optimum is known. Such a workload tests the instrument, so
    reports show it apart from the workloads that compare strategies."""
    cites: tuple[str, ...] = ()
    """Citation keys, from ``references.bib``. Where there are none, the text of ``source`` names the works."""
    revision: int | str = 1


def make_model(workload: Workload, examples: Callable[[], Tensor]) -> nn.Module:
    """An untrained model on the CPU, in training mode.

    Lazy modules take their shapes from ``examples``, a function that returns a few inputs [n, ...].
    """
    model = workload.model()
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        inputs = examples().to("cpu")
        with torch.no_grad():
            model.eval()(inputs.to(torch.get_default_dtype()) if inputs.is_floating_point() else inputs)
    return model.train()


def place(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a model to a device, real tensors in ``dtype``. Unlike ``Module.to``, it keeps complex tensors complex."""

    def moved(t: Tensor) -> Tensor:
        return t.to(device, dtype if t.is_floating_point() else dtype.to_complex() if t.is_complex() else t.dtype)

    placed: nn.Module = model._apply(moved)
    return placed


def describe(workload: Workload, model: nn.Module) -> tuple[Param, ...]:
    """Describe a model's parameters, in the model's order.

    Raises: ValueError when a name of a parameter is in no layer of the workload, or in two, or a layer has none.
    """
    tables = {
        f"{path}.weight".lstrip("."): m.sparse
        for path, m in model.named_modules(remove_duplicate=False)
        if isinstance(m, TABLES)
    }
    names: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    params: list[Param] = []
    met: list[tuple[int, int]] = []
    used: set[int] = set()
    for name, value in model.named_parameters():
        homes = {one: _layer(workload, one, name) for one in names[id(value)]}
        roles = {one: role_of(model, one, value) for one in homes}
        last = max(reversed(homes), key=lambda one: homes[one])
        i, role, used = homes[last], roles[last], used | set(homes.values())
        is_embedding = any(role.is_embedding for role in roles.values())
        is_weight = value.ndim > 1 and not (role.is_bias or role.is_norm or is_embedding)
        if is_weight or any(one in tables for one in homes):
            met.append((min(homes.values()), len(params)))
        params.append(
            Param(
                name, i, workload.layers[i], tuple(value.shape), role.is_bias, role.is_norm,
                is_head=i == len(workload.layers) - 1, is_frozen=not value.requires_grad,
                is_sparse=all(tables.get(one, False) for one in homes), is_complex=value.is_complex(),
                is_embedding=is_embedding, is_input=is_embedding, tied=tuple(one for one in homes if one != name),
                widths=(role.width_in, role.width_out), taps=role.taps,
            )
        )  # fmt: skip
    if empty := [layer for i, layer in enumerate(workload.layers) if i not in used]:
        raise ValueError(f"workload {workload.name!r}: layers {sorted(empty)} have no parameter.")
    if met:
        _, first = min(met)
        params[first] = replace(params[first], is_input=True)
    return tuple(params)


def _layer(workload: Workload, name: str, own: str) -> int:
    """The layer that contains a name of a parameter; ``own`` is the first of the parameter's names."""
    home = [i for i, layer in enumerate(workload.layers) if name == layer or name.startswith(layer + ".")]
    if len(home) != 1:
        tied = (
            ""
            if name == own
            else f" (it is tied to {own!r}: each of its names must lie in a layer, and it learns as the last of them)"
        )
        raise ValueError(
            f"workload {workload.name!r}: parameter {name!r} lies in {len(home)} of its layers, must be 1{tied}."
        )
    return home[0]


def accuracy(outputs: Tensor, y: Tensor) -> Tensor:
    """Share of examples whose largest output is the label; outputs [n, classes], y [n]."""
    return (outputs.argmax(-1) == y).float().mean()


ACCURACY = Metric("accuracy", True, accuracy, limits=(0.0, 1.0), is_mean=True, unit="fraction")


def as_number(value: Tensor | float, what: str) -> Tensor:
    """A loss or a metric as a float64 scalar tensor, on its device.

    Raises: ValueError when it is more than one number.
    """
    number = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    if number.numel() != 1:
        raise ValueError(f"{what} must be one number, and has the shape {tuple(number.shape)}: take a mean or a sum.")
    return number.detach().reshape(()).double()


def concatenated(pieces: Sequence[Any]) -> Any:
    """Concatenate a model's outputs for pieces of the data: tensors [n, ...], or tuples, lists and dicts of them.

    Raises: ValueError when an output does not have a value for each example.
    """
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if isinstance(first, dict):
        return {name: concatenated([piece[name] for piece in pieces]) for name in first}
    if isinstance(first, list | tuple):
        return [concatenated(parts) for parts in zip(*pieces, strict=True)]
    if first.ndim == 0:
        raise ValueError(
            "the model's output has no value for each example, and the metric is no mean: return outputs [n, ...]."
        )
    return torch.cat(list(pieces))


def fingerprint(data: Data) -> str:
    """SHA-256 of all tensors of the data, in the order train, validation, test; inputs before labels."""
    digest = hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        for tensor in (part.x, part.y):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
