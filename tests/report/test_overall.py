"""What a report says over several workloads."""

import re
from dataclasses import replace

import pytest
from documents import text as told_in
from synthetic import diverge, study

from lrbench.report.document import Figure
from lrbench.report.findings import Findings
from lrbench.report.study.overall import overall

THREE = ("a_mlp", "b_mlp", "c_cnn")


def told(folder, *, keep=lambda _: True, **how):
    made = study(folder, **{"workloads": THREE, "lrs": (1e-3, 1e-2, 1e-1)} | how)
    kept = made.runs[[keep(row) for row in made.runs.itertuples()]]
    found = Findings(replace(made, runs=kept.reset_index(drop=True)))
    return found, told_in(overall(found))


def pictures(found):
    section = overall(found)
    return [] if section is None else [block for block in section.blocks if isinstance(block, Figure)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return told(tmp_path_factory.mktemp("study"))


def test_it_names_the_workloads_and_the_test(made):
    _, text = made
    assert "6 strategies were run on all of a_mlp, b_mlp, c_cnn" in text
    assert re.search(r"Friedman's test, over random orders of the ranks: p (< 0\.001|= 0\.00\d+)\)", text)
    assert "critical difference of two mean ranks is 4.35" in text
    assert "Strategies on other sets" not in text


def test_rows_stand_in_order_of_rank_with_scores_and_the_probability_to_beat_the_plain_one(made):
    _, text = made
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]
    assert [float(row[0]) for row in rows] == sorted(float(row[0]) for row in rows)
    assert all(re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", cell) for row in rows for cell in row[3:5])
    for _, name, *_, beats in rows:
        assert beats == "is the baseline" if "constant" in name else re.fullmatch(r"\d+ % \[\d+, \d+\]", beats)


@pytest.mark.usefixtures("drawn")
def test_bars_overlap_where_ranks_are_less_than_a_critical_difference_apart(made):
    found, _ = made
    [picture] = pictures(found)
    [ax] = picture.draw().axes
    bars = [line.get_xdata() for line in ax.lines if len(set(line.get_xdata())) == 2]
    ranks = found.overall.ranked["rank"].tolist()
    assert len(bars) == len(ranks) == 6
    for i, (low, _) in enumerate(bars):
        for j in range(i):
            assert (bars[j][1] > low) == (ranks[i] - ranks[j] < found.overall.critical_difference)


def test_strategies_of_other_workloads_are_folded_away(tmp_path):
    _, text = told(tmp_path, keep=lambda row: row.optimizer != "adam" or row.workload != "a_mlp")
    folded = text[text.index("<details>") : text.index("</details>")]
    assert "The scores of these 2 strategies are over other workloads" in folded
    assert "| `adam / uniform / cosine` | b_mlp, c_cnn |" in folded
    assert "adam" not in text[: text.index("<details>")]


def test_two_workloads_are_told_to_be_too_few(tmp_path):
    _, text = told(tmp_path, workloads=THREE[:2])
    assert "with so few workloads no pair can be told apart" in text


def test_a_test_that_cannot_find_anything_is_told(tmp_path):
    _, text = told(tmp_path, workloads=THREE[:2], optimizers=["adam"])
    assert (
        "are not told from chance (Friedman's test, exact over all orders of the ranks: p = 0.5, and with so few it "
        "could not be below 0.5)" in text
    )


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"workloads": THREE[:1]}, None),
        ({"change": diverge}, None),
        (
            {"keep": lambda row: (row.optimizer == "adam") == (row.workload == "a_mlp") and row.workload != "c_cnn"},
            "No strategy finished on",
        ),
        ({"optimizers": ["adam"], "schedules": ["constant"]}, "No two strategies were run on the same two workloads"),
    ],
)
def test_nothing_to_compare_is_said(tmp_path, how, sentence):
    found, text = told(tmp_path, **how)
    assert pictures(found) == []
    assert sentence in text if sentence else text == ""


def test_single_seeds_have_no_brackets(tmp_path):
    _, text = told(tmp_path, seeds=[0])
    rows = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    assert rows
    assert not any("[" in row for row in rows)
    assert "nan" not in text


def test_equal_strategies_everywhere_leave_nothing_to_test(tmp_path):
    found, _ = told(tmp_path, optimizers=["adam"])
    flat = found.ranking_table.assign(score=0.8)
    runs = found.best_runs.assign(score=0.8)
    tied = Findings(found.study)
    tied.__dict__.update(ranking_table=flat, best_runs=runs)
    assert "All are tied everywhere" in told_in(overall(tied))
