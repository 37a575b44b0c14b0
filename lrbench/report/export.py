"""The tables and figures of a report for a paper: each table as LaTeX (booktabs) and CSV, each figure as SVG and PDF.

The tables are read back from the Markdown of the report, so that a paper says what the report says.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from lrbench.report.drawing import Gallery, write_figures
from lrbench.store import write_whole

FOLDER = "export"
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "≥": r"$\geq$", "≤": r"$\leq$", "∞": r"$\infty$", "±": r"$\pm$", "µ": r"$\mu$", "†": r"\dag{}", "…": r"\dots{}",
}  # fmt: skip
"""What LaTeX would read otherwise, or not at all."""


@dataclass(frozen=True)
class Cell:
    """A cell as plain text and as LaTeX."""

    text: str
    latex: str


@dataclass(frozen=True)
class Table:
    """A table of a report, its title from the headings above it; ``right`` marks the columns of numbers."""

    title: str
    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[bool, ...]


def export(folder: Path, report: str, galleries: Iterable[Gallery]) -> Path:
    """Write the tables and figures of a report into ``export/`` of a folder, in place of those from before. Returns: that folder."""
    place = folder / FOLDER
    write_figures(place, [figure for part in galleries for figure in part.figures], formats=("svg", "pdf"))
    wanted = set()
    for name, table in named(tables(report)):
        wanted.add(write_whole(place / "tables" / f"{name}.tex", latex(table)))
        wanted.add(write_whole(place / "tables" / f"{name}.csv", as_csv(table)))
    for old in set((place / "tables").glob("*.*")) - wanted:
        old.unlink()
    return place


def tables(markdown: str) -> Iterator[Table]:
    """The tables of a Markdown text in order."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    section = summary = bold = ""
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            section, summary, bold = _text(tokens[i + 1]), "", ""
        elif token.type == "html_block" and (found := re.search(r"<summary>(.*?)</summary>", token.content)):
            summary, bold = re.sub(r"<.*?>", "", found[1]), ""
        elif token.type == "html_block" and "</details>" in token.content:
            summary = bold = ""
        elif (
            token.type == "paragraph_open"
            and token.level == 0
            and (found := re.match(r"\*\*(.+?)\*\*", tokens[i + 1].content))
        ):
            bold = found[1]
        elif token.type == "table_open":
            yield _table(" ".join(part for part in (section, summary, bold) if part), tokens[i:])


def _table(title: str, tokens: Sequence[Token]) -> Table:
    rows: list[list[Cell]] = []
    right: list[bool] = []
    for i, token in enumerate(tokens):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"th_open", "td_open"}:
            rows[-1].append(Cell(_text(tokens[i + 1]), _latex(tokens[i + 1])))
            if token.type == "th_open":
                right.append("right" in str(token.attrs.get("style", "")))
    header, *body = (tuple(row) for row in rows)
    return Table(title, header, tuple(body), tuple(right))


def _text(inline: Token) -> str:
    """The letters of some inline Markdown."""
    return "".join(
        child.content for child in inline.children or () if child.type in {"text", "code_inline", "text_special"}
    )


LATEX = {"strong_open": r"\textbf{", "strong_close": "}", "em_open": r"\emph{", "em_close": "}"}


def _latex(inline: Token) -> str:
    parts = []
    for child in inline.children or ():
        told = "".join(SPECIAL.get(letter, letter) for letter in child.content)
        parts.append(rf"\texttt{{{told}}}" if child.type == "code_inline" else LATEX.get(child.type, told))
    return "".join(parts)


def named(found: Iterable[Table]) -> Iterator[tuple[str, Table]]:
    """Each table with the name of its file, made of its title; several of one title are numbered."""
    seen: dict[str, int] = {}
    for table in found:
        name = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")[:80] or "table"
        seen[name] = seen.get(name, 0) + 1
        yield (f"{name}-{seen[name]}" if seen[name] > 1 else name), table


def latex(table: Table) -> str:
    r"""A ``tabular`` with the rules of booktabs, to be read with ``\input``."""
    columns = "".join("r" if right else "l" for right in table.right)
    head, *body = (" & ".join(cell.latex for cell in row) + r" \\" for row in (table.header, *table.rows))
    lines = [
        f"% {table.title}: needs \\usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """A table as CSV, its cells as the report writes them."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        [cell.text for cell in row] for row in (table.header, *table.rows)
    )
    return buffer.getvalue()
