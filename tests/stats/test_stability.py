import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.stats.curves import divergence_rate, loss_spikes, oscillation, seed_spread

scales = st.floats(1e-3, 1e3)


def noisy(seed: int = 0, n: int = 200) -> np.ndarray:
    return 2.0 + np.random.default_rng(seed).normal(0.0, 0.1, n)


def test_a_falling_loss_has_no_spike_and_no_oscillation():
    falling = np.exp(-np.linspace(0, 3, 100))
    assert loss_spikes(falling) == 0
    assert oscillation(falling) == 0.0


@pytest.mark.parametrize("height", [0.2, 10.0])
def test_a_step_above_a_flat_stretch_is_one_spike(height):
    loss = np.ones(100)
    loss[[40, 70]] += height
    assert loss_spikes(loss) == 2


def test_rounding_on_a_flat_stretch_is_no_spike():
    loss = np.ones(100)
    loss[40] += 0.04
    assert loss_spikes(loss) == 0


def test_spikes_of_noise_are_rare_and_of_a_jump_certain():
    calm = noisy()
    assert loss_spikes(calm) <= 1
    calm[100] += 3.0
    assert loss_spikes(calm) >= 1


def test_a_short_run_has_no_full_window():
    assert loss_spikes(np.array([1.0, 99.0])) == 0
    assert np.isnan(oscillation(np.array([1.0, 99.0])))


@given(st.integers(0, 50), scales)
def test_spikes_and_oscillation_ignore_the_scale_of_the_loss(seed, scale):
    loss = noisy(seed) - np.linspace(0, 1, 200)
    assert loss_spikes(scale * loss) == loss_spikes(loss)
    assert oscillation(scale * loss) == pytest.approx(oscillation(loss), rel=1e-6)


def test_oscillation_is_the_climb_over_the_net_descent():
    # Unsmoothed: falls by 4, climbs by 1, falls by 1: climb 1, net descent 4.
    assert oscillation(np.array([5.0, 1.0, 2.0, 1.0]), window=1) == 0.25


def test_a_rising_loss_oscillates_without_bound_and_a_flat_one_not_at_all():
    assert oscillation(np.linspace(0, 1, 50)) == np.inf
    assert oscillation(np.ones(50)) == 0.0


def test_losses_that_are_not_finite_are_left_out():
    loss = noisy()
    assert oscillation(np.append(loss, np.nan)) == oscillation(loss)
    assert loss_spikes(np.append(loss, np.inf)) == loss_spikes(loss)


def test_the_divergence_rate_is_among_runs_that_trained():
    assert divergence_rate(["diverged", "missed", "reached", "reached", "crashed", "skipped"]) == 0.25
    assert np.isnan(divergence_rate(["crashed"]))


def test_the_seed_spread_is_the_sample_deviation():
    assert seed_spread(np.array([1.0, 3.0, np.nan])) == pytest.approx(np.sqrt(2))
    assert np.isnan(seed_spread(np.array([1.0])))


def test_an_early_explosion_is_no_descent():
    exploding = np.concatenate([[2.4, 700.0, 400.0], np.linspace(300.0, 1.5, 100)])
    assert oscillation(exploding) > 10.0


@given(st.integers(0, 50), st.sampled_from([-3.0, 1.0, 64.0]))
def test_spikes_ignore_a_constant_that_is_added_to_the_loss_and_to_its_lowest_value(seed, constant):
    loss = noisy(seed) - np.linspace(0, 1, 200)
    loss[150] += 0.4
    for lowest in (0.0, -np.inf):
        assert loss_spikes(loss + constant, lowest + constant) == loss_spikes(loss, lowest)


def test_where_no_lowest_loss_is_known_rounding_is_no_spike_and_a_jump_is():
    falling = np.linspace(5.0, 4.0, 200)
    falling[100] += 1e-7
    assert loss_spikes(falling - 1e3, -np.inf) == 0
    falling[100] += 1.0
    assert loss_spikes(falling - 1e3, -np.inf) == 1
