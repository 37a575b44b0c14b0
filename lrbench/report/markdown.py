"""The little Markdown that a report is made of."""

from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    r"""Text on one line that no table cell and no HTML tag can break.

    >>> print(plain("a | b <c>"))
    a \| b &lt;c&gt;
    """
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def code(label: str) -> str:
    """A label as it is typed."""
    return f"`{' '.join(label.split())}`".replace("|", "\\|") if label else ""


def code_html(label: str) -> str:
    """A label as it is typed, where Markdown is not read: in the summary of ``details``."""
    return f"<code>{plain(label)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """A table; ``right`` names the columns of numbers. Cells must be safe already: see ``plain`` and ``code``."""
    aligned = set(right)
    rule = ["--:" if i in aligned else "---" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def details(summary: str, body: str) -> str:
    """Something long, folded away."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def image(path: str, alt: str) -> str:
    """An image with what it shows for those who cannot see it."""
    return f"![{' '.join(alt.split()).replace('[', '(').replace(']', ')')}]({path})"


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def section(title: str, *blocks: str) -> str:
    """A heading and its blocks, empty ones left out."""
    return "\n\n".join([f"## {title}", *(block for block in blocks if block)])
