"""A document says the same in every form: Markdown, HTML, LaTeX, CSV."""

import csv
import re
import shutil
import subprocess
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import step_costs, study

from lrbench.report import write
from lrbench.report.document import (
    Bullets,
    Code,
    Column,
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
    plain,
    prose,
)
from lrbench.report.render import csv as as_csv
from lrbench.report.render import html, latex, markdown
from lrbench.store import load

ROWS = [("adam(eps=1e-8)_x", 5.0), ("b | <c>", float("nan"))]
TABLE = Table(
    "gains",
    [
        Column("Strategy", lambda row: Strong(Code(row[0]))),
        Column("Gain, %", lambda row: f"≥ {row[1]:g} % & more", lambda row: row[1], right=True, help="as a <share>"),
        Column("Twice", lambda row: f"{2 * row[1]:g}", lambda row: 2 * row[1], wide=True),
    ],
    ROWS,
    most=1,
    title="Gains",
)
FIGURE = Figure("a-picture", "What it [shows]", lambda: None)
DOCUMENT = Document(
    "A & B",
    [Paragraph("One."), Warnings(["Two <seeds>."])],
    [
        Section(
            "Verdict", [FIGURE, TABLE, Fold(("More: ", Code("x")), [Bullets(["a", Link("b", "b.csv")])])], brief=True
        ),
        Section("Rest", [Paragraph(Emphasis("small"))]),
    ],
)


def test_markdown_has_narrow_columns_the_first_rows_and_says_how_many_there_are():
    assert markdown.table(TABLE).splitlines() == [
        "**Gains**", "", "| Strategy | Gain, % |", "| --- | --: |", "| **`adam(eps=1e-8)_x`** | ≥ 5 % & more |", "",
        "1 more in report.html.",
    ]  # fmt: skip


def test_the_whole_document_in_markdown():
    text = markdown.document(DOCUMENT)
    assert text.startswith(
        "# A & B\n\nOne.\n\n> **Warnings**\n>\n> - Two &lt;seeds&gt;.\n\n## Verdict\n\n![What it (shows)](figures/a-picture.png)\n"
    )
    assert "<details>\n<summary>More: <code>x</code></summary>\n\n- a\n- [b](b.csv)\n\n</details>" in text
    assert text.endswith("## Rest\n\n*small*\n")


def test_the_brief_document_has_no_folds_and_its_own_sections():
    text = markdown.document(DOCUMENT.brief())
    assert "Rest" not in text
    assert "<details>" not in text
    assert "Gains" in text


def test_html_has_every_column_and_row_and_no_label_becomes_markup():
    text = html.sections(DOCUMENT, lambda _: b"png")
    assert '<section id="section-verdict"><h2>Verdict</h2>' in text
    assert '<img alt="What it [shows]" src="data:image/png;base64,cG5n">' in text
    assert '<th scope="col" class="number" title="as a &lt;share&gt;">Gain, %</th>' in text
    assert "<td><b><code>b | &lt;c&gt;</code></b></td>" in text
    assert "<details><summary>More: <code>x</code></summary>" in text
    assert (
        html.contents(DOCUMENT)
        == '<ol><li><a href="#section-verdict">Verdict</a></li><li><a href="#section-rest">Rest</a></li></ol>'
    )


def test_latex_escapes_what_it_would_read():
    assert latex.table("Verdict Gains", TABLE).splitlines() == [
        r"% Verdict Gains: needs \usepackage{booktabs}", r"\begin{tabular}{lrl}", r"\toprule",
        r"Strategy & Gain, \% & Twice \\", r"\midrule",
        r"\textbf{\texttt{adam(eps=1e-8)\_x}} & $\geq$ 5 \% \& more & 10 \\",
        r"\textbf{\texttt{b | \textless{}c\textgreater{}}} & $\geq$ nan \% \& more & nan \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_csv_has_values_not_words_and_nothing_for_what_is_unknown():
    assert list(csv.reader(as_csv.table(TABLE).splitlines())) == [
        ["Strategy", "Gain, %", "Twice"],
        ["adam(eps=1e-8)_x", "5", "10"],
        ["b | <c>", "", ""],
    ]


def test_tables_are_named_by_the_headings_above_them():
    assert [(title, table.name) for title, table in DOCUMENT.tables()] == [("Verdict Gains", "gains")]


@given(st.text("abc_%&#$^~\\{}<>|`* ≥µ", min_size=1, max_size=20))
def test_no_cell_breaks_its_row_in_any_form(content):
    table = Table("t", [Column("x", lambda row: row), Column("y", lambda _: "1")], [content])
    row = latex.table("t", table).splitlines()[5]
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert not re.search(r"(?<!\\)[%#_]", row)
    assert len(re.findall(r"(?<!\\)\|", markdown.table(table).splitlines()[-1])) == 3
    assert list(csv.reader([as_csv.table(table).split("\n", 1)[1].removesuffix("\n")], strict=True)) == [[content, "1"]]
    assert re.fullmatch(
        r"<tr><td>([^<>]*)</td><td>1</td></tr>", re.search("<tbody>(.*)</tbody>", html.table(table), re.S)[1]
    )
    assert unescape(html.words(content)) == content


@given(st.text("ab*`[](){}_ ", min_size=1, max_size=20))
def test_a_value_in_prose_is_never_read_as_markup(value):
    assert (
        plain(prose("the *best* is {} of `{x}` {y}", value, y=Code(value))) == f"the best is {value} of {{x}} {value}"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), costs=step_costs())


@pytest.fixture(scope="module")
def report(made):
    return write(made, export=True)


def test_every_table_lies_beside_the_report_and_every_figure_is_exported(report):
    place = report.parent
    tables = {path.stem for path in (place / "tables").glob("*.csv")}
    assert tables == {path.stem for path in (place / "tables").glob("*.tex")}
    assert {"verdict", "ranking-digits_mlp", "lr-sensitivity", "tuning-advice", "cases"} <= tables
    drawn = {path.stem for path in (place / "figures").glob("*.png")}
    svg, pdf = ({path.stem for path in (place / "export" / "figures").glob(f"*.{kind}")} for kind in ("svg", "pdf"))
    assert svg == pdf > drawn


def test_no_two_tables_have_one_name(made):
    from lrbench.report.findings import Findings
    from lrbench.report.study import report as whole

    names = [table.name for _, table in whole(Findings(made)).tables()]
    assert len(names) == len(set(names))


def test_the_same_study_exports_the_same_files_and_what_is_gone_is_removed(made, report, tmp_path):
    (tmp_path / "tables").mkdir(parents=True)
    (tmp_path / "tables" / "old.tex").touch()
    again = write(load(made.folder), folder=tmp_path, export=True).parent
    assert not (again / "tables" / "old.tex").exists()
    same_files(report.parent / "tables", again / "tables")


def same_files(one, other):
    for path in (p for p in one.rglob("*") if p.is_file()):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path.name


@pytest.mark.exhaustive
@pytest.mark.usefixtures("drawn")
def test_every_figure_is_exported_with_the_same_bytes_again(made, tmp_path):
    """``test_scores`` has one figure of each format."""
    twice = {"one": made, "other": load(made.folder)}
    one, other = (write(found, folder=tmp_path / name, export=True) for name, found in twice.items())
    same_files(one.parent / "export", other.parent / "export")
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF")):
        pictures = sorted((one.parent / "export" / "figures").glob(f"*.{kind}"))
        assert len(pictures) > len(list((one.parent / "figures").glob("*.png"))) > 5
        assert all(path.read_bytes().startswith(start) for path in pictures)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_accepts_every_table(report, tmp_path):
    names = sorted(path.as_posix() for path in (report.parent / "tables").glob("*.tex"))
    body = "\n\n".join(rf"\resizebox{{\textwidth}}{{!}}{{\input{{{name}}}}}" for name in names)
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{body}\end{{document}}"
    )
    subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=batchmode", "all.tex"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
