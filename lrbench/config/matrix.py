"""The matrix file: axes whose product is the runs. It is checked whole, and all faults are reported at once."""

import itertools
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails

from lrbench.config.catalog import Entry
from lrbench.config.cost import Grouping, Implementation
from lrbench.config.faults import BadInput, closest, fault, faults_of, nearest, read_toml
from lrbench.config.run import Precision
from lrbench.config.types import Count, Positive, Seed, Strict

Vocabulary = Mapping[str, Mapping[str, Any]]
"""For each of the axes workload, optimizer, layer_lr and schedule, the catalog of its entries."""
AXES = ("workload", "optimizer", "layer_lr", "schedule")
MOST_VALUES = 10_000
"""The largest count of lrs in a grid, or of seeds."""
EMPTY = "must not be empty: name at least one value, or leave the key out"


def _not_empty(value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if value == ():
        raise fault(EMPTY)
    return value


Lr = Annotated[float, Field(ge=1e-30, le=1e30)]
"""A base lr or a multiple of one; products of two such numbers neither overflow nor underflow."""


class Grid(Strict):
    """A grid of base lrs, in one of three forms.

    ``values``: the lrs themselves. ``log`` and ``count``: so many lrs between two bounds, evenly spaced in log space.
    ``multiples``: multiples of the optimizer's default lr.
    """

    values: Annotated[tuple[Lr, ...] | None, Field(strict=False), AfterValidator(_not_empty)] = None
    log: Annotated[tuple[Lr, Lr] | None, Field(strict=False)] = None
    count: Annotated[int | None, Field(ge=2, le=MOST_VALUES)] = None
    multiples: Annotated[tuple[Lr, ...] | None, Field(strict=False), AfterValidator(_not_empty)] = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(v is not None for v in (self.values, self.log, self.multiples)) != 1 or (self.log is None) != (
            self.count is None
        ):
            raise fault("must be a list of lrs, {log = [low, high], count = n}, or {multiples = [...]}")
        return self

    def lrs(self, default: float) -> tuple[float, ...]:
        """The lrs, rounded to six significant digits, so that two grids with a common point share its runs."""
        spaced = np.geomspace(*self.log, self.count or 2).tolist() if self.log else ()
        lrs = spaced or self.values or [default * m for m in self.multiples or ()]
        return tuple(dict.fromkeys(float(f"{lr:.6g}") for lr in lrs))


class Pick(Strict):
    """One choice that a matrix names: a catalog entry, every setting resolved, and an lr grid if it has its own."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    lr: Grid | None = None


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple) else [value]


def _grid(value: Any) -> Any:
    return value if value is None or isinstance(value, dict | Grid) else {"values": _listed(value)}


def _seeds(value: Any) -> Any:
    if not isinstance(value, dict):
        return _listed(value)
    if set(value) != {"count"}:
        raise fault(f"must be a whole number, a list of them, or {{count = n}}, got {value!r}")
    if type(value["count"]) is not int or not 1 <= value["count"] <= MOST_VALUES:
        raise fault(f"count must be a whole number from 1 to {MOST_VALUES:,}, got {value['count']!r}")
    return range(value["count"])


def _name(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        _known("workload", value, info)
    return value


def _known(axis: str, name: Any, info: ValidationInfo) -> Any:
    names = (info.context or {})[axis]
    if not isinstance(name, str) or name not in names:
        kind = "layer-lr policy" if axis == "layer_lr" else axis
        hint = "" if closest(str(name), names) else " If it is a plug-in's, give --plugin."
        raise fault(f"no {kind} called {name!r}. {nearest(str(name), names)}{hint}")
    return names[name]


def _picks(value: Any, info: ValidationInfo) -> list[Pick]:
    """The choices that a name stands for, or a table with settings, of which lists multiply out."""
    if isinstance(value, Pick):
        return [value]
    table = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    if not isinstance(table.get("name"), str):
        raise fault(f"must be a name, or a table with a name, got {value!r}")
    axis = str(info.field_name)
    entry: Entry[Any] = _known(axis, table.pop("name"), info)
    grid = table.pop("lr", None) if axis == "optimizer" else None
    lrs, picks = None, []
    combinations = list(_products(table, entry))
    faults: list[Any] = [
        {"loc": (n,), "msg": EMPTY, "input": v} for n, v in table.items() if v == [] and not combinations
    ]
    try:
        lrs = None if grid is None else Grid.model_validate(_grid(grid))
    except ValidationError as error:
        faults += [dict(e) | {"loc": ("lr", *e["loc"])} for e in error.errors()]
    for settings in combinations:
        try:
            picks.append(Pick(name=entry.name, settings=entry.settings.model_validate(settings).resolved(), lr=lrs))
        except ValidationError as error:
            faults += error.errors()
    if faults:
        once = {(f["loc"], f["msg"]): f for f in faults}
        raise ValidationError.from_exception_data(
            entry.name,
            [InitErrorDetails(type=fault(f["msg"]), loc=f["loc"], input=f["input"]) for f in once.values()],
        )
    return picks


def _pattern(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """The settings that a choice must have to match a name, or a table with some settings."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise fault(f"must be a name, or a table with a name, got {value!r}")
    settings = _known(str(info.field_name), table["name"], info).settings.model_fields
    for key in table.keys() - {"name"} - settings.keys():
        raise fault(f"unknown key {key!r}. {nearest(key, settings)}")
    return table


def _products(table: dict[str, Any], entry: Entry[Any]) -> Iterator[dict[str, Any]]:
    axes = []
    for name, value in table.items():
        field = entry.settings.model_fields.get(name)
        is_axis = field is not None and _depth(value) > _tuple_depth(field.annotation)
        axes.append([(name, v) for v in value] if is_axis else [(name, value)])
    return (dict(combination) for combination in itertools.product(*axes))


def _depth(value: Any) -> int:
    return 1 + (_depth(value[0]) if value else 0) if isinstance(value, list) else 0


def _tuple_depth(annotation: Any) -> int:
    if typing.get_origin(annotation) is Annotated:
        return _tuple_depth(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is tuple:
        return 1 + _tuple_depth(typing.get_args(annotation)[0])
    return 0


T = TypeVar("T")
Name = Annotated[str, BeforeValidator(_name)]
Picks = Annotated[Any, BeforeValidator(_picks)]
Pattern = Annotated[Any, BeforeValidator(_pattern)]
Tuple = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_not_empty)]
Axis = Annotated[Tuple[T] | None, BeforeValidator(_listed)]
"""One value, or a list of values. None: the axis is left out."""


class Block(Strict):
    """A product of axes. An axis that an ``[[include]]`` leaves out is that of the matrix."""

    workload: Axis[Name] = None
    optimizer: Axis[Picks] = None
    layer_lr: Axis[Picks] = None
    schedule: Axis[Picks] = None
    lr: Annotated[Grid | None, BeforeValidator(_grid)] = None
    seed: Annotated[Tuple[Seed] | None, BeforeValidator(_seeds)] = None
    batch_size: Axis[Count] = None
    accumulate: Axis[Count] = None
    precision: Axis[Precision] = None


class CostBlock(Block):
    """A product of cases whose step cost is measured besides those of the matrix's strategies.

    An axis that is left out is that of the matrix.
    """

    implementation: Axis[Implementation] = None
    grouping: Axis[Grouping] = None
    compiled: Axis[bool] = None

    @model_validator(mode="after")
    def _steps_only(self) -> Self:
        if self.lr is not None or self.seed is not None:
            raise fault("what a step costs depends neither on the lr nor on the seed: leave both out")
        return self


class Budget(Strict):
    """The length of a workload's training, in steps or epochs, its evaluation interval and its target.

    What is left out is the workload's own.
    """

    steps: Count | None = None
    epochs: Count | None = None
    eval_every: Count | None = None
    target: float | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if self.steps and self.epochs:
            raise fault("must be in steps or in epochs, not both")
        return self


class Exclude(Strict):
    """A pattern: it excludes the runs that match every key. A table matches the settings that it names."""

    workload: Axis[Name] = None
    optimizer: Axis[Pattern] = None
    layer_lr: Axis[Pattern] = None
    schedule: Axis[Pattern] = None
    lr: Axis[Positive] = None
    seed: Axis[Seed] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise fault("must name at least one key: as it is, it would leave out every run")
        return self


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise fault(
            f"names a folder, so it must begin with a letter or digit and have up to 100 of these, '.', '_' and '-', "
            f"got {name!r}: "
            'rename the file, or write name = "..." into it'
        )
    return name


class Matrix(Block):
    """A whole matrix file."""

    name: Annotated[str, AfterValidator(_folder_name)]
    budget: dict[Name, Budget] = Field(default_factory=dict)
    include: Annotated[tuple[Block, ...], Field(strict=False)] = ()
    exclude: Annotated[tuple[Exclude, ...], Field(strict=False)] = ()
    cost: Annotated[tuple[CostBlock, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        parts = (*self.include, *self.cost)
        if self.workload is None and not (parts and all(block.workload for block in parts)):
            raise fault("must name a workload, at the top or in each [[include]] and [[cost]]")
        for name in self.budget.keys() - {name for block in self.blocks() for name in block.workload or ()}:
            raise fault(f"budget.{name}: no part of the matrix runs that workload")
        return self

    def blocks(self) -> Iterator[Block]:
        """The blocks whose union is the matrix, every axis filled in."""
        own = Block.model_construct(**{axis: getattr(self, axis) for axis in Block.model_fields})
        for block in [own, *self.include] if self.workload else self.include:
            yield self.completed(block)

    def completed(self, block: Block) -> Block:
        """A block whose missing axes are those at the top of the file."""
        return Block.model_construct(
            **{
                axis: value if (value := getattr(block, axis)) is not None else getattr(self, axis)
                for axis in Block.model_fields
            }
        )


def read_matrix(path: Path, vocabulary: Vocabulary) -> Matrix:
    """Read and check a matrix file.

    Raises: BadInput with every fault in the file, each with its path.
    """
    return parse_matrix({"name": path.stem} | read_toml(path, "a matrix file"), vocabulary, where=path.name)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, range | list | tuple):
        return [_plain(v) for v in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") and not isinstance(value, type) else value


def parse_matrix(values: Mapping[str, Any], vocabulary: Vocabulary, *, where: str = "matrix") -> Matrix:
    """Check a matrix given as Python values. Arrays, series, tensors and ranges count as lists of numbers.

    Raises: BadInput with every fault.
    """
    try:
        return Matrix.model_validate(_plain(dict(values)), context=vocabulary)
    except ValidationError as error:
        raise BadInput(faults_of(error, where)) from error
