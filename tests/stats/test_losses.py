"""What is kept of training losses says what the whole curve said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.stats import curves
from lrbench.stats.curves import loss_spikes, oscillation

CURVES = st.lists(st.floats(width=32), max_size=80)


@given(CURVES)
def test_measures_are_those_of_the_whole_curve(curve):
    curve = np.array(curve, np.float32)
    with np.errstate(all="ignore"):
        kept = curves.summary(curve)
        expected = {"spikes": loss_spikes(curve), "oscillation": oscillation(curve)}
    for name, value in expected.items():
        np.testing.assert_equal(kept[name], value)
    assert kept["steps"] == len(curve)
    assert np.isnan(kept["highest_loss"]) if np.isnan(curve).all() else kept["highest_loss"] == np.nanmax(curve)
    np.testing.assert_array_equal(kept["loss_at_step"], curve[kept["loss_step"] - 1])


@given(CURVES, st.integers(0, 79))
def test_a_digest_is_equal_exactly_where_every_bit_is(curve, at):
    curve = np.array(curve, np.float32)
    assert curves.digest(curve) == curves.digest(curve.copy())
    if at < len(curve) and np.isfinite(curve[at]):
        other = curve.copy()
        other[at] = np.nextafter(other[at], np.float32(-np.inf if other[at] > 0 else np.inf))
        assert curves.digest(other) != curves.digest(curve)
    assert curves.digest(curve) != curves.digest(np.append(curve, np.float32(0)))


def test_every_nan_is_the_same_one():
    one, other = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert curves.digest([1.0, one]) == curves.digest([1.0, other])


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 300, 10_000])
def test_kept_steps_are_few_begin_with_the_first_and_end_with_the_last_two(steps):
    kept = curves.kept_steps(steps)
    assert (np.diff(kept) > 0).all()
    assert set(range(max(1, steps - 1), steps + 1)) <= set(kept.tolist()) <= set(range(1, steps + 1))
    assert len(kept) <= 2 * steps.bit_length() + 2
    assert steps < 1 or kept[0] == 1


def test_kept_steps_of_a_shorter_training_are_kept_in_a_longer_one_but_for_its_end():
    assert set(curves.kept_steps(100)[:-2].tolist()) <= set(curves.kept_steps(1000).tolist())
