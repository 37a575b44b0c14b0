import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.stats.curves import final, initial, overfitting_gap, seconds_to_target, steps_to_target, value_at

STEP_E = np.array([0, 10, 20, 30])
metrics = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4).map(np.array)


@pytest.mark.parametrize(
    ("metric", "target", "higher", "steps"),
    [
        ([0.1, 0.5, 0.9, 0.8], 0.9, True, 20),
        ([0.1, 0.5, 0.9, 0.8], 0.1, True, 0),
        ([0.1, 0.5, 0.9, 0.8], 0.91, True, None),
        ([2.3, 1.0, 0.5, 0.6], 0.5, False, 20),
        ([np.nan, np.nan, 0.9, 0.8], 0.5, True, 20),
    ],
)
def test_the_first_evaluation_at_least_as_good_counts(metric, target, higher, steps):
    assert steps_to_target(np.array(metric), STEP_E, target, higher_is_better=higher) == steps


def test_a_run_without_evaluations_never_reaches():
    assert steps_to_target(np.zeros(0), np.zeros(0, int), 0.5, higher_is_better=True) is None


@given(metrics, st.floats(0, 1), st.floats(0, 1))
def test_a_harder_target_takes_no_fewer_steps(metric, one, other):
    easy, hard = (steps_to_target(metric, STEP_E, t, higher_is_better=True) for t in sorted([one, other]))
    assert hard is None or (easy is not None and easy <= hard)


@given(metrics, st.floats(0, 1))
def test_turning_the_sign_of_metric_and_target_changes_nothing(metric, target):
    up = steps_to_target(metric, STEP_E, target, higher_is_better=True)
    assert up == steps_to_target(-metric, STEP_E, -target, higher_is_better=False)


def test_seconds_are_the_share_of_the_steps():
    assert seconds_to_target(25, 100, 8.0) == 2.0
    assert seconds_to_target(None, 100, 8.0) is None
    assert seconds_to_target(0, 0, 0.0) is None


def test_values_lie_on_the_line_between_evaluations_and_not_beyond():
    curve = np.array([4.0, 2.0, 1.0, 1.0])
    assert value_at(curve, STEP_E, 5) == 3.0
    assert np.isnan(value_at(curve[:2], STEP_E[:2], 11))
    assert np.isnan(value_at(curve[:0], STEP_E[:0], 0))


def test_the_ends_of_a_curve():
    assert (initial(np.array([3.0, 2.0])), final(np.array([3.0, 2.0]))) == (3.0, 2.0)
    assert np.isnan(initial(np.zeros(0)))
    assert np.isnan(final(np.zeros(0)))


def test_the_overfitting_gap_is_positive_when_validation_is_worse():
    assert overfitting_gap(0.5, 0.2) == 0.3
