"""What a report says of tuning and of the axes, for studies with a known answer."""

import re

import pytest
from synthetic import crash, study

from lrbench.report import axes, axes_figures, tuned, tuning_figures, write
from lrbench.report.export import tables
from lrbench.report.figures import galleries
from lrbench.report.findings import Findings

WIDE = {"layer_lrs": ("uniform", "layer_decay(gamma=0.75)")}


def table(text, title):
    [found] = [t for t in tables(text) if t.title == title]
    return [dict(zip([c.text for c in found.header], [c.text for c in row], strict=True)) for row in found.rows]


def told(made):
    """The two sections alone, without the report around them."""
    found = Findings(made)
    tuning = tuned.tuning(found, tuning_figures.curves(found))
    drawn = {"effects": axes_figures.effects(found), "main-effects": axes_figures.levels(found)}
    return f"{tuning}\n\n{axes.contributing(found, drawn)}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), **WIDE)


@pytest.fixture(scope="module")
def report(made):
    return write(made).read_text()


def test_the_report_has_both_sections(made, report):
    tuning, contributing = told(made).split("\n\n## What each axis contributes")
    assert f"\n\n{tuning.strip()}\n\n" in report
    assert f"\n\n## What each axis contributes{contributing.rstrip()}\n\n" in report


def test_every_workload_is_advised_for_every_number_of_trials(report):
    lines = table(report, "How much tuning it takes What to take for how many trials")
    assert [(line["Workload"], line["Trials"]) for line in lines] == [
        (w, k) for w in ("digits_mlp", "mnist_cnn") for k in ("1", "5", "20")
    ]
    assert all(line["First lr"] == "0.001 (default)" for line in lines)
    assert lines[0]["Take"].startswith("rmsprop / ")
    assert lines[0]["Take"].endswith(" / cosine")
    assert re.fullmatch(r"\d\d\.\d % \[\d\d\.\d, \d\d\.\d\]", lines[0]["Expected validation"])
    assert " of 11" in lines[0]["Not separated from it"]


def test_workloads_that_share_strategies_are_advised_together(report):
    lines = table(report, "How much tuning it takes One strategy for several workloads")
    assert [line["Trials on each"] for line in lines] == ["1", "5", "20"]
    shares = [float(line["Share of the way"].split()[0]) for line in lines]
    assert shares == sorted(shares)
    assert "For digits_mlp, mnist_cnn, and the 12 strategies" in report


def test_the_shares_of_each_workload_sum_to_one(report):
    lines = table(report, "What each axis contributes Shares of the variance")
    for workload in ("digits_mlp", "mnist_cnn"):
        mine = [line for line in lines if line["Workload"] == workload]
        assert sum(float(line["Share, all lrs"].split()[0]) for line in mine) == pytest.approx(100, abs=1.0)
        assert sum(
            float(line["Share, best lr"].split()[0]) for line in mine if line["Share, best lr"] != "-"
        ) == pytest.approx(100, abs=1)
        assert max(mine, key=lambda line: float(line["Share, all lrs"].split()[0]))["Effect"] in {
            "lr",
            "optimizer x lr",
        }


def test_the_factorial_and_the_lrs_behind_the_positions_are_told(report):
    assert "| digits_mlp | 3 | 2 | 2 | 5 | 5 | 300 of 300 |" in report
    assert "| digits_mlp | lr | lr 3 of 5: 0.01 |" in report


def test_there_are_at_most_three_and_two_pictures(tmp_path):
    many = Findings(study(tmp_path, workloads=[f"w{i:02}" for i in range(14)], seeds=[0, 1], optimizers=["adam"]))
    drawn = galleries(many)
    assert [len(drawn[kind].figures) for kind in ("tuning", "effects", "main-effects")] == [3, 1, 1]
    assert len(drawn["tuning"].left_out) == 2
    assert len(drawn["effects"].left_out) == 8


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
    text = told(study(tmp_path, higher_is_better=False, target=0.5, workloads=["digits_mlp"]))
    for line in table(text, "How much tuning it takes What to take for how many trials"):
        low, high = map(float, re.search(r"\[(.+), (.+)\]", line["Expected validation"]).groups())
        assert 0 < low <= float(line["Expected validation"].split()[0]) <= high < 1
    assert re.search(r"\| digits_mlp \| schedule \| `cosine` \| \d\.\d+ \| \d\.\d+ to \d\.\d+ \|", text)
