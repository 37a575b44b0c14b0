"""The tables of a study whose answer is known from its formula (see ``synthetic``)."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from synthetic import LRS, OPTIMA, crash, diverge, study

from lrbench.analyse import cells, effect_measures, effects, per_run, responses, verdicts
from lrbench.analyse.effects import nearest_decade
from lrbench.store import Study


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"))


def shuffled(made: Study, seed: int = 0) -> Study:
    runs = made.runs.sample(frac=1.0, random_state=seed, ignore_index=True)
    return Study(made.folder, made.facts, made.machine, runs, made.skipped.sample(frac=1.0, random_state=seed))


def test_every_run_has_one_row(plain):
    runs = per_run(plain)
    assert sorted(runs.key) == sorted(plain.runs.key)
    assert set(runs.status) == {"reached", "missed", "diverged"}


def test_a_diverged_run_counts_as_the_untrained_model_and_its_curves_are_not_filled_in(plain):
    runs = per_run(plain)
    lost = runs[runs.status == "diverged"]
    first = plain.runs.set_index("key").loc[lost.key]
    assert lost.val_metric.isna().all()
    assert lost.gap.isna().all()
    assert lost.quality.tolist() == [m[0] for m in first.val_metric]
    assert lost.loss.tolist() == [m[0] for m in first.val_loss]
    assert lost.exploded.all()


def test_throughput_counts_examples_of_all_steps(plain):
    assert per_run(plain).samples_per_second.dropna().to_numpy() == pytest.approx(32 / 0.01)


def test_the_clock_of_a_population_is_no_runs_clock(plain):
    wide = Study(plain.folder, plain.facts, plain.machine, plain.runs.assign(trainer="population"), plain.skipped)
    assert per_run(wide)[["samples_per_second", "seconds_to_target"]].isna().all(axis=None)


def test_conditions_that_vary_are_told_apart(tmp_path):
    runs = per_run(study(tmp_path, workloads=["digits_mlp"], batch_sizes=(16, 32), seeds=[0]))
    assert set(runs.workload) == {"digits_mlp [batch_size=16]", "digits_mlp [batch_size=32]"}
    assert set(runs.base) == {"digits_mlp"}


def test_cells_aggregate_the_seeds(plain):
    runs = per_run(plain)
    table = cells(runs)
    assert len(table) == 2 * 3 * 2 * len(LRS)
    assert (table[["reached", "missed", "diverged", "crashed"]].sum(axis=1) == table.runs).all()
    cell = table[(table.optimizer == "adam") & (table.lr == 1e-2)].iloc[0]
    assert cell.val_metric_low <= cell.val_metric <= cell.val_metric_high


def test_the_optimum_and_the_cliff_of_the_formula_are_found(plain):
    found = responses(per_run(plain))
    assert found.best_lr.tolist() == [OPTIMA[name] for name in found.optimizer]
    stable = {"adam": 1e-1, "rmsprop": 1e-2, "sgd(momentum=0.9)": 1.0}
    assert found.largest_stable.tolist() == [stable[name] for name in found.optimizer]
    assert found.cliff_seen.tolist() == [name != "sgd(momentum=0.9)" for name in found.optimizer]
    assert found.headroom.to_numpy() == pytest.approx([np.log10(stable[name] / 1e-3) for name in found.optimizer])
    assert (found.edge == "").all()


def test_the_winner_decays_its_lr_and_is_measured_against_the_constant_one(plain):
    runs = per_run(plain)
    found = verdicts(runs, responses(runs))
    assert found.workload.tolist() == ["digits_mlp", "mnist_cnn"]
    assert found.schedule.tolist() == ["cosine", "cosine"]
    assert found.baseline.tolist() == [f"{name} / uniform / constant" for name in found.optimizer]
    assert (found.gain_low > 0).all()
    assert (found.gain_p < 0.01).all()
    assert (found.reached == 5).all()
    assert (found.test_metric < found.quality).all()
    assert not any("constant" in name for names in found.not_separated for name in names)


def test_every_claim_that_the_formula_makes_true_is_supported(plain):
    judged = effects(per_run(plain))
    assert len(judged) == 2 * 3 * 7
    rest = judged[judged.claim != "a large lr may explode"]
    assert set(rest.verdict) == {"supported"}
    explodes = judged[judged.claim == "a large lr may explode"].set_index(["workload", "optimizer"]).verdict
    assert explodes["digits_mlp", "adam"] == "supported"
    assert explodes["digits_mlp", "sgd(momentum=0.9)"] == "not supported"


def test_the_three_lrs_are_a_decade_apart(plain):
    found = effect_measures(per_run(plain))
    lrs = found.pivot_table(index=["workload", "optimizer"], columns="which", values="lr")
    assert (lrs.large / lrs.best).to_numpy() == pytest.approx(10.0)
    assert (lrs.best / lrs.small).to_numpy() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("best", "direction", "lr"), [(1e-2, 1, 1e-1), (1e-2, -1, 1e-3), (1e-1, 1, 3e-1), (3e-1, 1, None), (1e-3, -1, None)]
)
def test_small_and_large_are_the_grids_nearest_to_a_decade_away(best, direction, lr):
    assert nearest_decade(np.array([1e-3, 1e-2, 3e-2, 1e-1, 3e-1]), best, direction) == lr


def test_without_a_smaller_or_larger_lr_a_claim_is_not_tested(tmp_path):
    judged = effects(per_run(study(tmp_path, lrs=[1e-2], schedules=["constant"], optimizers=["adam"])))
    assert set(judged.verdict) == {"not tested"}


def test_one_seed_tests_nothing(tmp_path):
    judged = effects(per_run(study(tmp_path, seeds=[0])))
    assert set(judged[judged.claim != "a large lr may explode"].verdict) == {"not tested"}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_changes_nothing(plain, seed):
    one, other = per_run(plain), per_run(shuffled(plain, seed))
    assert_frame_equal(one, other)
    again = other.sample(frac=1.0, random_state=seed)
    for table in (cells, responses, effects, effect_measures, lambda r: verdicts(r, responses(r))):
        assert_frame_equal(table(one), table(again), check_exact=True)


def test_a_metric_that_falls_gives_the_same_ranking(tmp_path, plain):
    falling = per_run(study(tmp_path, higher_is_better=False, target=0.5))
    up, down = responses(per_run(plain)), responses(falling)
    assert down.best_lr.tolist() == up.best_lr.tolist()
    found = verdicts(falling, down)
    assert (found.quality > 0).all()
    assert (found.gain > 0).all()


@pytest.mark.parametrize("change", [crash, diverge])
def test_without_a_finished_run_there_is_no_best(tmp_path, change):
    runs = per_run(study(tmp_path, change=change, seeds=[0, 1]))
    found = verdicts(runs, responses(runs))
    assert found.strategy.tolist() == ["", ""]
    assert effects(runs).empty
    assert effect_measures(runs).empty
    assert len(cells(runs)) == 2 * 3 * 2 * len(LRS)


def test_no_runs_make_empty_tables(tmp_path):
    runs = per_run(study(tmp_path, seeds=[]))
    found = responses(runs)
    tables = [runs, cells(runs), found, effects(runs), effect_measures(runs), verdicts(runs, found)]
    assert all(isinstance(t, pd.DataFrame) and t.empty for t in tables)
