"""Curves that other tools recorded, as tidy tables: CSV or Parquet, one row per measurement."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lrbench.config.faults import BadInput, nearest, one_line
from lrbench.config.targets import Targets

TRIAL = ("workload", "strategy", "study", "trial")
LABELS = (*TRIAL, "metric")
NUMBERS = ("step", "seconds", "value")
COLUMNS = (*TRIAL, "step", "seconds", "metric", "value")
MISSING = ("", "nan", "na", "n/a", "null", "none", "-nan")
"""Words for a missing number, in lower case."""


@dataclass(frozen=True)
class Curves:
    """Measured trials. The order does not depend on the order of rows or files.

    ``trials`` has a row for each trial: workload, strategy, study, trial. ``evaluations`` has the measurements of the
    metric with a target, sorted by trial and step: ``trial`` (a row of ``trials``), step, seconds, value (NaN where the
    value was no number).
    """

    trials: pd.DataFrame
    evaluations: pd.DataFrame


def parse_names(given: Sequence[str]) -> dict[str, str]:
    """The names of columns in the files, from texts ``COLUMN=NAME``; ``NAME=COLUMN`` works too.

    Raises: BadInput for a text of another form, an unknown column, or a column that is given twice.
    """
    names: dict[str, str] = {}
    for word in given:
        left, equals, right = word.partition("=")
        column, name = (left, right) if left in COLUMNS or right not in COLUMNS else (right, left)
        if not (equals and left and right):
            raise BadInput(f"--map {word}: must be COLUMN=NAME, such as --map strategy=submission.")
        if column not in COLUMNS:
            raise BadInput(f"--map {word}: no column is called {column!r}. {nearest(column, COLUMNS)}")
        if column in names:
            raise BadInput(f"--map {word}: {column} is mapped already: give one name for each column.")
        names[column] = name
    return names


def read_curves(paths: Sequence[Path], targets: Targets, names: Mapping[str, str] | None = None) -> Curves:
    """Read the measurements of several files together.

    Rows of metrics without a target only say that the trial exists.

    Args:
        paths: the files.
        targets: the metric and the target of each workload.
        names: the names of columns in the files, where they differ; see ``parse_names``.

    Raises: BadInput with a line per fault: a file that cannot be read, a missing column, a workload without a target, a
    text in place of a number, a missing step or time, a repeated evaluation, no rows.
    """
    called = {column: (names or {}).get(column, column) for column in COLUMNS}
    tables: list[pa.Table] = []
    faults: list[str] = []
    for path in paths:
        try:
            tables.append(_checked(path, _read(path, called), targets))
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)
    return _arranged(pa.concat_tables(tables), ", ".join(path.name for path in paths))


def _read(path: Path, called: Mapping[str, str]) -> pa.Table:
    """The known columns of a file, under their own names."""
    read = _read_parquet if path.suffix.lower() in (".parquet", ".pq") else _read_csv
    try:
        return read(path, called)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise BadInput(
                f"{path}: cannot be read: {os.strerror(error.errno)}. Give a CSV or Parquet file."
            ) from error
        kind = "CSV" if read is _read_csv else "Parquet"
        raise BadInput(
            f"{path}: cannot be read as {kind}: {one_line(error).rstrip('.')}. Give a CSV or Parquet file."
        ) from error


def _read_parquet(path: Path, called: Mapping[str, str]) -> pa.Table:
    with pq.ParquetFile(path) as file:
        _complete(path, file.schema_arrow.names, called)
        table = file.read(columns=list(called.values()))
    return pa.table({column: table[name] for column, name in called.items()})


def _read_csv(path: Path, called: Mapping[str, str]) -> pa.Table:
    with pa.input_stream(path, compression="detect") as file:
        _refuse_other_than_text(path, file.read(4096))
    with pacsv.open_csv(path) as file:
        written = file.schema.names
    header = [name.strip() for name in written]
    _complete(path, header, called)
    called = {column: written[header.index(name)] for column, name in called.items()}
    label = pa.dictionary(pa.int32(), pa.string())
    types = {name: label if column in LABELS else pa.string() for column, name in called.items()}
    as_text = pacsv.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False)
    table = pacsv.read_csv(path, convert_options=as_text)
    return pa.table({column: table[name] for column, name in called.items()})


def _refuse_other_than_text(path: Path, start: bytes) -> None:
    if not start:
        raise BadInput(f"{path}: is empty. Its first line must name the columns: {', '.join(COLUMNS)}.")
    if start.startswith(b"PAR1"):
        raise BadInput(f"{path}: is a Parquet file by its first bytes: let its name end in .parquet.")
    if b"\0" in start:
        raise BadInput(f"{path}: is not text, so no CSV. Give a CSV or Parquet file.")


def _complete(path: Path, header: Sequence[str], called: Mapping[str, str]) -> None:
    if len(header) == 1 and (other := next((mark for mark in (";", "\t", "|") if mark in header[0]), None)):
        raise BadInput(f"{path}: its columns are separated by {other!r}: separate them by commas.")
    if not set(header) & {called[column] for column in LABELS} and (kind := _wide(header)):
        raise BadInput(
            f"{path}: seems to be {kind}, which does not say what a number belongs to. Write a row for each "
            f"measurement, with the columns "
            f"{', '.join(called.values())}."
        )
    faults = [
        f"{path}: has no column {name!r}" + ("" if name == column else f" (for {column})")
        + f". {nearest(name, header)} Give --map {column}=NAME if it has another name."
        for column, name in called.items() if name not in header
    ]  # fmt: skip
    twice = sorted({name for name in called.values() if header.count(name) > 1}) if isinstance(header, list) else []
    faults += [f"{path}: has two columns called {name!r}: rename one." for name in twice]
    if faults:
        raise BadInput(faults)


def _wide(header: Sequence[str]) -> str:
    """The tool whose export has such a header without labels; empty if none is known."""
    if {"Wall time", "Step", "Value"} <= set(header):
        return "an export of TensorBoard"
    return "a table of Weights & Biases with a column for each run" if any(" - " in name for name in header) else ""


def _checked(path: Path, table: pa.Table, targets: Targets) -> pa.Table:
    """Labels as texts, and numbers where they count. ``counts`` marks the rows of the metric with a target."""
    if not table.num_rows:
        raise BadInput(f"{path}: has no rows.")
    labels = {column: _labels(path, column, table[column]) for column in LABELS}
    known = {name: target.metric for name, target in targets.workloads.items()}
    unknown = sorted(set(labels["workload"].dictionary.to_pylist()) - known.keys())
    if unknown:
        more = (
            f" Nor {'has' if len(unknown) == 2 else 'have'} {', '.join(map(repr, unknown[1:]))}."
            if len(unknown) > 1
            else ""
        )
        raise BadInput(f"{path}: workload {unknown[0]!r} has no target. {nearest(unknown[0], known)}{more}")
    counts = _of_metric(labels, known)
    return pa.table(
        labels | {column: _numbers(path, column, table[column], counts) for column in NUMBERS} | {"counts": counts}
    )


def _labels(path: Path, column: str, values: pa.ChunkedArray) -> pa.DictionaryArray:
    """Labels as texts, so that study 1 is the same in CSV and in Parquet, as an array without repeated words."""
    values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.dictionary(pa.int32(), pa.string()))
        empty = pc.is_null(values)
    else:
        if pa.types.is_floating(values.type) and pc.all(pc.equal(pc.floor(values), values)).as_py():
            values = values.cast(pa.int64())
        values = values.cast(pa.string()).dictionary_encode()
        empty = pc.is_null(values)
    words = [_plain(column, word) for word in values.dictionary.to_pylist()]
    for i in (i for i, word in enumerate(words) if word == ""):
        empty = pc.or_(empty, pc.fill_null(pc.equal(values.indices, i), fill_value=True))
    if pc.any(empty).as_py():
        raise BadInput(f"{path}: data row {_first(empty) + 1}: {column} is empty: every row must have one.")
    used = np.bincount(np.asarray(values.indices), minlength=len(words)) > 0
    if used.all() and len(set(words)) == len(words) and words == values.dictionary.to_pylist():
        return values
    return pa.array(np.asarray(words, object)[np.asarray(values.indices)], pa.string()).dictionary_encode()


def _plain(column: str, word: str) -> str:
    """A label without blanks around it. Study or trial 1.0 is 1: so tools write whole numbers if some are missing."""
    trimmed = word.strip()
    is_number = column in ("study", "trial") and re.fullmatch(r"-?\d+\.0+", trimmed)
    return trimmed.partition(".")[0] if is_number else trimmed


def _first(which: Any) -> int:
    return int(pc.index(which, value=True).as_py())


def _of_metric(labels: Mapping[str, pa.DictionaryArray], known: Mapping[str, str]) -> pa.Array:
    metrics = {name: code for code, name in enumerate(labels["metric"].dictionary.to_pylist())}
    wanted = np.array([metrics.get(known[name], -1) for name in labels["workload"].dictionary.to_pylist()])
    return pa.array(np.asarray(labels["metric"].indices) == wanted[np.asarray(labels["workload"].indices)])


def _numbers(path: Path, column: str, values: pa.ChunkedArray, counts: pa.Array) -> pa.Array:
    """Numbers where they count; NaN elsewhere, and where one is missing."""
    values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        numbers = _parsed(path, column, values, counts)
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        numbers = np.asarray(values.cast(pa.float64(), safe=False).fill_null(np.nan))
    elif pa.types.is_null(values.type):
        numbers = np.full(len(values), np.nan)
    else:
        raise BadInput(f"{path}: column {column}: must hold numbers, got {values.type}.")
    if column != "value":
        _positions(path, column, numbers, counts)
    return pa.array(numbers)


def _parsed(path: Path, column: str, values: pa.Array, counts: pa.Array) -> NDArray[np.float64]:
    column_numbers = np.full(len(values), np.nan)
    rows = np.flatnonzero(np.asarray(counts))
    words = pd.Series(values.take(pa.array(rows)).to_pandas(), dtype=object)
    numbers = pd.to_numeric(words, errors="coerce").to_numpy(np.float64)
    strange = [w for w in words[np.isnan(numbers)].dropna().unique() if str(w).strip().lower() not in MISSING]
    if strange:
        first = int(np.flatnonzero(words.isin(strange))[0])
        raise BadInput(f"{path}: data row {rows[first] + 1}: {column} must be a number, got {words.iloc[first]!r}.")
    column_numbers[rows] = numbers
    return column_numbers


def _positions(path: Path, column: str, numbers: NDArray[np.float64], counts: pa.Array) -> None:
    """Refuse steps and times that are missing, infinite or negative."""
    wrong = np.asarray(counts) & ~(np.isfinite(numbers) & (numbers >= 0.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        got = "none" if np.isnan(numbers[row]) else f"{numbers[row]:g}"
        more = f" ({int(wrong.sum()):,} such rows)" if wrong.sum() > 1 else ""
        raise BadInput(f"{path}: data row {row + 1}: {column} must be a finite number from 0 up, got {got}{more}.")


def _arranged(table: pa.Table, where: str) -> Curves:
    table = table.unify_dictionaries().combine_chunks()
    codes, words = zip(*(_sorted_codes(table[column].combine_chunks()) for column in TRIAL), strict=True)
    flat = np.ravel_multi_index(codes, [len(w) for w in words])
    numbers, trial = np.unique(flat, return_inverse=True)
    places = np.unravel_index(numbers, [len(w) for w in words])
    trials = pd.DataFrame({column: w[place] for column, w, place in zip(TRIAL, words, places, strict=True)})
    counts = np.asarray(table["counts"].combine_chunks().to_numpy(zero_copy_only=False))
    step, seconds, value = (np.asarray(table[column].to_numpy())[counts] for column in NUMBERS)
    order = np.lexsort((step, trial[counts]))
    evaluations = pd.DataFrame({"trial": trial[counts], "step": step, "seconds": seconds, "value": value}).iloc[order]
    evaluations = evaluations.reset_index(drop=True)
    _no_repeats(trials, evaluations, where)
    return Curves(trials, evaluations)


def _sorted_codes(values: pa.DictionaryArray) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Labels as numbers in the order of their names, and the names."""
    names, rank = np.unique(np.asarray(values.dictionary.to_pylist(), object), return_inverse=True)
    return rank[np.asarray(values.indices)].astype(np.int64), names


def _no_repeats(trials: pd.DataFrame, evaluations: pd.DataFrame, where: str) -> None:
    again = (evaluations.trial.diff() == 0) & (evaluations.step.diff() == 0)
    if again.any():
        first = evaluations[again].iloc[0]
        trial = ", ".join(f"{column} {value!r}" for column, value in trials.iloc[int(first.trial)].items())
        raise BadInput(
            f"{where}: step {first.step:g} of {trial} stands there twice with the metric of its target"
            + (f", and {int(again.sum()) - 1:,} others do" if again.sum() > 1 else "")
            + ": keep one row of each."
        )
