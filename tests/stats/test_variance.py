"""Analysis of variance: closed forms, least squares and statsmodels."""

from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.stats import variance
from lrbench.stats.variance import sums_of_squares

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4)
seeds = st.integers(0, 2**32 - 1)


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def shares(y, factors):
    return pd.DataFrame(variance.shares(y, factors))


def share_of(found):
    return dict(zip(found.factors, found.share, strict=True))


@given(shapes, seeds)
def test_the_sums_of_squares_add_up_and_none_is_negative(shape, seed):
    y = normal(shape, seed)
    parts = sums_of_squares(y)
    assert len(parts) == 2**y.ndim
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx((y**2).sum())


def dummies(shape, dims):
    """The columns of a model with all products of indicators of some dimensions."""
    index = np.indices(shape).reshape(len(shape), -1)
    code = np.zeros(index.shape[1], int)
    for d in dims:
        code = code * shape[d] + index[d]
    return np.eye(code.max() + 1)[code]


def residual(y, sets):
    columns = np.hstack([np.ones((y.size, 1)), *(dummies(y.shape, dims) for dims in sets)])
    return ((y.ravel() - columns @ np.linalg.lstsq(columns, y.ravel(), rcond=None)[0]) ** 2).sum()


@given(st.lists(st.integers(2, 3), min_size=2, max_size=3), seeds)
def test_each_is_what_least_squares_gains_by_it(shape, seed):
    y = normal(shape, seed)
    for dims, ss in sums_of_squares(y).items():
        lesser = list(chain.from_iterable(combinations(dims, n) for n in range(1, len(dims))))
        if dims:
            assert ss == pytest.approx(residual(y, lesser) - residual(y, [*lesser, dims]), abs=1e-9)


@given(st.lists(st.integers(2, 4), min_size=2, max_size=4), seeds)
def test_additive_data_have_no_interaction_and_main_effects_in_closed_form(shape, seed):
    lines = [normal(n, seed + i) for i, n in enumerate(shape)]
    y = sum(
        np.moveaxis(np.broadcast_to(line, [*shape[:i], *shape[i + 1 :], shape[i]]), -1, i)
        for i, line in enumerate(lines)
    )
    for dims, ss in sums_of_squares(y).items():
        if len(dims) == 1:
            assert ss == pytest.approx(y.size * np.var(lines[dims[0]]))
        elif dims:
            assert ss == pytest.approx(0, abs=1e-9 * y.size)


def test_a_pure_interaction_has_no_main_effect():
    y = np.repeat(np.array([[1.0, -1.0], [-1.0, 1.0]])[..., None], 3, axis=-1)
    assert share_of(shares(y, ["a", "b"])) == pytest.approx({"a": 0, "b": 0, "a x b": 1, "seed": 0, "rest": 0})


@given(shapes, seeds, st.floats(0.1, 10), st.floats(-5, 5))
def test_shares_sum_to_one_and_follow_no_scale_or_shift(shape, seed, scale, shift):
    y, names = normal([2, *shape], seed), list("abcd")[: len(shape)]
    found, other = shares(y, names), shares(scale * y + shift, names)
    assert found.share.sum() == pytest.approx(1)
    assert found.df.sum() == y.size - 1
    assert other.share.tolist() == pytest.approx(found.share.tolist(), abs=1e-9)


@given(seeds, st.permutations(range(3)))
def test_the_order_of_the_factors_and_of_their_levels_changes_no_share(seed, order):
    y = normal((2, 3, 4, 5), seed)
    one, other = (
        share_of(shares(y, list("abc"))),
        share_of(shares(y.transpose(*order, 3)[::-1], ["abc"[i] for i in order])),
    )
    assert {frozenset(k.split(" x ")): v for k, v in other.items()} == pytest.approx(
        {frozenset(k.split(" x ")): v for k, v in one.items()}
    )


@given(seeds, st.integers(1, 2))
def test_how_lrs_are_matched_moves_variance_between_lr_and_optimizer_x_lr_only(seed, shift):
    y = normal((3, 2, 3, 4), seed)
    moved = np.concatenate([y[:1], np.roll(y[1:], shift, axis=2)])
    before, after = (
        share_of(shares(y, ["optimizer", "schedule", "lr"])),
        share_of(shares(moved, ["optimizer", "schedule", "lr"])),
    )
    assert before["lr"] + before["optimizer x lr"] == pytest.approx(after["lr"] + after["optimizer x lr"])
    assert before["schedule"] == pytest.approx(after["schedule"])


def test_noise_alone_gives_what_chance_gives():
    found = [shares(normal((3, 4, 6), seed), ["a", "b"]) for seed in range(300)]
    mean = pd.concat(found).groupby("factors")[["share", "by_chance"]].mean()
    assert mean.share["a x b"] == pytest.approx(6 / 71, rel=0.1)
    assert mean.by_chance["a x b"] == pytest.approx(6 / 71, rel=0.1)


def test_one_seed_tells_no_noise_and_what_does_not_vary_has_no_shares():
    one = shares(normal((3, 4, 1), 0), ["a", "b"])
    assert one.share.sum() == pytest.approx(1)
    assert one.by_chance.isna().all()
    assert shares(np.full((2, 2, 3), 0.1), ["a", "b"]).share.isna().all()


def test_statsmodels_agrees():
    formula, anova = pytest.importorskip("statsmodels.formula.api"), pytest.importorskip("statsmodels.stats.anova")
    y = normal((3, 2, 4, 5), 7) + np.arange(3)[:, None, None, None]
    cells = [(f"a{a}", f"b{b}", f"d{d}", f"s{s}", v) for (a, b, d, s), v in np.ndenumerate(y)]
    table = pd.DataFrame(cells, columns=["A", "B", "D", "S", "y"])
    theirs = anova.anova_lm(formula.ols("y ~ C(A) * C(B) * C(D) + C(S)", table).fit(), typ=2)
    names = {name.replace("C(", "").replace(")", "").replace(":", " x "): row for name, row in theirs.iterrows()}
    for ours in shares(y, ["A", "B", "D"]).itertuples():
        row = names[{"seed": "S", "rest": "Residual"}.get(ours.factors, ours.factors)]
        assert ours.ss == pytest.approx(row["sum_sq"])
        assert ours.df == row["df"]
        if ours.factors != "rest":
            assert ours.share / ours.by_chance == pytest.approx(row["F"])
