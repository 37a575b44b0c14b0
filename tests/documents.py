"""Reading what a report is made of."""

from lrbench.report.document import Document, Fold, Section, Table, plain
from lrbench.report.render import markdown


def sections(document: Document) -> dict[str, Section]:
    """The sections by title."""
    return {section.title: section for section in document.sections}


def tables(section: Section) -> dict[str, Table]:
    """The tables of a section by name, folded ones too."""
    return {table.name: table for _, table in Document("", section.blocks).tables()}


def lines(table: Table) -> list[dict[str, str]]:
    """The rows of a table as words by title."""
    titles = [plain(title) for title in table.header()]
    return [dict(zip(titles, map(plain, line), strict=True)) for line in table.lines()]


def text(section: Section | None) -> str:
    """A section as Markdown, all rows of its tables and all columns; nothing without one."""
    return (
        "" if section is None else markdown.section(Section(section.title, [_open(block) for block in section.blocks]))
    )


def _open(block):
    if isinstance(block, Fold):
        return Fold(block.summary, [_open(part) for part in block.blocks])
    if isinstance(block, Table):
        columns = [type(column)(column.title, column.show, column.value, column.right) for column in block.columns]
        return Table(block.name, columns, block.rows, None, block.title)
    return block
