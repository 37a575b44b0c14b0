"""A document as the Markdown that GitHub shows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, takewhile

from lrbench.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Emphasis,
    Figure,
    Fold,
    Link,
    Paragraph,
    Section,
    Strong,
    Table,
    Warnings,
    Words,
)


def document(told: Document) -> str:
    """The whole text, a new line at its end."""
    parts = [f"# {words(told.title)}", *blocks(told.opening), *map(section, told.sections)]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(told: Section) -> str:
    """A heading and its blocks."""
    return "\n\n".join([f"## {words(told.title)}", *blocks(told.blocks)])


def blocks(told: Iterable[Block]) -> list[str]:
    """Each block, empty ones left out."""
    return [text for text in map(block, told) if text]


def block(told: Block) -> str:
    """One block."""
    match told:
        case Paragraph(content):
            return words(content)
        case Bullets(items):
            return "\n".join(f"- {words(item)}" for item in items)
        case Warnings(items, title):
            return "\n".join([f"> **{title}**", ">", *(f"> - {words(item)}" for item in items)]) if items else ""
        case Figure(alt=alt, file=file):
            return f"![{' '.join(alt.split()).replace('[', '(').replace(']', ')')}]({file})"
        case Fold(summary, content):
            body = "\n\n".join(blocks(content))
            return body and f"<details>\n<summary>{html_words(summary)}</summary>\n\n{body}\n\n</details>"
        case Table():
            return table(told)


def fitted(opening: Iterable[Block], body: Sequence[Block], most: int) -> str:
    """Blocks in at most ``most`` characters: the opening whole, of the rest as many rows as there is room for.

    The first block of the body may take half of what is left, each other one its share. What has no room at all is left
    out.
    """
    parts = blocks(opening)
    room = most - 1 - sum(len(part) + 2 for part in parts)
    for i, part in enumerate(body):
        share = (room // 2 if i == 0 else room // (len(body) - i)) - 2
        text = block(_cut(part, share))
        if text and len(text) <= share:
            parts.append(text)
            room -= len(text) + 2
    return "\n\n".join(parts) + "\n"


def _cut(told: Block, room: int) -> Block:
    """A block with as many rows, or items, as fit into so many characters."""
    match told:
        case Table() if told.rows:
            empty = replace(told, most=0)
            used = len(table(empty))
            lines = (len(grid([words(cell) for cell in line], [], [])) - 4 for line in told.narrow().lines())
            return replace(told, most=_count(lines, room - used))
        case Fold(summary, [Table() as inner]):
            return Fold(summary, [_cut(inner, room - len(block(Fold(summary, [Paragraph("x")]))))])
        case Warnings(items, title):
            shown = _count((len(words(item)) + 5 for item in items), room - 60)
            more = [f"{len(items) - shown:,} more."] if shown < len(items) else []
            return Warnings([*items[:shown], *more], title)
    return told


def _count(lengths: Iterable[int], room: int) -> int:
    """How many of some lines fit."""
    used = accumulate(length + 1 for length in lengths)
    return sum(1 for _ in takewhile(lambda end: end <= room, used))


def table(told: "Table[object]") -> str:
    """A table under its title, with a line that says how many rows are not shown."""
    told = told.narrow()
    lines = [[words(cell) for cell in line] for line in told.lines(told.most)]
    rows = grid([words(title) for title in told.header()], lines, [column.right for column in told.columns])
    hidden = len(told.rows) - len(lines)
    more = f"{hidden:,} more{' ' if told.rest else ''}{words(told.rest)}." if hidden else ""
    if not lines and told.rows:
        return more
    return "\n\n".join(part for part in (words(Strong(told.title)) if told.title else "", rows, more) if part)


def grid(header: Sequence[str], lines: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    """Cells, which are Markdown already, between bars."""
    rule = ["--:" if to_the_right else "---" for to_the_right in right]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *lines])


def words(told: Words) -> str:
    r"""Words on one line that no table cell and no HTML tag can break.

    >>> print(words(("a | b <c>: ", Strong(Code("d|e")))))
    a \| b &lt;c&gt;: **`d\|e`**
    """
    match told:
        case str():
            return " ".join(f"x{told}x".split())[1:-1].replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
        case Code(text):
            return f"`{' '.join(text.split())}`".replace("|", "\\|") if text else ""
        case Strong(content):
            return f"**{words(content)}**"
        case Emphasis(content):
            return f"*{words(content)}*"
        case Link(content, target):
            return f"[{words(content)}]({target})"
    return "".join(map(words, told))


def html_words(told: Words) -> str:
    """Words where Markdown is not read: in the summary of ``details``."""
    match told:
        case str():
            return words(told)
        case Code(text):
            return f"<code>{words(text)}</code>" if text else ""
        case Strong(content) | Emphasis(content) | Link(content, _):
            return html_words(content)
    return "".join(map(html_words, told))
