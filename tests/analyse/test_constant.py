"""No verdict depends on a constant that is added to the loss, or to a metric without known limits."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic

from lrbench.analyse import at_best_lr, per_run, responses, verdicts
from lrbench.analyse.tables import scale

UNKNOWN = {"lowest_loss": -math.inf, "metric_limits": [-math.inf, math.inf]}
CONSTANTS = [20.0, -2.3125, -30.0]
"""Exact in float32 beside the losses, so that sums round alike; the second makes losses begin near 0, the third makes
all negative."""


def shifted(by):
    """Every loss of an outcome moved by a constant; values rounded so coarsely that the sum is exact."""

    def move(values):
        coarse = np.round(np.minimum(np.asarray(values, float), 1e3) * 2**12) / 2**12
        return (coarse + by).astype(np.float32)

    def change(_, outcome):
        curves = {name: move(getattr(outcome, name)) for name in ("val_loss", "val_metric", "step_loss")}
        return replace(outcome, **curves, train_loss=float(move([outcome.train_loss])[0]))

    return change


def study(folder, by):
    return synthetic.study(
        folder / f"{by}", workloads=["density"], higher_is_better=False, limits=UNKNOWN, change=shifted(by)
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return study(tmp_path_factory.mktemp("plain"), 0.0)


@pytest.mark.parametrize("by", CONSTANTS)
def test_what_exploded_is_stable_best_and_not_separated_stays_the_same(by, plain, tmp_path):
    found = [per_run(one) for one in (plain, study(tmp_path, by))]
    names = ["optimizer", "schedule", "lr", "seed", "status", "finished", "exploded"]
    pd.testing.assert_frame_equal(*(runs[names].sort_values(names[:4], ignore_index=True) for runs in found))
    assert 0 < found[0].exploded.sum() < len(found[0])
    assert scale(found[0]) == pytest.approx(scale(found[1]), rel=1e-5)
    best = [responses(runs) for runs in found]
    columns = ["optimizer", "schedule", "best_lr", "edge", "largest_stable"]
    pd.testing.assert_frame_equal(*(table[columns] for table in best))
    first, second = (verdicts(runs, table).iloc[0] for runs, table in zip(found, best, strict=True))
    assert (first.strategy, first.lr) == (second.strategy, second.lr)
    assert list(first.not_separated) == list(second.not_separated)
    assert len(at_best_lr(found[0], best[0])) == len(at_best_lr(found[1], best[1]))


def test_a_known_lowest_loss_is_what_losses_rise_from(tmp_path):
    """A loss from 2.3 to 2.4 rises by 4 % of its room above 0, and by 8 % of its room above 1.05."""
    loss = np.linspace(2.3, 2.4, 21, dtype=np.float32)

    def flat(_, outcome):
        return replace(outcome, status="missed", diverged_at=None, val_loss=loss, step_loss=np.full(60, 2.3, np.float32),
                       eval_step=np.arange(0, 61, 3, dtype=np.int32))  # fmt: skip

    some = {"workloads": ["w"], "optimizers": ["adam"], "schedules": ["constant"], "lrs": [0.01], "change": flat}
    for lowest, exploded in ((0.0, False), (1.05, True)):
        runs = per_run(synthetic.study(tmp_path / str(lowest), limits={"lowest_loss": lowest}, **some))
        assert set(runs.exploded) == {exploded}


def test_where_no_run_gains_and_no_lowest_loss_is_known_a_rise_is_no_explosion(tmp_path):
    """Nothing tells then whether it is large: only a loss that is not finite is an explosion."""

    def worse(_, outcome):
        rising = np.linspace(2.3, 2.4, 21, dtype=np.float32)
        return replace(outcome, status="missed", diverged_at=None, val_loss=rising, step_loss=np.full(60, 2.3, np.float32),
                       eval_step=np.arange(0, 61, 3, dtype=np.int32))  # fmt: skip

    some = {"workloads": ["w"], "optimizers": ["adam"], "schedules": ["constant"], "lrs": [0.01, 0.1], "change": worse}
    assert set(per_run(synthetic.study(tmp_path, limits=UNKNOWN, **some)).exploded) == {False}


@pytest.mark.parametrize(("limits", "quality"), [({}, 0.0), ({"metric_limits": [-math.inf, math.inf]}, math.nan)])
def test_a_run_whose_metric_is_no_number_counts_as_the_worst_there_can_be(limits, quality, tmp_path):
    def nothing(_, outcome):
        return replace(
            outcome, status="missed", diverged_at=None, val_metric=np.full(len(outcome.eval_step), np.nan, np.float32)
        )

    some = {"workloads": ["w"], "optimizers": ["adam"], "schedules": ["constant"], "lrs": [0.01], "change": nothing}
    runs = per_run(synthetic.study(tmp_path, limits={"metric_limits": [0.0, 1.0]} | limits, **some))
    np.testing.assert_equal(runs.quality.to_numpy(), np.full(len(runs), quality))
