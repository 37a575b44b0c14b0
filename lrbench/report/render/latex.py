"""A table as LaTeX, with the rules of booktabs."""

from lrbench.report.document import Code, Emphasis, Link, Strong, Table, Words

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "≥": r"$\geq$", "≤": r"$\leq$", "∞": r"$\infty$", "±": r"$\pm$", "µ": r"$\mu$", "†": r"\dag{}", "…": r"\dots{}",
}  # fmt: skip
"""What LaTeX would read otherwise, or not at all."""
MOST_ROWS = 100
"""The most rows of a table on paper."""


def table(title: str, told: "Table[object]") -> str:
    r"""A ``tabular`` to be read with ``\input``."""
    head, *body = (" & ".join(map(words, line)) + r" \\" for line in (told.header(), *told.lines(MOST_ROWS)))
    hidden = len(told.rows) - len(body)
    lines = [
        f"% {title}: needs \\usepackage{{booktabs}}",
        *([f"% {hidden:,} more rows are in {told.name}.csv"] if hidden else []),
        rf"\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in told.columns)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def words(told: Words) -> str:
    r"""Words as LaTeX reads them.

    >>> print(words((Strong("50 %"), " of ", Code("a_b"))))
    \textbf{50 \%} of \texttt{a\_b}
    """
    match told:
        case str():
            return "".join(SPECIAL.get(letter, letter) for letter in told)
        case Code(text):
            return rf"\texttt{{{words(text)}}}" if text else ""
        case Strong(content):
            return rf"\textbf{{{words(content)}}}"
        case Emphasis(content):
            return rf"\emph{{{words(content)}}}"
        case Link(content, _):
            return words(content)
    return "".join(map(words, told))
