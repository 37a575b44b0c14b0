"""What a report says of tuning and of the axes, for studies with a known answer."""

import re

import pytest
from documents import lines, tables
from documents import text as told_in
from synthetic import crash, study

from lrbench.report import write
from lrbench.report.findings import Findings
from lrbench.report.study import axes, tuning

WIDE = {"layer_lrs": ("uniform", "layer_decay(gamma=0.75)")}


def told(made):
    """The two sections alone, without the report around them."""
    found = Findings(made)
    return f"{told_in(tuning.tuning(found))}\n\n{told_in(axes.axes(found))}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), **WIDE)


@pytest.fixture(scope="module")
def sections(made):
    found = Findings(made)
    return {**tables(tuning.tuning(found)), **tables(axes.axes(found))}


def test_the_report_has_both_sections(made, tmp_path):
    text = write(made, folder=tmp_path).read_text()
    assert "\n## Tuning budget\n\n![Expected best" in text
    assert "\n## Variance explained by each axis\n\n![Share of the variance" in text


def test_every_workload_is_advised_for_every_number_of_trials(sections):
    rows = lines(sections["tuning-advice"])
    assert [(line["Workload"], line["Trials"]) for line in rows] == [
        (w, k) for w in ("digits_mlp", "mnist_cnn") for k in ("1", "5", "20")
    ]
    assert all(line["First lr"] == "0.001 (default)" for line in rows)
    assert rows[0]["Take"].startswith("rmsprop / ")
    assert rows[0]["Take"].endswith(" / cosine")
    assert re.fullmatch(r"\d\d\.\d % \[\d\d\.\d, \d\d\.\d\]", rows[0]["Expected validation"])
    assert " of 11" in rows[0]["Tied with it"]


def test_workloads_that_share_strategies_are_advised_together(made, sections):
    rows = lines(sections["tuning-advice-shared"])
    assert [line["Trials on each"] for line in rows] == ["1", "5", "20"]
    shares = [float(line["Share of the way"].split()[0]) for line in rows]
    assert shares == sorted(shares)
    assert "For digits_mlp, mnist_cnn, and the 12 strategies" in told(made)


def test_the_shares_of_each_workload_sum_to_one(sections):
    rows = lines(sections["variance-shares"])
    for workload in ("digits_mlp", "mnist_cnn"):
        mine = [line for line in rows if line["Workload"] == workload]
        assert sum(float(line["Share, all lrs"].split()[0]) for line in mine) == pytest.approx(100, abs=1.0)
        assert sum(
            float(line["Share, best lr"].split()[0]) for line in mine if line["Share, best lr"] != "-"
        ) == pytest.approx(100, abs=1)
        assert max(mine, key=lambda line: float(line["Share, all lrs"].split()[0]))["Effect"] in {
            "lr",
            "optimizer x lr",
        }


def test_the_factorial_and_the_lrs_behind_the_positions_are_told(made):
    text = told(made)
    assert "| digits_mlp | 3 | 2 | 2 | 5 | 5 | 300 of 300 |" in text
    assert "| digits_mlp | lr | lr 3 of 5: 0.01 |" in text


def test_there_are_at_most_three_and_two_pictures(tmp_path):
    many = Findings(study(tmp_path, workloads=[f"w{i:02}" for i in range(14)], seeds=[0, 1], optimizers=["adam"]))
    drawn = [tuning.curves(many), axes.share_figures(many), axes.level_figures(many)]
    assert [len(of.figures) for of in drawn] == [3, 1, 1]
    assert [len(of.left_out) for of in drawn] == [2, 8, 8]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lrs": [1e-2]}, "No strategy was run at its optimizer's default lr or at two lrs"),
        ({"optimizers": ["adam"], "schedules": ["constant"]}, "No workload has a full factorial"),
        ({"change": crash}, "No workload has a full factorial"),
    ],
)
def test_what_cannot_be_told_is_said(changes, says, tmp_path):
    text = told(study(tmp_path, **{"seeds": [0, 1], "workloads": ["digits_mlp"]} | changes))
    assert says in text
    assert "![Expected best" not in text or "lrs" not in changes


def test_a_workload_without_a_factorial_is_named(tmp_path):
    def lose(run, outcome):
        alone = run.optimizer.label == "adam" and run.schedule.label == "constant"
        return outcome if alone or run.workload.label == "digits_mlp" else crash(run, outcome)

    text = told(study(tmp_path, seeds=[0, 1], change=lose))
    assert "Without a factorial of two levels on two axes: mnist_cnn." in text
    assert "\n| mnist_cnn | 1 | `adam / uniform / constant` | 0.001 (default) |" in text
    assert "One strategy for several workloads" not in text


def test_a_falling_metric_keeps_its_sign(tmp_path):
    made = study(tmp_path, higher_is_better=False, target=0.5, workloads=["digits_mlp"])
    text = told(made)
    for line in lines(tables(tuning.tuning(Findings(made)))["tuning-advice"]):
        low, high = map(float, re.search(r"\[(.+), (.+)\]", line["Expected validation"]).groups())
        assert 0 < low <= float(line["Expected validation"].split()[0]) <= high < 1
    assert re.search(r"\| digits_mlp \| schedule \| `cosine` \| \d\.\d+ \| \d\.\d+ to \d\.\d+ \|", text)
