"""Outcomes as rows of a Parquet table, and their digest."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lrbench.config.outcome import Outcome
from lrbench.config.run import Run
from lrbench.config.types import known
from lrbench.stats.curves import Losses, summary

_CURVE = pa.list_(pa.float32())
COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("workload", pa.string()),
        ("optimizer", pa.string()),
        ("layer_lr", pa.string()),
        ("schedule", pa.string()),
        ("lr", pa.float64()),
        ("seed", pa.int64()),
        ("batch_size", pa.int32()),
        ("accumulate", pa.int32()),
        ("precision", pa.string()),
        ("budget", pa.int32()),
        ("eval_every", pa.int32()),
        ("target", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("diverged_at", pa.int32()),
        ("eval_step", pa.list_(pa.int32())),
        ("val_metric", _CURVE),
        ("val_loss", _CURVE),
        ("steps", pa.int32()),
        ("loss_step", pa.list_(pa.int32())),
        ("loss_at_step", _CURVE),
        ("loss_digest", pa.string()),
        ("highest_loss", pa.float32()),
        ("late_loss", pa.float32()),
        ("spikes", pa.int32()),
        ("oscillation", pa.float64()),
        ("groups", pa.list_(pa.string())),
        ("group_lr", pa.list_(pa.list_(pa.float64()))),
        ("train_loss", pa.float64()),
        ("test_metric", pa.float64()),
        ("test_loss", pa.float64()),
        ("train_seconds", pa.float64()),
        ("eval_seconds", pa.float64()),
        ("record_seconds", pa.float64()),
        ("trainer", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("population", pa.string()),
        ("run", pa.string()),
    ]
)
CONTENT = [
    "status",
    "diverged_at",
    "eval_step",
    "val_metric",
    "val_loss",
    "loss_digest",
    "train_loss",
    "test_metric",
    "test_loss",
]
"""Two records of one key must agree on these; clocks may differ."""
WHOLE_CURVE = "step_loss"
"""Schema 1 and 2 have the training loss of every step in this column."""


def row(run: Run, outcome: Outcome) -> dict[str, Any]:
    """A run and its outcome as the values of ``COLUMNS``."""
    strategy = {axis: getattr(run, axis).label for axis in ("workload", "optimizer", "layer_lr", "schedule")}
    plain = {
        name: getattr(run, name)
        for name in ("lr", "seed", "batch_size", "accumulate", "precision", "eval_every", "target")
    }
    result = {name: getattr(outcome, name) for name in COLUMNS.names if hasattr(outcome, name)}
    result |= {"status": str(outcome.status), "groups": list(outcome.groups), "group_lr": outcome.group_lr.tolist()}
    return (
        strategy
        | plain
        | result
        | summary(outcome.step_loss, outcome.lowest_loss)
        | {"budget": run.steps, "run": json.dumps(run.model_dump())}
    )


def table_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of ``COLUMNS`` as a table, sorted by key."""
    return pa.Table.from_pylist(sorted(rows, key=lambda r: r["key"]), schema=COLUMNS)


def to_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer, curves = io.BytesIO(), [field.name for field in COLUMNS if field.type == _CURVE]
    split = [
        f"{name}.list.element" for name in curves
    ]  # the bytes of floats compress better apart: a quarter of the file
    others = [name for name in table.column_names if name not in curves]
    pq.write_table(
        table, buffer, compression="zstd", compression_level=9, use_byte_stream_split=split, use_dictionary=others
    )
    return buffer.getvalue()


def read_parquet(paths: Sequence[Path], columns: list[str] | None = None) -> pa.Table:
    """The rows of several Parquet files. Rows of older schemas get the columns of this one."""
    wanted = columns or COLUMNS.names
    empty = pa.schema([COLUMNS.field(name) for name in wanted]).empty_table()
    return pa.concat_tables([empty, *(_as_now(path, wanted) for path in paths)], promote_options="default")


def _as_now(path: Path, wanted: list[str]) -> pa.Table:
    """Some columns of a file, computed from what older schemas stored instead where they are missing."""
    stored = pq.read_schema(path).names
    table = pq.read_table(path, columns=[name for name in wanted if name in stored])
    if WHOLE_CURVE in stored and (lacking := [name for name in wanted if name in _OF_LOSSES and name not in stored]):
        curves = pq.read_table(path, columns=[WHOLE_CURVE])[WHOLE_CURVE].to_pylist()
        computed = pa.Table.from_pylist(
            [summary(curve) for curve in curves], pa.schema([COLUMNS.field(name) for name in lacking])
        )
        for name in lacking:
            table = table.append_column(COLUMNS.field(name), computed[name])
    if "population" in wanted and "population" not in stored:
        table = table.append_column("population", pa.array([""] * len(table)))
    return _train_loss_at_the_end(table)


_OF_LOSSES = frozenset(Losses.__annotations__)


def _train_loss_at_the_end(table: pa.Table) -> pa.Table:
    """Replace the training losses of all evaluations, which schema 1 stored, by the last one."""
    at = table.schema.get_field_index("train_loss")
    if at < 0 or not pa.types.is_list(table.schema.field(at).type):
        return table
    last = [curve[-1] if curve and ended is not None else None for curve, ended in _pairs(table)]
    return table.set_column(at, COLUMNS.field("train_loss"), pa.array(last, pa.float64()))


def _pairs(table: pa.Table) -> Iterator[tuple[list[float], float | None]]:
    ended = table["test_loss"].to_pylist() if "test_loss" in table.column_names else [0.0] * len(table)
    return zip(table["train_loss"].to_pylist(), ended, strict=True)


_CURVES = {"eval_step": "<i4", "val_metric": "<f4", "val_loss": "<f4"}


def digest(runs: pd.DataFrame) -> str:
    """The SHA-256 of the runs of a ``Study``: keys, resolved values and outcomes; 64 hexadecimal digits.

    Clocks, the way in which runs were trained, files and order do not enter. So the same results have the same digest
    wherever they were made.
    """
    total = hashlib.sha256()
    for run in runs.sort_values("key").to_dict("records"):
        plain = [known(run[name]) for name in CONTENT if name not in _CURVES]
        text = json.dumps([run["key"], json.loads(run["run"]), plain], sort_keys=True, separators=(",", ":"))
        total.update(text.encode())
        for name, kind in _CURVES.items():
            curve = np.asarray(run[name], kind)
            total.update(len(curve).to_bytes(8, "little") + curve.tobytes())
    return total.hexdigest()
