"""A table as CSV: values where the columns have them, else the words that are shown."""

import csv
import io
from collections.abc import Iterator

from lrbench.report.document import Column, Table, plain
from lrbench.stats.estimates import Estimate


def table(told: "Table[object]") -> str:
    """One line for each row, all of them. What is not known is empty; an estimate has two more columns, for its bounds."""
    buffer = io.StringIO()
    columns = [line for column in told.columns for line in _columns(column, told)]
    csv.writer(buffer, lineterminator="\n").writerows(zip(*columns, strict=True))
    return buffer.getvalue()


def _columns(column: "Column[object]", told: "Table[object]") -> Iterator[list[str]]:
    """The lines of one column: its title, then its cells."""
    title = plain(column.title)
    if column.value is None:
        yield [title, *(plain(column.show(row)) for row in told.rows)]
        return
    values = [column.value(row) for row in told.rows]
    if not any(isinstance(value, Estimate) for value in values):
        yield [title, *map(_cell, values)]
        return
    estimates = [value if isinstance(value, Estimate) else Estimate(float("nan")) for value in values]
    yield [title, *(_cell(of.value) for of in estimates)]
    yield [f"{title}, low", *(_cell(of.low) for of in estimates)]
    yield [f"{title}, high", *(_cell(of.high) for of in estimates)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"  # noqa: PLR0124 - NaN is unknown
    return "" if value is None else str(value)
