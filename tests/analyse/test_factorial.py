"""The factorials of studies with a known answer."""

from math import prod

import numpy as np
import pandas as pd
import pytest
from synthetic import LRS, crash, study

from lrbench.analyse import contributions, factorials, level_means, per_run
from lrbench.analyse.factorial import FACTORS
from lrbench.analyse.tuning import outcomes

WIDE = {"layer_lrs": ("uniform", "layer_decay(gamma=0.75)"), "workloads": ("digits_mlp",)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return per_run(study(tmp_path_factory.mktemp("study"), **WIDE))


def test_a_full_product_is_its_own_factorial(runs):
    [block] = factorials(runs)
    assert block.outcome.shape == (3, 2, 2, 5, 5)
    assert block.outcome.size == block.runs == len(runs)
    assert block.levels["lr"] == [1, 2, 3, 4, 5]
    known = outcomes(runs).set_index([*FACTORS, "seed"]).outcome
    for at, value in np.ndenumerate(block.outcome):
        o, p, s, i, z = (block.levels[name][j] for name, j in zip([*FACTORS, "seed"], at, strict=True))
        assert value == known[o, p, s, block.lrs[o][i - 1], z]


def test_the_order_of_the_runs_changes_nothing(runs):
    [one], [other] = factorials(runs), factorials(runs.sample(frac=1.0, random_state=1))
    assert one.levels == other.levels
    assert one.lrs == other.lrs
    assert (one.outcome == other.outcome).all()


def test_what_decides_is_found(runs):
    [block] = factorials(runs)
    found = contributions(block)
    every = found[found.which == "all lrs"].set_index("factors").share
    assert every["lr"] + every["optimizer x lr"] > 0.9
    assert every["layer_lr"] < 0.001
    tuned = found[found.which == "best lr"].set_index("factors").share
    assert tuned["schedule"] > 0.5
    assert tuned.sum() == pytest.approx(1)


def test_with_optima_known_the_best_lrs_are_taken(runs):
    [block] = factorials(runs)
    best = block.outcome.mean(axis=-1).argmax(axis=-1)
    assert [LRS[i] for i in best[:, 0, 0]] == [
        {"adam": 1e-2, "rmsprop": 1e-3, "sgd(momentum=0.9)": 1e-1}[o] for o in block.lrs
    ]
    assert (block.tuned == np.take_along_axis(block.varied, best[..., None, None], axis=-2)[..., 0, :]).all()


def test_holes_and_longer_grids_are_cut(runs):
    shorter = (runs.optimizer == "adam") & runs.lr.isin([1e-4, 1.0])
    lone = (runs.optimizer == "rmsprop") & ~((runs.layer_lr == "uniform") & (runs.schedule == "constant"))
    [block] = factorials(runs[~shorter & ~lone])
    assert block.lrs == {"adam": [1e-3, 1e-2, 1e-1], "sgd(momentum=0.9)": [1e-3, 1e-2, 1e-1]}
    assert block.outcome.shape == (2, 2, 2, 3, 5)
    assert np.isfinite(block.outcome).all()


def test_the_largest_possible_block_is_taken_when_optimizers_have_few_lrs(runs):
    two = (runs.optimizer == "adam") & ~runs.lr.isin([1e-3, 1e-2])
    [block] = factorials(runs[~two])
    assert list(block.lrs) == ["rmsprop", "sgd(momentum=0.9)"]
    assert prod(block.outcome.shape) == 2 * 2 * 2 * 5 * 5


def test_a_longer_grid_of_one_optimizer_does_not_hide_the_factorial_of_two(runs):
    alone = (runs.layer_lr == "uniform") & (runs.schedule == "constant")
    two = ((runs.optimizer == "adam") & runs.lr.isin([1e-2, 1e-1])) | (runs.optimizer == "rmsprop")
    [block] = factorials(runs[alone & two])
    assert {name: len(lrs) for name, lrs in block.lrs.items()} == {"adam": 2, "rmsprop": 2}
    assert block.factors == ["optimizer", "lr"]


def test_a_crashed_seed_is_left_out(tmp_path):
    crashed = study(
        tmp_path, **WIDE, change=lambda run, done: crash(run, done) if run.seed == 3 and run.lr > 1e-3 else done
    )
    [block] = factorials(per_run(crashed))
    assert block.levels["seed"] == [0, 1, 2, 4]


@pytest.mark.parametrize("only", [{"lr": 1e-2}, {"schedule": "constant", "optimizer": "adam"}])
def test_a_constant_axis_explains_nothing_and_has_no_row(runs, only):
    kept = runs.loc[(runs[list(only)] == pd.Series(only)).all(axis=1)]
    [block] = factorials(kept)
    assert not set(only) & set(block.factors)
    assert contributions(block).share.notna().all()


def test_one_axis_alone_is_no_factorial(runs):
    alone = (runs.optimizer == "adam") & (runs.schedule == "constant") & (runs.layer_lr == "uniform")
    assert factorials(runs[alone]) == []
    assert factorials(runs[runs.seed < 0]) == []


def test_the_means_of_the_levels_are_the_means_of_their_runs(runs):
    [block] = factorials(runs)
    found, known = level_means(block), outcomes(runs)
    for row in found[found.factor != "lr"].itertuples():
        by_seed = known[known[row.factor] == row.level].groupby("seed").outcome.mean()
        assert (row.mean, row.low, row.high) == pytest.approx((by_seed.mean(), by_seed.min(), by_seed.max()))
    assert len(found) == 3 + 2 + 2 + 5
