import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import diverge, study

from lrbench.analyse import at_best_lr, overall, per_run, ranking, responses
from lrbench.analyse.frames import AXES, rows
from lrbench.analyse.overall import block, leading, normalised
from lrbench.stats.estimates import iqm

THREE = ("a_mlp", "b_mlp", "c_cnn")


def made(folder, **how):
    runs = per_run(study(folder, **{"workloads": THREE, "lrs": (1e-3, 1e-2, 1e-1)} | how))
    found = responses(runs)
    return at_best_lr(runs, found), ranking(found)


@pytest.fixture(scope="module")
def best_and_ranked(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study"))


def without(best_and_ranked, *places):
    """The same, less some pairs of workload and optimizer."""
    best, ranked = best_and_ranked
    for workload, optimizer in places:
        best, ranked = (t[(t.workload != workload) | (t.optimizer != optimizer)] for t in (best, ranked))
    return best, ranked


def test_the_untrained_model_is_nought_and_the_best_strategy_one(best_and_ranked):
    best, ranked = best_and_ranked
    runs = normalised(best, ranked)
    scores = runs.groupby(["workload", *AXES]).normalised.apply(iqm)
    assert scores.groupby("workload").max().to_numpy() == pytest.approx([1.0] * 3)
    part = runs[runs.workload == "a_mlp"].iloc[0]
    top = ranked[ranked.workload == "a_mlp"].score.max()
    assert part.normalised == pytest.approx((part.score - part.untrained_score) / (top - part.untrained_score))
    assert part.untrained_score == pytest.approx(1 - 2.3 / 2.6)


def test_a_loss_is_turned(tmp_path):
    best, ranked = made(tmp_path, higher_is_better=False, target=0.5)
    runs = normalised(best, ranked)
    assert runs.normalised.between(0.5, 1.1).all()
    assert (runs.untrained_score == -np.float32(2.3)).all()


def test_a_workload_on_which_nothing_beats_the_untrained_model_is_left_out(tmp_path):
    best, ranked = made(tmp_path, lrs=(1e-2,))
    flat = best.assign(score=best.score.where(best.workload != "a_mlp", best.untrained_score))
    ranked = ranked.assign(score=ranked.score.where(ranked.workload != "a_mlp", flat.untrained_score.iloc[0]))
    assert set(normalised(flat, ranked).workload) == {"b_mlp", "c_cnn"}
    assert overall(flat, ranked).block == ("b_mlp", "c_cnn")


def test_the_block_is_worth_the_most_comparisons():
    assert block({("x",): "abc", ("y",): "abc", ("z",): "ab"}) == (("a", "b", "c"), [("x",), ("y",)])
    many = {(str(i),): "ab" for i in range(6)}
    assert block(many | {("x",): "abc", ("y",): "abc"})[0] == ("a", "b")
    assert block({("x",): "ab", ("y",): "bc"}) == ((), [])
    assert block({("x",): "abcd", ("y",): "bcde", ("z",): "acde"}) == (("a", "c", "d"), [("x",), ("z",)])
    assert block({}) == ((), [])


@given(
    st.dictionaries(
        st.tuples(st.text("xyz", min_size=1, max_size=2)), st.sets(st.sampled_from("abcd"), min_size=1), max_size=6
    )
)
def test_every_strategy_of_the_block_was_run_on_all_of_it(sets):
    shared, inside = block(sets)
    assert all(set(shared) <= sets[axes] for axes in inside)
    assert inside == sorted(axes for axes in sets if shared and set(shared) <= sets[axes])
    assert (len(shared) > 1 and len(inside) > 1) or (shared, inside) == ((), [])
    assert block(dict(reversed(sets.items()))) == (shared, inside)


@given(st.integers(0, 99))
def test_no_set_of_few_workloads_is_worth_more(seed):
    run_WS = np.random.default_rng(seed).random((5, 12)) > 0.3
    shared, inside = block(
        {(f"{s:02}",): [w for w, there in zip("abcde", run_WS[:, s], strict=True) if there] for s in range(12)}
    )
    sets = [(len(c), int(run_WS[list(c)].all(axis=0).sum())) for k in range(2, 6) for c in combinations(range(5), k)]
    assert (len(shared) - 1) ** 2 * (len(inside) - 1) == max((w - 1) ** 2 * (s - 1) for w, s in sets)


def test_many_scattered_holes_end_soon_in_a_good_set():
    """14 workloads x 150 strategies, 15 % missing: all 2^14 sets of workloads are beaten or nearly so, without trying them."""
    run_WS = np.random.default_rng(0).random((14, 150)) > 0.15
    shared, inside = block({(f"{s:03}",): [f"{w:02}" for w in np.flatnonzero(run_WS[:, s])] for s in range(150)})
    sets = ((k, int(run_WS[list(c)].all(axis=0).sum())) for k in range(2, 15) for c in combinations(range(14), k))
    assert (len(shared) - 1) ** 2 * (len(inside) - 1) >= 0.9 * max((w - 1) ** 2 * (s - 1) for w, s in sets)


def test_ranks_are_means_over_the_block(best_and_ranked):
    best, ranked = best_and_ranked
    found = overall(best, ranked)
    assert found.block == THREE
    expected = ranked.assign(place=ranked.groupby("workload").cumcount() + 1).groupby(AXES).place.mean()
    assert {tuple(getattr(r, a) for a in AXES): r.rank for r in rows(found.ranked)} == pytest.approx(expected.to_dict())
    assert found.ranked["rank"].is_monotonic_increasing
    assert found.test.p < 0.05
    assert found.critical_difference == pytest.approx(2.850 * np.sqrt(6 * 7 / 18), abs=2e-3)


def test_groups_are_mean_ranks_within_a_critical_difference(best_and_ranked):
    found = overall(*best_and_ranked)
    rank, group = found.ranked["rank"].to_numpy(), found.ranked.group.tolist()
    for i in range(len(rank)):
        for j in range(i):
            assert bool({*group[i]} & {*group[j]}) == (abs(rank[i] - rank[j]) < found.critical_difference)


def test_letters_are_for_the_best_and_the_plain_ones(best_and_ranked, monkeypatch):
    monkeypatch.setattr(sys.modules["lrbench.analyse.overall"], "LETTERED", 2)
    found = overall(*best_and_ranked)
    plain = found.table.plain.tolist()
    assert [bool(group) for group in found.table.group] == [i in leading(plain, 2, 4) for i in range(len(plain))]
    assert 2 < sum(map(bool, found.table.group)) <= 4


def test_a_strategy_is_held_against_its_own_optimizers_plain_one(best_and_ranked):
    table = overall(*best_and_ranked).table
    for row in rows(table):
        assert row.baseline == f"{row.optimizer} / uniform / constant"
        assert np.isnan(row.improvement) == row.plain
    cosine = table[table.schedule == "cosine"]
    assert (cosine.improvement > 0.9).all()
    assert (cosine.improvement_low <= cosine.improvement).all()
    assert (cosine.improvement <= cosine.improvement_high).all()


def test_without_its_own_plain_one_the_best_other_stands_in(best_and_ranked):
    best, ranked = (t[(t.optimizer != "adam") | (t.schedule != "constant")] for t in best_and_ranked)
    table = overall(best, ranked).table
    plain = table[table.plain].sort_values("iqm", ascending=False).strategy.iloc[0]
    assert table[table.optimizer == "adam"].baseline.tolist() == [plain]


def test_strategies_elsewhere_stand_below_the_block_without_a_rank(best_and_ranked):
    found = overall(
        *without(best_and_ranked, ("a_mlp", "adam"), ("b_mlp", "sgd(momentum=0.9)"), ("c_cnn", "sgd(momentum=0.9)"))
    )
    assert found.block == THREE
    assert found.table.optimizer.tolist() == ["rmsprop", "rmsprop", "adam", "adam"]
    assert found.table.workloads.tolist() == [THREE] * 2 + [("b_mlp", "c_cnn")] * 2
    assert found.table["rank"].isna().tolist() == [False, False, True, True]
    assert found.table.group.tolist()[2:] == ["", ""]
    assert found.table.shared[2] == ("b_mlp", "c_cnn")


def test_workloads_with_more_seeds_weigh_no_more(best_and_ranked):
    best, ranked = best_and_ranked
    fewer = best[(best.workload != "a_mlp") | (best.seed < 2)]
    table = overall(fewer, ranked).table
    one = normalised(fewer, ranked)
    one = one[(one.optimizer == table.optimizer[0]) & (one.schedule == table.schedule[0])]
    assert table["mean"][0] == pytest.approx(one.groupby("workload").normalised.mean().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_runs_changes_nothing(best_and_ranked, seed):
    best, ranked = best_and_ranked
    one, other = overall(best, ranked), overall(best.sample(frac=1.0, random_state=seed), ranked)
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    assert one.test[1:] == other.test[1:]


@pytest.mark.parametrize("how", [{"workloads": ("a_mlp",)}, {"change": diverge}, {"seeds": []}])
def test_one_workload_or_none_has_nothing_over_all(tmp_path, how):
    found = overall(*made(tmp_path, **how))
    assert found.block == ()
    assert found.table.empty
    assert found.ranked.empty
    assert np.isnan(found.critical_difference)


def test_single_seeds_have_ranks_but_no_intervals_of_improvement(tmp_path):
    table = overall(*made(tmp_path, seeds=[0])).table
    assert table["rank"].notna().all()
    assert table[["low", "mean_low", "improvement_low"]].isna().all(axis=None)
