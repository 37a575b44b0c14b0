"""The section of a report on performance profiles, and which strategies and workloads it is about."""

import re

import numpy as np
import pandas as pd
import pytest
from documents import lines, tables
from documents import text as told_in
from synthetic import crash, diverge, step_costs, study

from lrbench.analyse.shared import block
from lrbench.report import drawing, write
from lrbench.report.document import Figure
from lrbench.report.findings import Findings
from lrbench.report.study.overall import performance_profile
from lrbench.stats.score import median_over_studies


def told(made):
    """The section alone, without the report around it."""
    return told_in(performance_profile(Findings(made)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def costed(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), costs=step_costs())


def test_without_costs_steps_stand_for_times(plain, tmp_path):
    text = told(plain)
    write(plain, folder=tmp_path)
    assert "<h2>Performance profile and score</h2>" in (tmp_path / "report.html").read_text()
    assert "6 strategies that were run on each of 2 workloads: digits_mlp, mnist_cnn." in text
    assert "steps to target stand for times" in text
    assert "figures/performance-profile.png" in text
    found = Findings(plain).standings
    assert found.measure == "steps"
    best = Findings(plain).best_runs
    adam = best[(best.workload == "digits_mlp") & (best.optimizer == "adam") & (best.schedule == "cosine")]
    at = found.workloads.index("digits_mlp"), found.strategies.index("adam / uniform / cosine")
    assert found.time_WS[at] == adam.steps_to_target.median()


@pytest.mark.usefixtures("drawn")
def test_the_profile_is_a_picture(plain):
    section = performance_profile(Findings(plain))
    [picture] = [block for block in section.blocks if isinstance(block, Figure)]
    assert len(drawing.picture(picture)) > 10_000


def test_with_costs_times_are_those_of_the_report(costed):
    assert "Times are steps to target x the measured cost of a step" in told(costed)
    found = Findings(costed)
    assert found.standings.measure == "seconds"
    times = {(t.workload, t.strategy): t.seconds.value for t in found.times}
    for w, workload in enumerate(found.standings.workloads):
        for s, name in enumerate(found.standings.strategies):
            assert found.standings.time_WS[w, s] == times[workload, name]


def test_the_table_has_a_row_for_each_strategy_best_first(plain):
    rows = [line for line in told(plain).splitlines() if line.startswith("| `")]
    scores = [float(re.search(r"\| (\d\.\d{3}) \[", row)[1]) for row in rows]
    assert len(rows) == 6
    assert scores == sorted(scores, reverse=True)
    assert all(
        re.fullmatch(r"\| `.+` \| \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] \| \d of 2 \| \d of 2 \| \d of 2 \|", row)
        for row in rows
    )


@pytest.mark.parametrize(
    "made",
    [
        {"workloads": ["digits_mlp"]},
        {"optimizers": ["adam"], "schedules": ["constant"]},
        {"change": crash},
        {"seeds": []},
    ],
    ids=["one-workload", "one-strategy", "all-crashed", "no-runs"],
)
def test_without_two_workloads_that_share_two_strategies_there_is_no_section(made, tmp_path):
    assert told(study(tmp_path, **{"seeds": [0], "lrs": [1e-2]} | made)) == ""


def test_strategies_that_diverge_at_every_lr_score_nothing_and_stay(tmp_path):
    def change(run, outcome):
        return diverge(run, outcome) if run.optimizer.label == "adam" else outcome

    found = Findings(study(tmp_path, change=change, seeds=[0, 1], optimizers=["sgd(momentum=0.9)", "adam"]))
    scores = dict(zip(found.standings.strategies, found.standings.score_S, strict=True))
    assert {name for name, score in scores.items() if score == 0.0} == {
        "adam / uniform / constant",
        "adam / uniform / cosine",
    }


def test_a_strategy_whose_step_was_not_measured_is_left_out_of_times(tmp_path):
    costs = step_costs(schedules=("constant",))
    found = Findings(study(tmp_path, costs=costs, seeds=[0, 1])).standings
    assert found.measure == "seconds"
    assert len(found.strategies) == 3
    assert all(name.endswith("constant") for name in found.strategies)


def test_of_many_strategies_the_first_are_shown(tmp_path):
    layers = [f"layer_decay(gamma=0.{i}5)" for i in range(5)]
    made = study(tmp_path, layer_lrs=["uniform", *layers], seeds=[0], lrs=[1e-2])
    [table] = tables(performance_profile(Findings(made))).values()
    assert table.most < len(lines(table)) == 36


def table(rows):
    return pd.DataFrame.from_dict(rows, orient="index").astype(bool)


def test_the_block_has_the_most_pairs():
    run = table({"a": [1, 1, 1, 1, 0], "b": [1, 1, 1, 1, 1], "c": [1, 1, 0, 0, 0], "d": [0, 0, 0, 0, 1]})
    assert block(run) == (["a", "b"], [0, 1, 2, 3])
    assert block(run.loc[["a", "c", "d"]]) == (["a", "c"], [0, 1])
    assert block(run.loc[["a", "d"]]) == ([], [])
    assert block(table({"a": [1, 1], "b": [1, 1], "c": [1, 1]})) == (["a", "b", "c"], [0, 1])


def test_the_block_does_not_depend_on_order():
    run = table({name: np.random.default_rng(i).random(8) < 0.7 for i, name in enumerate("abcdef")})
    assert block(run) == block(run.iloc[::-1, ::-1])


def test_seeds_are_studies(plain):
    found = Findings(plain).standings
    assert found.times.shape == (2, 6, 5)
    np.testing.assert_array_equal(median_over_studies(found.times), np.median(found.times, axis=-1))
