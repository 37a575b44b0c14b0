"""The sections of a document as HTML, to stand in a page that brings its own style."""

import base64
from collections.abc import Callable, Iterable
from html import escape

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
    plain,
)

MOST_ROWS = 60
"""The most rows of one table in a page; the files beside it have all."""
Pictures = Callable[[Figure], bytes]
"""The PNG of a figure."""


def contents(told: Document) -> str:
    """A link to every section."""
    links = (f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in told.sections)
    return f"<ol>{''.join(links)}</ol>"


def sections(told: Document, pictures: Pictures) -> str:
    """Every section, its figures within it, so that the page is one file."""
    return "\n".join(section(part, pictures) for part in told.sections)


def section(told: Section, pictures: Pictures) -> str:
    """A heading and its blocks."""
    body = blocks(told.blocks, pictures)
    return f'<section id="{told.anchor}"><h2>{escape(told.title)}</h2>\n{body}\n</section>'


def blocks(told: Iterable[Block], pictures: Pictures) -> str:
    """Blocks one below the other."""
    return "\n".join(block(part, pictures) for part in told)


def block(told: Block, pictures: Pictures) -> str:
    """One block."""
    match told:
        case Paragraph(content):
            return f"<p>{words(content)}</p>"
        case Bullets(items) | Warnings(items, _):
            return f"<ul>{''.join(f'<li>{words(item)}</li>' for item in items)}</ul>"
        case Figure(alt=alt):
            data = base64.b64encode(pictures(told)).decode()
            return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        case Fold(summary, content):
            body = blocks(content, pictures)
            return body and f"<details><summary>{words(summary)}</summary>\n{body}\n</details>"
        case Table():
            return table(told)


def table(told: "Table[object]") -> str:
    """A table that scrolls within the page, with a line that says how many rows it does not show."""
    kinds = [' class="number"' if column.right else "" for column in told.columns]
    titles = [
        f'<th scope="col"{kind}{_tip(column.help)}>{words(column.title)}</th>'
        for kind, column in zip(kinds, told.columns, strict=True)
    ]
    lines = [
        "".join(f"<td{kind}>{words(cell)}</td>" for kind, cell in zip(kinds, line, strict=True))
        for line in told.lines(MOST_ROWS)
    ]
    title = f"<h3>{words(told.title)}</h3>" if told.title else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    hidden = len(told.rows) - len(lines)
    more = f"<p>{hidden:,} more in tables/{told.name}.csv.</p>" if hidden > 0 else ""
    head = f"<thead><tr>{''.join(titles)}</tr></thead>"
    return f'{title}<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>{more}'


def _tip(help_: Words) -> str:
    return f' title="{escape(plain(help_))}"' if help_ else ""


def words(told: Words) -> str:
    """Words with nothing in them that could be read as a tag.

    >>> words(("a < b: ", Strong(Code("<c>"))))
    'a &lt; b: <b><code>&lt;c&gt;</code></b>'
    """
    match told:
        case str():
            return escape(told, quote=False)
        case Code(text):
            return f"<code>{escape(text, quote=False)}</code>" if text else ""
        case Strong(content):
            return f"<b>{words(content)}</b>"
        case Emphasis(content):
            return f"<i>{words(content)}</i>"
        case Link(content, target):
            return f'<a href="{escape(target)}">{words(content)}</a>'
    return "".join(map(words, told))
