"""The published logs of AlgoPerf 0.5 give its published scores; see ``algoperf``. They are not part of lrbench, so this is run by hand."""

import os
from pathlib import Path

import algoperf
import pytest

from lrbench.analyse.score import per_study, per_trial, standings
from lrbench.store.curves import read_curves

CHECKOUT = os.environ.get("LRBENCH_ALGOPERF")
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="LRBENCH_ALGOPERF names no checkout of mlcommons/submissions_algorithms")


@pytest.fixture(scope="module", params=algoperf.SCORES)
def logs(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "curves.parquet"
    algoperf.curves(Path(CHECKOUT), request.param, algoperf.targets("fastest")).to_parquet(path)
    return path, algoperf.SCORES[request.param]


def scores(path, trial):
    targets = algoperf.targets(trial)
    found = standings(per_study(per_trial(read_curves([path], targets), targets), targets), targets)
    return {name: round(float(score), 4) for name, score in zip(found.strategies, found.score_S, strict=True)}


def test_the_published_scores_come_out_as_the_published_program_picks_trials(logs):
    path, published = logs
    assert scores(path, "fewest-evaluations") == published


def test_the_documented_rule_differs_in_one_score(logs):
    path, published = logs
    assert scores(path, "fastest") == published | ({"lawa_ema": 0.3434} if "lawa_ema" in published else {})
