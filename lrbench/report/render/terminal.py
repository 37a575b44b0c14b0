"""Blocks as lines of a terminal."""

from collections.abc import Iterable

from lrbench.report.document import Block, Bullets, Figure, Fold, Paragraph, Table, Warnings, plain


def blocks(told: Iterable[Block]) -> str:
    """Blocks with an empty line between; figures are left out."""
    return "\n\n".join(text for text in map(block, told) if text)


def block(told: Block) -> str:
    """One block."""
    match told:
        case Paragraph(words):
            return plain(words)
        case Bullets(items) | Warnings(items, _):
            return "\n".join(map(plain, items))
        case Fold(summary, content):
            return f"{plain(summary)}\n\n{blocks(content)}"
        case Table():
            return table(told)
        case Figure():
            return ""


def table(told: "Table[object]") -> str:
    """Columns as wide as their cells.

    >>> from lrbench.report.document import Column
    >>> print(table(Table("t", [Column("name", str), Column("n", lambda row: str(len(row)), right=True)], ["adam", "sgd"])))
    name  n
    adam  4
    sgd   3
    """
    cells = [[plain(cell) for cell in line] for line in (told.header(), *told.lines(told.most))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        [
            cell.rjust(width) if of.right else cell.ljust(width)
            for cell, width, of in zip(line, widths, told.columns, strict=True)
        ]
        for line in cells
    ]
    rows = "\n".join("  ".join(line).rstrip() for line in lines)
    return f"{plain(told.title)}\n\n{rows}" if told.title else rows
