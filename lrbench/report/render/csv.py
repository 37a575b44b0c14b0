"""A table as CSV: values where the columns have them, else the words that are shown."""

import csv
import io

from lrbench.report.document import Column, Table, plain


def table(told: "Table[object]") -> str:
    """One line for each row, all of them; a value that is not known is empty."""
    buffer = io.StringIO()
    lines = ([cell(column, row) for column in told.columns] for row in told.rows)
    csv.writer(buffer, lineterminator="\n").writerows([[plain(title) for title in told.header()], *lines])
    return buffer.getvalue()


def cell(column: "Column[object]", row: object) -> str:
    """What stands in a cell."""
    if column.value is None:
        return plain(column.show(row))
    value = column.value(row)
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"  # noqa: PLR0124 - NaN is unknown
    return "" if value is None else str(value)
