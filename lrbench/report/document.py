"""What a report is made of: sections of paragraphs, tables and figures, and the words in them.

A renderer (``lrbench.report.render``) turns a document into Markdown, HTML, LaTeX, CSV or the text of a terminal. No
renderer reads what another has written.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Row = TypeVar("Row")


# ---- words


@dataclass(frozen=True)
class Code:
    """A label as it is typed: the name of a strategy, a key, a command."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that must not be missed."""

    content: "Words"


@dataclass(frozen=True)
class Emphasis:
    """Words set apart: a term that is explained, a caption."""

    content: "Words"


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere; ``target`` is a file beside the report, or an address."""

    content: "Words"
    target: str


Words = str | Code | Strong | Emphasis | Link | tuple["Words", ...]
"""Text for people. A plain string holds no markup: whatever is in it is shown as it is."""

MARKUP = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\*(?P<emphasis>[^*]+)\*"
    r"|\[(?P<link>[^\]]+)\]\((?P<target>[^)]+)\)|\{(?P<name>\w*)\}"
)


def prose(text: str, *values: Words, **named: Words) -> Words:
    """Words from a sentence of ours: `code`, *emphasis*, **strong**, [link](target), and {} or {name} for values.

    Values are never read as markup, so a label can hold any letter.

    >>> prose("the *best* of {}: {name}", "2 * 3", name=Code("a*b"))
    ('the ', Emphasis(content='best'), ' of ', '2 * 3', ': ', Code(text='a*b'))
    """
    return _parsed(text, iter(values), named)


def _parsed(text: str, values: Iterator[Words], named: Mapping[str, Words]) -> Words:
    parts: list[Words] = []
    end = 0
    for match in MARKUP.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        match match.lastgroup:
            case "code":
                parts.append(Code(match["code"]))
            case "strong":
                parts.append(Strong(_parsed(match["strong"], values, named)))
            case "emphasis":
                parts.append(Emphasis(_parsed(match["emphasis"], values, named)))
            case "target":
                parts.append(Link(_parsed(match["link"], values, named), match["target"]))
            case _:
                parts.append(named[match["name"]] if match["name"] else next(values))
    kept = tuple(part for part in (*parts, text[end:]) if part != "")
    return kept[0] if len(kept) == 1 else kept


def joined(parts: Iterable[Words], separator: str = ", ") -> Words:
    """Several words in a row, with a separator between.

    >>> joined([Code("a"), "b"])
    (Code(text='a'), ', ', 'b')
    """
    found: list[Words] = []
    for part in parts:
        found += [separator, part] if found else [part]
    return tuple(found)


def plain(words: Words) -> str:
    """The letters alone.

    >>> plain((Strong(Code("a")), ": ", Link("b", "c")))
    'a: b'
    """
    match words:
        case str():
            return words
        case Code(text):
            return text
        case Strong(content) | Emphasis(content) | Link(content, _):
            return plain(content)
    return "".join(map(plain, words))


# ---- blocks


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table: its title, the words that it shows of a row, and the value behind them.

    ``value`` is what programs get (CSV, sorting); the shown words where it is left out. ``right`` sets numbers to the
    right. ``help`` explains the column in a sentence. ``name`` is what programs call it. A ``wide`` column is shown where
    there is room for it: in the page and in the files for programs, not in Markdown.
    """

    title: Words
    show: Callable[[Row], Words]
    value: Callable[[Row], object] | None = None
    right: bool = False
    help: Words = ""
    name: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows of one type under columns. ``name`` is that of its files; a table for people alone has none.

    All rows are given; a renderer for readers shows ``most`` and says how many there are beyond, and ``rest`` says where
    they are.
    """

    name: str
    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    most: int | None = None
    title: Words = ""
    rest: Words = "in report.html"

    def narrow(self) -> "Table[Row]":
        """The same without the columns that need room."""
        return replace(self, columns=[column for column in self.columns if not column.wide])

    def header(self) -> list[Words]:
        """The titles of the columns."""
        return [column.title for column in self.columns]

    def lines(self, most: int | None = None) -> Iterator[list[Words]]:
        """The words of each row, of the first rows only if ``most`` is given."""
        for row in self.rows[:most]:
            yield [column.show(row) for column in self.columns]


@dataclass(frozen=True)
class Figure:
    """A picture: its name, which is that of its file without the ending, what it shows, and how it is drawn."""

    name: str
    alt: str
    draw: "Callable[[], Drawing]"

    @property
    def file(self) -> str:
        """Where it lies, seen from the report."""
        return f"figures/{self.name}.png"


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    words: Words


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Words]


@dataclass(frozen=True)
class Warnings:
    """What weakens a result, set apart at its place."""

    items: Sequence[Words]
    title: str = "Warnings"


@dataclass(frozen=True)
class Fold:
    """Something long, folded away under a summary."""

    summary: Words
    blocks: Sequence["Block"]


Block = Paragraph | Bullets | Warnings | Table[Any] | Figure | Fold


@dataclass(frozen=True)
class Section:
    """A heading and its blocks. ``brief`` sections are those of the short report."""

    title: str
    blocks: Sequence[Block]
    brief: bool = False

    @property
    def anchor(self) -> str:
        """The name of its place in a page."""
        return f"section-{slug(self.title)}"


@dataclass(frozen=True)
class Document:
    """A title, what stands before the first heading, and the sections."""

    title: Words
    opening: Sequence[Block]
    sections: Sequence[Section] = field(default_factory=tuple)

    def brief(self) -> "Document":
        """The same with its brief sections only, and nothing in them that is folded away."""
        sections = [
            replace(section, blocks=[block for block in section.blocks if not isinstance(block, Fold)])
            for section in self.sections
            if section.brief
        ]
        return replace(self, sections=sections)

    def tables(self) -> Iterator[tuple[str, Table[Any]]]:
        """Every table that has a name, with its full title: the headings above it and its own."""
        for section in [Section("", self.opening), *self.sections]:
            yield from _tables(section.blocks, section.title)

    def figures(self) -> Iterator[Figure]:
        """Every figure in order."""
        for section in [Section("", self.opening), *self.sections]:
            yield from _figures(section.blocks)


def _tables(blocks: Iterable[Block], title: str) -> Iterator[tuple[str, Table[Any]]]:
    for block in blocks:
        if isinstance(block, Table) and block.name:
            yield " ".join(filter(None, [title, plain(block.title)])), block
        elif isinstance(block, Fold):
            yield from _tables(block.blocks, f"{title} {plain(block.summary)}".strip())


def _figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Fold):
            yield from _figures(block.blocks)


def slug(title: str) -> str:
    """A title as the name of a file or a place.

    >>> slug("What a step costs: 2 of 3")
    'what-a-step-costs-2-of-3'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:80] or "table"


def caption(text: str, *values: Words, **named: Words) -> Paragraph:
    """What to see in a figure or a table, in italics."""
    return Paragraph(Emphasis(prose(text, *values, **named)))


def paragraphs(text: str, *values: Words, **named: Words) -> list[Paragraph]:
    """Prose of several paragraphs, an empty line between."""
    return [Paragraph(prose(part, *values, **named)) for part in text.split("\n\n")]
