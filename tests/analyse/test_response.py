import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.analyse.response import best_index, decades, edge, sensitivity, stable_count, usable

TRUE = np.ones(4, bool)
losses = st.lists(st.floats(0, 10), min_size=1, max_size=10).map(np.array)


@pytest.mark.parametrize(
    ("score", "loss", "finished", "best"),
    [
        ([0.1, 0.9, 0.8, 0.2], [4, 3, 2, 1], TRUE, 1),
        ([0.1, 0.9, 0.9, 0.2], [4, 3, 2, 1], TRUE, 2),
        ([0.1, 0.9, 0.9, 0.2], [4, 2, 2, 1], TRUE, 1),
        ([0.1, 0.9, 0.9, 0.2], [4, np.nan, 2, 1], TRUE, 2),
        ([0.1, 0.9, 0.8, 0.2], [4, 3, 2, 1], ~TRUE, None),
        ([0.1, 0.9, 0.8, 0.2], [4, 3, 2, 1], np.array([True, False, True, True]), 2),
    ],
)
def test_the_best_lr_has_the_best_score_then_the_lowest_loss_then_is_small(score, loss, finished, best):
    assert best_index(np.array(score), np.array(loss, float), finished) == best


def test_edges():
    assert [edge(i, 3) for i in range(3)] == ["lowest", "", "highest"]
    assert edge(0, 1) == "only"


def test_usable_lrs_reach_the_target_or_nearly_the_best_improvement():
    loss = np.array([2.0, 1.04, 1.0, 1.2, 1.9])
    none = np.zeros(5, bool)
    assert usable(loss, 2.0, none, 2) == (1, 2)
    assert usable(loss, 2.0, np.array([False, False, False, True, False]), 2) == (1, 3)


def test_the_usable_stretch_has_no_gap():
    loss = np.array([1.0, 2.0, 1.0, 1.0])
    assert usable(loss, 2.0, np.zeros(4, bool), 2) == (2, 3)


def test_where_nothing_improves_the_best_lr_alone_is_usable():
    assert usable(np.array([2.0, 2.0]), 2.0, np.zeros(2, bool), 0) == (0, 0)


def test_a_decade_is_a_factor_of_ten():
    assert decades(1e-3, 1e-1) == pytest.approx(2.0)
    assert decades(1e-1, 1e-3) == pytest.approx(-2.0)
    assert np.isnan(decades(np.nan, 1.0))


@pytest.mark.parametrize(
    ("stable", "count"), [([True, True, False, True], 2), ([False, True], 0), ([True, True], 2), ([], 0)]
)
def test_stability_ends_at_the_first_unstable_lr(stable, count):
    assert stable_count(stable) == count


def test_sensitivity_by_hand():
    assert sensitivity(np.array([2.0, 1.0, 1.5])) == pytest.approx(0.5)
    assert np.isnan(sensitivity(np.array([np.nan])))


@given(losses, st.floats(0.1, 10), st.floats(-5, 5))
def test_sensitivity_scales_with_the_loss_and_ignores_its_zero(loss, scale, shift):
    assert sensitivity(scale * loss + shift) == pytest.approx(scale * sensitivity(loss), abs=1e-9)
