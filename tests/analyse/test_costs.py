"""What a step costs, and time to target, held to closed forms."""

import math
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from synthetic import SLOWNESS, delayed, step_cost, step_costs, study, timed

from lrbench.analyse import (
    at_best_lr,
    contrasts,
    joules_after,
    per_run,
    predicted,
    responses,
    seconds_after,
    time_to_target,
)
from lrbench.analyse import (
    step_costs as table_of,
)
from lrbench.analyse.costs import UNMEASURED, stages_of
from lrbench.config.cost import Costs, StepCost

STRATEGY = ("sgd(momentum=0.9)", "uniform", "constant")
STAGES = [
    step_cost("digits_mlp", STRATEGY[0], seconds, from_step=step, strategies=[STRATEGY])
    for step, seconds in ((0, 1.0), (10, 2.0), (25, 4.0))
]


def best_of(made):
    runs = per_run(made)
    return at_best_lr(runs, responses(runs))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"), costs=step_costs(1e-3))


@pytest.fixture(scope="module")
def times(made):
    return time_to_target(best_of(made), made.costs)


class TestSecondsAfter:
    @pytest.mark.parametrize(
        ("steps", "seconds"),
        [(0, 0), (1, 1), (10, 10), (11, 12), (25, 40), (26, 44), (100, 340), (12.5, 15), (math.inf, math.inf)],
    )
    def test_it_is_the_integral_of_the_step_cost(self, steps, seconds):
        assert seconds_after(STAGES, steps) == seconds
        assert joules_after(STAGES, steps) == 50 * seconds

    @given(st.permutations(STAGES), st.integers(0, 60), st.integers(0, 60))
    def test_it_is_additive_in_whatever_order_the_stages_come(self, stages, one, more):
        rates = [1.0] * 10 + [2.0] * 15 + [4.0] * 200
        assert seconds_after(stages, one + more) == sum(rates[: one + more])
        assert seconds_after(stages, one) <= seconds_after(stages, one + more)

    def test_a_stage_that_is_not_known_is_missed_where_it_is_needed_only(self):
        lost = [*STAGES[:2], replace(STAGES[2], seconds=None, reason="out of memory")]
        assert seconds_after(lost, 25) == 40
        assert math.isnan(seconds_after(lost, 26))
        assert math.isnan(seconds_after(lost, math.inf))
        assert math.isnan(seconds_after(STAGES[1:], 5))
        assert math.isnan(seconds_after([], 5))
        assert math.isnan(seconds_after([replace(STAGES[0], varies=True)], 5))


class TestStepCosts:
    def test_columns_are_the_fields_and_rows_the_cases(self, made):
        table = table_of(made.costs)
        assert list(table.columns) == [f.name for f in fields(StepCost)]
        assert len(table) == len(made.costs.costs)
        assert table.seconds.isna().sum() == 1
        assert set(table[table.seconds.isna()].reason) == {"rmsprop has no fused implementation"}

    def test_the_order_of_cases_changes_nothing(self, made):
        turned = replace(made.costs, costs=made.costs.costs[::-1])
        assert_frame_equal(table_of(made.costs), table_of(turned))
        assert_frame_equal(contrasts(made.costs), contrasts(turned))
        assert stages_of(made.costs) == stages_of(turned)

    def test_without_costs_tables_are_empty(self):
        assert table_of(Costs()).empty
        assert contrasts(Costs()).empty


class TestTimeToTarget:
    def test_it_is_steps_times_cost(self, made, times):
        slow = times.optimizer.map(SLOWNESS) * np.where(times.workload == "mnist_cnn", 2, 1)
        assert times.seconds.to_numpy() == pytest.approx(times.steps * slow * 1e-3)
        assert times.joules.to_numpy() == pytest.approx(50 * times.seconds)
        assert times.step_seconds.to_numpy() == pytest.approx(slow * 1e-3)
        assert len(times) == 2 * 3 * 2
        assert (times.reason == "").all()
        assert set(" ".join(times["keys"]).split()) == set(best_of(made).key)

    def test_the_interval_covers_the_quartiles_of_the_clock(self, times):
        assert (times.seconds_low <= 0.98 * times.seconds + 1e-12).all()
        assert (times.seconds_high >= 1.02 * times.seconds - 1e-12).all()

    def test_seeds_that_never_reach_the_target_count_as_infinite(self, made):
        best = best_of(made)
        few = best.assign(steps_to_target=best.steps_to_target.where(best.seed > 0), reached=best.seed > 0)
        many = best.assign(steps_to_target=best.steps_to_target.where(best.seed > 2), reached=best.seed > 2)
        assert np.isfinite(time_to_target(few, made.costs).seconds).all()
        lost = time_to_target(many, made.costs)
        assert np.isinf(lost.seconds).all()
        assert np.isinf(lost.joules).all()
        assert lost.steps.isna().all()
        assert (lost.seeds == 5).all()
        assert (lost.reached == 2).all()
        assert np.isinf(lost.seconds_high).all()

    def test_what_has_no_cost_has_no_time_and_a_reason(self, made):
        best = best_of(made)
        nothing = time_to_target(best, Costs())
        assert nothing[["seconds", "seconds_low", "joules"]].isna().all(axis=None)
        assert set(nothing.reason) == {UNMEASURED}
        lost = replace(
            made.costs,
            costs=tuple(replace(c, seconds=None, joules=None, reason="out of memory") for c in made.costs.costs),
        )
        assert set(time_to_target(best, lost).reason) == {"out of memory"}

    def test_energy_that_could_not_be_read_leaves_the_time(self, made):
        silent = replace(
            made.costs, costs=tuple(replace(c, joules=None, joules_reason="no counter") for c in made.costs.costs)
        )
        found = time_to_target(best_of(made), silent)
        assert found.joules.isna().all()
        assert found.seconds.notna().all()
        assert set(found.joules_reason) == {"no counter"}

    @pytest.mark.parametrize(
        "other",
        [
            {"batch_size": 64},
            {"accumulate": 2},
            {"precision": "bf16"},
            {"implementation": "foreach"},
            {"grouping": "one"},
            {"compiled": True},
        ],
    )
    def test_a_cost_under_other_conditions_is_not_taken(self, made, other):
        apart = replace(made.costs, costs=tuple(replace(c, **other) for c in made.costs.costs))
        assert time_to_target(best_of(made), apart).seconds.isna().all()

    def test_of_several_devices_the_median_counts(self, made, times):
        second = tuple(replace(c, device="fake:1", seconds=3 * c.seconds) for c in made.costs.costs if c.measured)
        found = time_to_target(best_of(made), replace(made.costs, costs=(*made.costs.costs, *second)))
        assert found.seconds.to_numpy() == pytest.approx(2 * times.seconds)
        assert set(found.devices) == {"fake:0 fake:1"}

    def test_stages_of_unfreezing_are_summed(self, made):
        best = best_of(made)
        best = best[(best.workload == "digits_mlp") & (best.optimizer == STRATEGY[0]) & (best.schedule == "constant")]
        found = time_to_target(best, Costs(tuple(STAGES)))
        assert found.seconds.tolist() == [np.median([seconds_after(STAGES, k) for k in best.steps_to_target])]

    def test_the_order_of_runs_and_costs_changes_nothing(self, made, times):
        turned = replace(made.costs, costs=made.costs.costs[::-1])
        assert_frame_equal(
            time_to_target(best_of(made).sample(frac=1.0, random_state=0), turned), times, check_exact=True
        )


def test_whole_trainings_stand_beside_what_their_costs_predict(made):
    keys = sorted(made.runs.key)[:3]
    whole = [timed(made, key, ratio=ratio) for key, ratio in zip(keys, (0.9, 1.0, 1.2), strict=True)]
    found = predicted(replace(made, costs=replace(made.costs, timed=tuple(whole)))).set_index("key").ratio
    assert found[keys].tolist() == pytest.approx([0.9, 1.0, 1.2])


def test_a_training_whose_run_is_not_stored_is_predicted_where_one_condition_was_measured(made):
    whole = (
        timed(made, made.runs.key[0], ratio=1.1),
        replace(timed(made, made.runs.key[0], ratio=1.1), key="elsewhere", layer_lr="freeze"),
    )
    found = predicted(replace(made, runs=made.runs[:0], costs=replace(made.costs, timed=whole)))
    assert sorted(found.ratio, key=math.isnan) == [pytest.approx(1.1), pytest.approx(math.nan, nan_ok=True)]


class TestContrasts:
    def test_groups_and_implementations_by_the_closed_form(self, made):
        found = contrasts(made.costs)
        grouping = found[found.property == "grouping"]
        assert len(grouping) == 4
        assert grouping.ratio.to_numpy() == pytest.approx(1.3)
        assert (grouping.groups == 4).all()
        assert (grouping.base_groups == 1).all()
        how = found[(found.property == "implementation") & (found.value == "foreach")]
        assert how.ratio.to_numpy() == pytest.approx(0.5)
        assert set(found.property) == {"grouping", "implementation"}

    def test_a_policy_with_one_group_stands_for_one_group(self):
        one = step_cost("w", "sgd", 1.0, strategies=[("sgd", "uniform", "constant")])
        found = contrasts(Costs((one, step_cost("w", "sgd", 1.5, grouping="layer", groups=3))))
        assert found[["property", "value", "ratio"]].to_numpy().tolist() == [["grouping", "layer", 1.5]]

    def test_precision_and_compilation_differ_alone(self):
        cases = [
            step_cost("w", "sgd", t, precision=p, compiled=c)
            for t, p, c in ((4.0, "fp32", False), (2.0, "bf16", False), (1.0, "bf16", True))
        ]
        found = contrasts(Costs(tuple(cases)))
        assert found[["property", "base", "value", "ratio"]].to_numpy().tolist() == [
            ["compiled", "False", "True", 0.5],
            ["precision", "fp32", "bf16", 0.5],
        ]

    def test_policies_are_held_against_the_uniform_one_whatever_case_stands_for_it(self):
        plain = step_cost(
            "w",
            "sgd",
            1.0,
            layer_lr="same-shape",
            strategies=[("sgd", "uniform", "constant"), ("sgd", "same-shape", "constant")],
        )
        deep = step_cost(
            "w", "sgd", 1.2, layer_lr="depth-decay", groups=5, strategies=[("sgd", "depth-decay", "constant")]
        )
        found = contrasts(Costs((plain, deep)))
        assert found[["property", "value", "groups", "base_groups", "ratio"]].to_numpy().tolist() == [
            ["layer_lr", "depth-decay", 5, 1, 1.2]
        ]


def test_delayed_runs_need_more_time_by_as_many_steps(tmp_path, made, times):
    late = study(tmp_path, costs=made.costs, change=delayed(3, "adam"))
    found = time_to_target(best_of(late), late.costs)
    more = (found.seconds - times.seconds)[found.optimizer == "adam"]
    assert more.to_numpy() == pytest.approx(3 * found.step_seconds[found.optimizer == "adam"])


def test_later_stages_start_later():
    assert all(a.from_step < b.from_step for a, b in pairwise(STAGES))
