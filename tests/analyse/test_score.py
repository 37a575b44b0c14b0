"""From curves to times, scores and target tests."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.analyse.score import per_study, per_trial, standings, target_tests
from lrbench.config.targets import Targets
from lrbench.store.curves import COLUMNS, read_curves

INF, NAN = math.inf, math.nan
WORKLOADS = {
    "loss": {"metric": "loss", "target": 0.5, "better": "lower"},
    "bleu": {"metric": "bleu", "target": 30.0, "better": "higher"},
    "held": {"metric": "bleu", "target": 30.0, "better": "higher", "variant_of": "bleu"},
}
TARGETS = Targets.model_validate({"workloads": WORKLOADS})
FEWEST = Targets.model_validate({"workloads": WORKLOADS, "trial": "fewest-evaluations"})


def curves(folder, rows, targets=TARGETS):
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "c.csv", index=False)
    return read_curves([folder / "c.csv"], targets)


def trial(folder, values, *, workload="loss", metric=None, seconds=None):
    """What a single trial with one evaluation a step reached; the first evaluation is at step 10 and second 1."""
    clock = seconds or [step + 1.0 for step in range(len(values))]
    rows = [
        (workload, "s", 0, 0, 10 * (i + 1), t, metric or WORKLOADS[workload]["metric"], v)
        for i, (v, t) in enumerate(zip(values, clock, strict=True))
    ]
    [found] = per_trial(curves(folder, rows), TARGETS).itertuples(index=False)
    return found


@pytest.mark.parametrize(
    ("workload", "values", "evaluations"),
    [
        ("loss", [0.9, 0.5, 0.1], 2),  # exactly the target is enough
        ("loss", [0.9, 0.6], None),
        ("loss", [0.2, 0.9], 1),  # what comes later does not matter
        ("bleu", [29.9, 30.0], 2),
        ("bleu", [NAN, 31.0], 2),
        ("bleu", [INF, 29.0], None),  # no number meets no target
        ("loss", [-INF, 0.6, 0.4], 3),
        ("loss", [NAN, NAN], None),
    ],
)
def test_the_first_evaluation_that_is_good_enough_counts(workload, values, evaluations, tmp_path):
    found = trial(tmp_path, values, workload=workload)
    assert found.reached == (evaluations is not None)
    expected = (NAN, NAN, NAN) if evaluations is None else (evaluations, 10 * evaluations, evaluations)
    np.testing.assert_array_equal((found.evaluations, found.steps, found.seconds), expected)


def test_the_best_and_the_last_value(tmp_path):
    found = trial(tmp_path, [0.9, 0.6, 0.7])
    assert (found.best, found.final) == (0.6, 0.7)
    found = trial(tmp_path, [20.0, 25.0, NAN], workload="bleu")
    assert found.best == 25.0
    assert math.isnan(found.final)


def test_a_trial_that_never_logs_the_metric_never_reaches(tmp_path):
    found = trial(tmp_path, [0.1], metric="train/loss")
    assert not found.reached
    assert math.isnan(found.best)


def studies(folder, rows, targets=TARGETS):
    return per_study(per_trial(curves(folder, rows, targets), targets), targets)


def reaching(strategy, study, number, seconds, *, after=1, workload="loss"):
    """A trial that reaches its target at the last of so many evaluations."""
    good = 0.4 if workload == "loss" else 31.0
    bad = 0.9 if workload == "loss" else 1.0
    return [
        (
            workload,
            strategy,
            study,
            number,
            i + 1,
            seconds * (i + 1) / after,
            WORKLOADS[workload]["metric"],
            good if i + 1 == after else bad,
        )
        for i in range(after)
    ]


def failing(strategy, study, number, *, workload="loss"):
    return [(workload, strategy, study, number, 1, 1.0, WORKLOADS[workload]["metric"], 0.9)]


def test_a_study_takes_its_fastest_trial_or_as_asked_that_with_the_fewest_evaluations(tmp_path):
    rows = (
        reaching("s", 1, "slow", 30.0, after=2)
        + reaching("s", 1, "fast", 20.0, after=3)
        + failing("s", 1, "bad")
        + failing("s", 2, "bad")
    )
    assert studies(tmp_path, rows).seconds.tolist() == [20.0, INF]
    assert studies(tmp_path, rows, FEWEST).seconds.tolist() == [30.0, INF]
    tie = reaching("s", 1, "a", 30.0, after=2) + reaching("s", 1, "b", 25.0, after=2)
    assert studies(tmp_path, tie, FEWEST).seconds.tolist() == [25.0]


def test_an_absent_study_is_absent_and_one_that_never_reaches_is_infinite(tmp_path):
    rows = reaching("two", 1, 1, 10.0) + reaching("two", 2, 1, 20.0)
    rows += reaching("three", 1, 1, 10.0) + reaching("three", 2, 1, 20.0) + failing("three", 3, 1)
    rows += reaching("lost", 1, 1, 10.0) + failing("lost", 2, 1) + failing("lost", 3, 1)
    found = standings(studies(tmp_path, rows), TARGETS)
    times = dict(zip(found.strategies, found.time_WS[found.workloads.index("loss")], strict=True))
    assert times == {"two": 15.0, "three": 20.0, "lost": INF}


def test_workloads_that_nobody_was_measured_on_count_in_the_denominator(tmp_path):
    found = standings(studies(tmp_path, reaching("s", 1, 1, 10.0)), TARGETS)
    assert found.score_S.tolist() == [0.5]
    assert found.base_names == ["bleu", "loss"]


def test_a_base_fails_with_its_variant(tmp_path):
    rows = [
        r for s in ("a", "b") for w in WORKLOADS for r in reaching(s, 1, 1, 10.0, workload=w) if (s, w) != ("b", "held")
    ]
    found = standings(studies(tmp_path, rows), TARGETS)
    assert dict(zip(found.strategies, found.score_S, strict=True)) == {"a": 1.0, "b": 0.5}
    assert found.speedup("b", "a") == (1.0, 2, 0, 0)


ROW = st.tuples(
    st.sampled_from(sorted(WORKLOADS)), st.sampled_from("xyz"), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4),
    st.sampled_from(["loss", "bleu"]),
)  # fmt: skip
TABLE = st.dictionaries(
    ROW, st.tuples(st.integers(1, 30), st.sampled_from([0.4, 0.6, 29.0, 30.0, NAN])), min_size=1, max_size=40
)


@given(TABLE, st.randoms())
def test_the_order_of_rows_and_ties_changes_nothing(table, random):
    rows = [(*where[:5], float(seconds), where[5], value) for where, (seconds, value) in table.items()]

    def told(rows):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            found = studies(Path(folder), rows, FEWEST)
        return found, standings(found, FEWEST)

    (plain, first), (mixed, second) = told(rows), told(random.sample(rows, len(rows)))
    pd.testing.assert_frame_equal(plain, mixed)
    np.testing.assert_array_equal(first.score_S, second.score_S)
    np.testing.assert_array_equal(first.bounds, second.bounds)
    assert first.order == second.order


SPEEDRUNS = [
    ([3.2779, 3.2779, 3.2789, 3.2778, 3.2789, 3.2785, 3.2806], 0.0053, 3.2786, 0.0010),
    ([3.2813, 3.2778, 3.2781, 3.2764, 3.277, 3.2787, 3.2767, 3.2807, 3.2769, 3.2774], 0.0030, 3.2781, 0.0017),
]
"""Losses of runs that should have a mean of 3.28 or less, with p, mean and standard deviation as published with two
records of github.com/KellerJordan/modded-nanogpt."""


@pytest.mark.parametrize(("losses", "p", "mean", "deviation"), SPEEDRUNS)
def test_published_tests_of_a_target(losses, p, mean, deviation, tmp_path):
    targets = Targets.model_validate({"workloads": {"gpt": {"metric": "loss", "target": 3.28, "better": "lower"}}})
    rows = [
        ("gpt", "record", study, 0, step, step, "loss", loss)
        for study, last in enumerate(losses)
        for step, loss in ((1, 9.0), (2, last))
    ]
    [found] = target_tests(
        per_study(per_trial(curves(tmp_path, rows, targets), targets), targets), targets
    ).itertuples()
    assert (round(found.final_p, 4), round(found.final_mean, 4), round(found.final_sd, 4), found.final_n) == (
        p,
        mean,
        deviation,
        len(losses),
    )
    assert found.stopped == 0
    assert not hasattr(found, "best_p")


def ending(study, values, *, number=0):
    """A trial with these losses, evaluated at steps 1, 2, ..."""
    return [("loss", "s", study, number, i + 1, i + 1.0, "loss", v) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("trials", "stopped"),
    [
        ([[0.9, 0.49], [0.9, 0.8, 0.48]], 2),  # both end where they meet it
        ([[0.9, 0.49, 0.45], [0.9, 0.8, 0.48]], 0),  # one goes on to step 3, where the other meets it
        ([[0.9, 0.8, 0.7], [0.9, 0.8, 0.48]], 0),  # one misses at step 3, where all end
        ([[0.9, 0.8, 0.7], [0.9, 0.48]], 1),  # one misses at step 3, and the other ends before
        ([[0.9], [0.9, 0.48]], 1),  # a short miss, as of a training that diverged, says nothing of where others end
        ([[0.9, 0.49, 0.6], [0.9, 0.49, NAN]], 0),
    ],
)
def test_where_training_stopped_at_the_target_there_is_no_p(trials, stopped, tmp_path):
    rows = [row for study, values in enumerate(trials) for row in ending(study, values)]
    [found] = target_tests(studies(tmp_path, rows), TARGETS).itertuples()
    assert found.stopped == stopped
    assert math.isnan(found.final_p) == (stopped > 0 or math.isnan(trials[-1][-1]))


def test_one_trial_of_a_study_that_stopped_is_enough(tmp_path):
    rows = ending(0, [0.9, 0.3, 0.3]) + ending(0, [0.9, 0.4], number=1) + ending(1, [0.9, 0.3, 0.4])
    [found] = target_tests(studies(tmp_path, rows), TARGETS).itertuples()
    assert (found.stopped, found.final_mean) == (1, pytest.approx(0.35))
    assert math.isnan(found.final_p)


def test_stopping_at_the_target_would_make_a_t_test_say_that_it_is_met(tmp_path):
    """What is refused: losses that only wander about 0.7 are all below 0.5 in the end if each training ends there."""
    rng, rows = np.random.default_rng(0), []
    for study in range(5):
        walk = 0.7 + 0.15 * rng.standard_normal(1000)
        rows += ending(study, walk[: int(np.argmax(walk <= 0.5)) + 1])
    [found] = target_tests(studies(tmp_path, rows), TARGETS).itertuples()
    assert found.stopped == 5
    assert found.final_mean < 0.5
    assert math.isnan(found.final_p)


def test_a_study_without_a_value_makes_the_test_impossible_and_is_seen(tmp_path):
    rows = [("bleu", "s", study, 0, 1, 1.0, "bleu", value) for study, value in enumerate([31.0, 32.0, NAN])]
    [found] = target_tests(studies(tmp_path, rows), TARGETS).itertuples()
    assert (found.studies, found.final_n, found.final_mean) == (3, 2, 31.5)
    assert math.isnan(found.final_p)
