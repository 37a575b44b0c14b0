"""Studies of old say by their names what those of today say by themselves."""

import copy

import pytest
from runs import a_run

from lrbench.config.matrix import parse_matrix
from lrbench.plan import make_plan, vocabulary
from lrbench.store.facts import as_now
from lrbench.strategies import LAYER_LRS, SCHEDULES
from lrbench.workloads import WORKLOADS

ADDED = [
    ("workloads", "metric_unit"),
    ("workloads", "has_known_answer"),
    ("layer_lrs", "is_uniform"),
    ("schedules", "is_constant"),
]
MATRIX = {
    "name": "m",
    "workload": [name for name, workload in WORKLOADS.items() if workload.missing() is None],
    "optimizer": "adam",
    "layer_lr": [name for name in LAYER_LRS if name not in ("groups", "freeze")],
    "schedule": [*SCHEDULES, {"name": "constant", "warmup": [0.1, 5]}],
    "seed": 0,
}


@pytest.fixture(scope="module")
def facts():
    return make_plan(parse_matrix(MATRIX, vocabulary())).facts()


def test_what_a_study_says_is_taken_from_it(facts):
    assert as_now(copy.deepcopy(facts)) == facts


def test_what_it_does_not_say_is_what_today_it_would(facts):
    old = copy.deepcopy(facts)
    for table, name in ADDED:
        for entry in old[table].values():
            del entry[name]
    assert as_now(old) == facts


def test_the_plain_strategy_is_one_lr_for_all_layers_and_steps(facts):
    assert [label for label, entry in facts["layer_lrs"].items() if entry["is_uniform"]] == ["uniform"]
    assert [label for label, entry in facts["schedules"].items() if entry["is_constant"]] == ["constant"]
    assert not SCHEDULES["constant"].keeps_lr(a_run(schedule=("constant", {"warmup": 3})).schedule.settings)


def test_a_study_without_tables_is_left_as_it_is():
    assert as_now({"matrix": {"name": "m"}}) == {"matrix": {"name": "m"}}
