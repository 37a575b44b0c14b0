"""A paper says what the report says: every table, every figure, in LaTeX's own letters."""

import csv
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import step_costs, study

from lrbench.report import markdown as md
from lrbench.report import write
from lrbench.report.export import as_csv, latex, named, tables
from lrbench.store import load

TABLE = md.section(
    "Verdict", md.table(["Workload", "Gain, %"], [[f"**{md.code('adam(eps=1e-8)_x')}**", "≥ 5 % \\| 6 & 7"]], right=[1])
)


def test_a_table_is_read_back_with_its_title_alignment_and_markup():
    [found] = tables(TABLE)
    assert found.title == "Verdict"
    assert found.right == (False, True)
    assert [cell.text for cell in found.rows[0]] == ["adam(eps=1e-8)_x", "≥ 5 % | 6 & 7"]
    assert latex(found).splitlines()[1:] == [
        r"\begin{tabular}{lr}", r"\toprule", r"Workload & Gain, \% \\", r"\midrule",
        r"\textbf{\texttt{adam(eps=1e-8)\_x}} & $\geq$ 5 \% | 6 \& 7 \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert list(csv.reader([as_csv(found).splitlines()[1]])) == [["adam(eps=1e-8)_x", "≥ 5 % | 6 & 7"]]


def test_titles_come_from_section_fold_and_bold_line_and_are_numbered():
    small = md.table(["a"], [["1"]])
    text = md.section(
        "Times",
        "**digits**, to 95 %\n\n" + small,
        md.details("The rest", small),
        "**mnist**\n\n" + small + "\n\nand\n\n" + small,
    )
    assert [name for name, _ in named(tables(text))] == [
        "times-digits",
        "times-the-rest",
        "times-mnist",
        "times-mnist-2",
    ]


@given(st.text("abc_%&#$^~\\{}<>|`* ≥µ", min_size=1, max_size=20))
def test_no_cell_breaks_the_row(content):
    [found] = tables("# t\n\n" + md.table(["x", "y"], [[md.plain(content) or "-", "1"]]))
    row = latex(found).splitlines()[5]
    assert len(found.rows[0]) == 2
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert not re.search(r"(?<!\\)[%#_]", row)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), costs=step_costs())


@pytest.fixture(scope="module")
def report(made):
    return write(made, export=True)


def test_every_table_and_figure_of_the_report_is_exported(report):
    text, place = report.read_text(), report.parent / "export"
    assert (
        len(list((place / "tables").glob("*.tex")))
        == len(list((place / "tables").glob("*.csv")))
        == len(re.findall(r"^\| -", text, re.M))
    )
    drawn = {path.stem for path in (report.parent / "figures").glob("*.png")}
    assert (
        {path.stem for path in (place / "figures").glob("*.svg")}
        == {path.stem for path in (place / "figures").glob("*.pdf")}
        == drawn
    )


def test_the_same_study_exports_the_same_files_and_what_is_gone_is_removed(made, report, tmp_path):
    (tmp_path / "export" / "tables").mkdir(parents=True)
    (tmp_path / "export" / "tables" / "old.tex").touch()
    again = write(load(made.folder), folder=tmp_path, export=True).parent / "export"
    assert not (again / "tables" / "old.tex").exists()
    same_files(report.parent / "export", again)


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
        assert len(pictures) == len(list((one.parent / "figures").glob("*.png"))) > 5
        assert all(path.read_bytes().startswith(start) for path in pictures)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_accepts_every_table(report, tmp_path):
    names = sorted(path.as_posix() for path in (report.parent / "export" / "tables").glob("*.tex"))
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
