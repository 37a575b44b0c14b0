"""AlgoPerf 0.5's published scores; see ``algoperf``.

``algoperf_times.csv`` holds the median time of each submission on each workload, computed from the published logs:
times in, scores out. The logs are not part of lrbench, so the way from them to the times is run by hand.
"""

import os
from pathlib import Path

import algoperf
import pandas as pd
import pytest

from lrbench.analyse.score import per_study, per_trial, standings
from lrbench.store.curves import read_curves

CHECKOUT = os.environ.get("LRBENCH_ALGOPERF")
with_logs = pytest.mark.skipif(
    not CHECKOUT, reason="LRBENCH_ALGOPERF names no checkout of mlcommons/submissions_algorithms"
)
TIMES = Path(__file__).with_name("algoperf_times.csv")


@pytest.mark.parametrize("ruleset", algoperf.SCORES)
def test_the_published_scores_follow_from_the_times(ruleset):
    times = pd.read_csv(TIMES).query("ruleset == @ruleset").dropna().assign(study="median")
    found = standings(times, algoperf.targets("fastest"))
    assert {
        name: round(float(score), 4) for name, score in zip(found.strategies, found.score_S, strict=True)
    } == algoperf.SCORES[ruleset]


@pytest.fixture(scope="module", params=algoperf.SCORES)
def logs(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "curves.parquet"
    algoperf.curves(Path(CHECKOUT), request.param, algoperf.targets("fastest")).to_parquet(path)
    return path, algoperf.SCORES[request.param]


def scores(path, trial):
    targets = algoperf.targets(trial)
    found = standings(per_study(per_trial(read_curves([path], targets), targets), targets), targets)
    return {name: round(float(score), 4) for name, score in zip(found.strategies, found.score_S, strict=True)}


@with_logs
def test_the_published_scores_come_out_as_the_published_program_picks_trials(logs):
    path, published = logs
    assert scores(path, "fewest-evaluations") == published


@with_logs
def test_the_documented_rule_differs_in_one_score(logs):
    path, published = logs
    assert scores(path, "fastest") == published | ({"lawa_ema": 0.3434} if "lawa_ema" in published else {})
