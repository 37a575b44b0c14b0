"""Tuning curves: closed forms, all draws one by one, chance; and what follows from them for a study with a known answer."""

import math
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import LRS, OPTIMA, crash, diverge, study

from lrbench.analyse import best_after, per_run, recommendations, shared_recommendations, tuning_curves, untuned
from lrbench.analyse.frames import STRATEGY
from lrbench.analyse.tuning import DEFAULT, MIDDLE, expected_best, outcomes
from lrbench.stats.estimates import mean, seeds_interval

samples = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=1, max_size=30)


@given(samples)
def test_one_trial_gives_the_mean_and_endless_ones_the_greatest_value(values):
    one, endless = expected_best(values, [1, 10**6])
    assert one == pytest.approx(np.mean(values), abs=1e-9)
    assert endless == pytest.approx(max(values), abs=1e-9)


@given(samples)
def test_more_trials_are_never_worse_and_stay_within_the_values(values):
    curve = expected_best(values, range(1, 40))
    assert (np.diff(curve) >= -1e-9).all()
    assert min(values) - 1e-9 <= curve[0]
    assert curve[-1] <= max(values) + 1e-9


@given(samples, st.floats(0.1, 10), st.floats(-5, 5), st.randoms(use_true_random=False))
def test_it_follows_scale_and_shift_and_no_order(values, scale, shift, random):
    shuffled = scale * np.array(random.sample(values, len(values))) + shift
    assert expected_best(shuffled, [1, 3, 7]) == pytest.approx(
        scale * expected_best(values, [1, 3, 7]) + shift, abs=1e-9
    )


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.integers(1, 4))
def test_it_is_the_mean_over_all_draws_one_by_one(values, k):
    assert expected_best(values, [k])[0] == pytest.approx(np.mean([max(draw) for draw in product(values, repeat=k)]))


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_two_values_have_a_closed_form(k):
    assert expected_best([0.0, 1.0], [k])[0] == pytest.approx(1 - 0.5**k)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_many_uniform_values_come_to_k_of_k_plus_one(k):
    assert expected_best(np.linspace(0, 1, 20_001), [k])[0] == pytest.approx(k / (k + 1), abs=1e-4)


@pytest.mark.parametrize("k", [2, 5])
def test_it_is_what_chance_gives(k):
    values = np.random.default_rng(0).normal(size=12)
    drawn = np.random.default_rng(1).choice(values, size=(200_000, k)).max(axis=1)
    assert expected_best(values, [k])[0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / math.sqrt(len(drawn)))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=7), st.data())
def test_draws_without_replacement_are_never_worse(values, data):
    k = data.draw(st.integers(1, len(values)))
    assert np.mean([max(draw) for draw in combinations(values, k)]) >= expected_best(values, [k])[0] - 1e-9


def test_no_values_no_expectation():
    assert np.isnan(expected_best([], [1, 2])).all()


KEYS = [*STRATEGY, "seed"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return per_run(study(tmp_path_factory.mktemp("study")))


def test_the_curves_of_a_study_are_those_of_each_seed(runs):
    curves = tuning_curves(runs, [1, 2, 5])
    assert len(curves) == 2 * 3 * 2 * 5
    known = outcomes(runs).groupby(KEYS)
    for row in curves.to_dict("records"):
        part = known.get_group(tuple(row[key] for key in KEYS))
        assert row["lrs"] == len(part) == len(LRS)
        assert [row[k] for k in (1, 2, 5)] == pytest.approx(expected_best(part.outcome, [1, 2, 5]))


def test_the_order_of_the_runs_changes_nothing(runs):
    shuffled = runs.sample(frac=1.0, random_state=3)
    pd.testing.assert_frame_equal(tuning_curves(shuffled), tuning_curves(runs))
    pd.testing.assert_frame_equal(recommendations(shuffled), recommendations(runs))
    pd.testing.assert_frame_equal(shared_recommendations(shuffled)[1], shared_recommendations(runs)[1])


def test_a_diverged_run_and_one_that_unlearnt_count_as_the_untrained_model(tmp_path):
    found = outcomes(per_run(study(tmp_path, lrs=[1.0], optimizers=["rmsprop"], workloads=["digits_mlp"])))
    assert (found.status == "diverged").all()
    assert found.outcome.tolist() == found.untrained_score.tolist()
    worse = per_run(study(tmp_path / "loss", higher_is_better=False, target=0.1)).assign(score=-1e9)
    assert outcomes(worse).outcome.tolist() == worse.untrained_score.tolist()


def test_crashed_runs_are_no_trials_and_a_seed_needs_most_lrs(tmp_path):
    few = {0: LRS[:1], 1: LRS[:2], 2: LRS[:4]}
    some = study(
        tmp_path, seeds=range(4), workloads=["digits_mlp"], optimizers=["adam"],
        change=lambda run, outcome: outcome if run.lr in few.get(run.seed, LRS) else crash(run, outcome),
    )  # fmt: skip
    curves = tuning_curves(per_run(some))
    assert sorted(set(curves.seed)) == [2, 3]
    assert curves.lrs.tolist() == [4, 5] * 2


def test_a_narrow_grid_is_not_compared_with_a_wide_one(runs):
    narrow = runs[(runs.optimizer != "adam") | runs.lr.isin([1e-2, 1e-1])]
    assert set(tuning_curves(narrow).optimizer) == {"sgd(momentum=0.9)", "rmsprop"}
    half = runs[(runs.optimizer != "adam") | runs.lr.isin([1e-3, 1e-2, 1e-1])]
    assert "adam" in set(tuning_curves(half).optimizer)


def test_the_first_trial_is_at_the_default_lr_else_in_the_middle_of_the_grid(runs):
    assert (untuned(runs).lr == 1e-3).all()
    assert (untuned(runs).which == DEFAULT).all()
    other = untuned(runs.assign(default_lr=5.0))
    assert (other.lr == 1e-2).all()
    assert (other.which == MIDDLE).all()
    even = untuned(runs[runs.lr > 1e-4].assign(default_lr=math.nan))
    assert (even.lr == 1e-2).all()
    once = untuned(runs[(runs.lr != 1e-3) | (runs.seed == 0)])
    assert (once.which == MIDDLE).all()
    assert not set(once.lr) & {1e-3}
    few = untuned(runs[(runs.lr.isin([1e-2, 1.0])) | ((runs.lr == 1e-3) & (runs.seed < 2))])
    assert set(few.lr) == {1e-2}
    beside = untuned(pd.concat([runs, runs[runs.lr == 1e-3].assign(lr=1.0005e-3)]))
    assert (beside.lr == 1e-3).all()
    assert not beside.duplicated(["workload", "optimizer", "layer_lr", "schedule", "seed"]).any()
    assert untuned(runs[runs.lr == 1e-2]).empty
    assert len(untuned(runs[runs.lr == 1e-3])) == 2 * 3 * 2 * 5


def test_who_does_not_tune_takes_the_optimizer_whose_default_is_its_best_lr(runs):
    advice = recommendations(runs).set_index(["workload", "trials"])
    one = advice.loc["digits_mlp", 1]
    assert OPTIMA["rmsprop"] == one.lr == 1e-3
    assert one.optimizer == "rmsprop"
    assert one.schedule == "cosine"
    assert one.strategies == 6
    assert not any(name.startswith(("adam", "sgd")) for name in one.not_separated)


def test_tuning_makes_the_optimizers_alike(runs):
    advice = recommendations(runs, [1, 400]).set_index(["workload", "trials"])
    assert len(advice.loc["digits_mlp", 400].not_separated) >= 2
    assert advice.loc["digits_mlp", 400].expected > advice.loc["digits_mlp", 1].expected - 1e-9


def test_a_recommendation_with_more_trials_expects_no_less(runs):
    for _, part in recommendations(runs, [1, 2, 5, 20, 100]).groupby("workload"):
        assert (np.diff(part.sort_values("trials").expected.astype(float)) >= -1e-12).all()


def test_the_expectation_after_a_first_trial_is_the_mean_over_all_draws(runs):
    mine = runs[(runs.optimizer == "adam") & (runs.schedule == "constant") & (runs.workload == "digits_mlp")]
    [advised] = recommendations(mine, [3]).to_dict("records")
    by_seed = [
        np.mean([max(first, *draw) for draw in product(part.outcome, repeat=2)])
        for _, part in outcomes(mine).groupby("seed")
        for first in part.outcome[part.lr == 1e-3]
    ]
    assert advised["expected"] == pytest.approx(np.mean(by_seed))
    assert (advised["low"], advised["high"]) == pytest.approx(seeds_interval(by_seed, statistic=mean))


def test_strategies_are_ranked_by_what_is_expected_of_them(runs):
    curves = tuning_curves(runs, [1, 5])
    ranked = best_after(curves, 5)
    means = curves.groupby(STRATEGY)[5].mean()
    for workload, part in ranked.groupby("workload"):
        assert part.expected.tolist() == sorted(means[workload], reverse=True)


def test_over_several_workloads_the_share_of_the_way_is_told(runs):
    workloads, advice = shared_recommendations(runs)
    assert workloads == ["digits_mlp", "mnist_cnn"]
    assert advice.trials.tolist() == [1, 5, 20]
    assert advice.optimizer.iloc[0] == "rmsprop"
    assert (np.diff(advice.expected) >= -1e-12).all()
    assert 0.9 < advice.expected.iloc[0] <= advice.expected.iloc[-1] <= 1 + 1e-9


def test_workloads_that_share_nothing_have_no_common_advice(runs):
    apart = runs[(runs.workload == "digits_mlp") == (runs.optimizer == "adam")]
    assert shared_recommendations(apart)[0] == []
    assert shared_recommendations(runs[runs.workload == "digits_mlp"])[0] == []


@pytest.mark.parametrize("change", [diverge, crash])
def test_a_study_without_a_finished_run_is_no_error(tmp_path, change):
    lost = per_run(study(tmp_path, change=change, seeds=[0, 1]))
    assert len(recommendations(lost)) == (6 if change is diverge else 0)
    assert shared_recommendations(lost)[0] == []


def test_no_runs_no_advice(tmp_path):
    none = per_run(study(tmp_path, seeds=[]))
    assert recommendations(none).empty
    assert tuning_curves(none).empty
    assert shared_recommendations(none)[0] == []
