"""The ranking tables and the figure of steps to target say what the analysis says."""

import pytest
from documents import lines, tables, text
from synthetic import crash, diverge, study

from lrbench.report.document import Document
from lrbench.report.findings import Findings
from lrbench.report.study.ranking import BRIEF, COMPARED, ranking, reached


def told(folder, **how):
    found = Findings(study(folder, **how))
    return found, ranking(found)


def table_rows(section):
    return [row for table in tables(section).values() for row in lines(table)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return told(tmp_path_factory.mktemp("study"))


def test_every_workload_has_a_table_in_rank_order(made):
    found, section = made
    for workload in ("digits_mlp", "mnist_cnn"):
        table = tables(section)[f"ranking-{workload}"]
        rows = lines(table)
        assert table.most == BRIEF
        assert [row["Rank"] for row in rows] == [f"{i} of 6" for i in range(1, 7)]
        assert [row["Strategy"] for row in rows] == [row.strategy for row in found.ranked(workload)]
        assert (rows[0]["Behind the best"], rows[0]["More seeds to tell apart"]) == ("best", "-")
        assert all(row["Behind the best"].startswith(("-", "+", "±")) for row in rows[1:])


def test_only_the_best_and_the_baselines_have_a_row(tmp_path):
    axes = {"layer_lrs": ["uniform", "a", "b", "c"], "schedules": ["constant", "cosine", "d"]}
    found, section = told(tmp_path, workloads=["digits_mlp"], **axes, lrs=[1e-2], seeds=[0, 1])
    ranks = [int(row["Rank"].split()[0]) for row in table_rows(section)]
    plain = found.runs[found.runs.plain].optimizer.nunique()
    assert ranks[:10] == list(range(1, 11))
    assert 10 < len(ranks) <= 10 + plain
    assert all(row["Rank"].endswith("of 36") for row in table_rows(section))


def test_many_baselines_do_not_make_a_table_longer_than_its_letters_allow(tmp_path):
    plain = [f"sgd(momentum=0.{i:02})" for i in range(1, 40)]
    _, section = told(
        tmp_path, workloads=["digits_mlp"], optimizers=plain, schedules=["constant"], lrs=[1e-2], seeds=[0, 1]
    )
    assert [int(row["Rank"].split()[0]) for row in table_rows(section)] == list(range(1, COMPARED + 1))


def test_seeds_that_never_arrive_are_told(tmp_path):
    _, section = told(tmp_path, target=2.0, seeds=[0, 1, 2])
    assert {row["Steps to target"] for row in table_rows(section)} == {"never"}
    assert {row["Meets the target"] for row in table_rows(section)} == {"1"}


def test_single_seeds_have_numbers_without_brackets(tmp_path):
    _, section = told(tmp_path, seeds=[0])
    assert all("[" not in cell for row in table_rows(section) for cell in row.values())
    assert "nan" not in text(section)


@pytest.mark.usefixtures("drawn")
def test_a_staircase_for_each_of_the_best_and_the_baseline(made):
    found, _ = made
    [picture] = reached(found).figures
    for ax, workload in zip(picture.draw().axes, found.ranked_workloads, strict=False):
        labels = [text.get_text().replace("\n", " ") for text in ax.get_legend().get_texts()]
        assert len(labels) == len(ax.lines) == 5
        assert sum("uniform / constant" in label for label in labels) >= 1
        assert ax.get_title() == workload
        for line in ax.lines:
            assert (abs(line.get_xdata()[0]), line.get_xdata()[-1]) == (0.0, pytest.approx(ax.get_xlim()[1]))


@pytest.mark.parametrize("change", [crash, diverge])
def test_a_study_without_a_finished_run_has_no_ranking(tmp_path, change):
    found, section = told(tmp_path, change=change, seeds=[0], lrs=[1e-2])
    assert section is None
    assert reached(found).figures == ()


def test_many_workloads_take_two_figures_at_most(tmp_path):
    names = [f"workload_{i:02}" for i in range(10)]
    _, section = told(tmp_path, workloads=names, seeds=[0], lrs=[1e-2], optimizers=["adam"])
    assert [figure.name for figure in Document("", section.blocks).figures()] == [
        "steps-to-target-1",
        "steps-to-target-2",
    ]
    assert "Not drawn: workload_08, workload_09." in text(section)
