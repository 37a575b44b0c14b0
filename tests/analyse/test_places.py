import math

import numpy as np
import pandas as pd
import pytest
from synthetic import crash, diverge, study

from lrbench.analyse import at_best_lr, per_run, places, ranking, responses, survival
from lrbench.analyse.frames import AXES, STRATEGY, by_seed, of_strategy, rows
from lrbench.stats.comparison import separated
from lrbench.stats.estimates import iqm
from lrbench.stats.significance import paired_p


def made(folder, **how):
    runs = per_run(study(folder, **how))
    found = responses(runs)
    return at_best_lr(runs, found), ranking(found)


def everyone(ranked):
    return {tuple(row) for row in rows(ranked[STRATEGY])}


@pytest.fixture(scope="module")
def best_and_ranked(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study"))


def test_rows_are_in_rank_order_and_hold_what_their_runs_say(best_and_ranked):
    best, ranked = best_and_ranked
    table = places(best, ranked, everyone(ranked))
    for workload, part in table.groupby("workload"):
        assert part["rank"].tolist() == list(range(1, 7))
        assert (part.of == 6).all()
        assert part.strategy.tolist() == ranked[ranked.workload == workload].strategy.tolist()
        first = of_strategy(best[best.workload == workload], part.iloc[0])
        for s in rows(part):
            mine = of_strategy(best[best.workload == workload], s)
            assert (s.quality, s.mean) == (iqm(mine.quality), pytest.approx(mine.quality.mean()))
            assert s.deviation == pytest.approx(mine.quality.std())
            assert s.low <= s.quality <= s.high
            assert (s.steps, s.reached) == (np.median(mine.steps_to_target.fillna(np.inf)), mine.reached.sum())
            if s.rank > 1:
                assert s.behind == pytest.approx(iqm(by_seed(first, "score") - by_seed(mine, "score")))
                assert s.more_seeds == max(0, s.needed - 5) or math.isnan(s.needed)


def test_letters_are_those_of_all_pairs_of_the_chosen(best_and_ranked):
    best, ranked = best_and_ranked
    part = ranked[ranked.workload == "digits_mlp"]
    [table] = [t for w, t in places(best, ranked, everyone(ranked)).groupby("workload") if w == "digits_mlp"]
    runs = best[best.workload == "digits_mlp"]
    scores = np.array([by_seed(of_strategy(runs, row), "score") for row in rows(part)])
    found = separated(scores, 1e-3 * runs.score.abs().max())
    letters = table.group.tolist()
    assert all(bool({*letters[i]} & {*letters[j]}) != found[i, j] for i in range(6) for j in range(i))
    assert found.any()
    few = places(best, ranked, {tuple(part[STRATEGY].iloc[0]), tuple(part[STRATEGY].iloc[5])})
    assert few["rank"].tolist() == [1, 6]
    assert few.group.tolist() == ["a", "b"]


def test_a_pair_that_needs_no_more_seeds_is_apart_on_its_own(best_and_ranked):
    best, ranked = best_and_ranked
    for s in rows(places(best, ranked, everyone(ranked)).query("more_seeds == 0")):
        runs = best[best.workload == s.workload]
        first = of_strategy(runs, next(rows(ranked[ranked.workload == s.workload])))
        assert paired_p(by_seed(first, "score") - by_seed(of_strategy(runs, s), "score")) < 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_runs_changes_nothing(best_and_ranked, seed):
    best, ranked = best_and_ranked
    pd.testing.assert_frame_equal(
        places(best.sample(frac=1.0, random_state=seed), ranked, everyone(ranked)),
        places(best, ranked, everyone(ranked)),
    )


def test_one_seed_has_no_interval_and_separates_nothing(tmp_path):
    table = places(*(found := made(tmp_path, seeds=[0])), everyone(found[1]))
    assert (table.group == "a").all()
    assert (
        table[["low", "mean_low", "deviation", "target_p", "needed", "more_seeds", "steps_low"]].isna().all(axis=None)
    )


def test_crashed_seeds_pair_nothing_and_diverged_ones_never_arrive(tmp_path):
    def change(run, outcome):
        if run.optimizer.label == "adam":
            return diverge(run, outcome) if run.seed else outcome
        return crash(run, outcome) if run.seed > 1 else outcome

    best, ranked = made(tmp_path, workloads=["digits_mlp"], schedules=["constant"], lrs=[1e-2], change=change)
    table = places(best, ranked, everyone(ranked)).set_index("optimizer")
    assert table.loc["adam", ["seeds", "reached", "steps"]].tolist() == [5, 1, np.inf]
    assert table.loc["rmsprop", "seeds"] == 2
    curve = survival(best[best.optimizer == "adam"])
    assert curve.share_T[-1] == pytest.approx(0.8)
    assert curve.step_T[-1] == 60


def test_less_is_better_too(tmp_path):
    best, ranked = made(tmp_path, higher_is_better=False, target=0.5)
    table = places(best, ranked, everyone(ranked))
    assert (table.behind.dropna() > -1e-3).all()
    assert table.groupby("workload").quality.first().le(table.groupby("workload").quality.min() + 1e-12).all()
    assert (table.target_p < 0.05).any()
    assert list(table.columns[1:4]) == AXES


def test_no_strategy_no_row(tmp_path):
    best, ranked = made(tmp_path, change=diverge, seeds=[0])
    assert places(best, ranked, set()).empty
