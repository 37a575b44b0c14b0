"""What is measured for a matrix: each distinct step once, whatever else differs."""

import pytest

from lrbench.config.cost import Case
from lrbench.config.faults import BadInput
from lrbench.config.matrix import parse_matrix
from lrbench.cost.cases import cases, groups_for, stages
from lrbench.plan import make_plan, vocabulary


def plan(**values):
    return make_plan(parse_matrix({"name": "m", "workload": "digits-mlp", "seed": 0} | values, vocabulary()))


def told(wanted):
    return [
        (w.case.run.optimizer.label, w.case.run.layer_lr.label, w.case.run.schedule.label, w.case.stage) for w in wanted
    ]


def test_lrs_and_seeds_cost_nothing():
    assert len(cases(plan(lr=[0.1, 0.2, 0.3], seed={"count": 4}))) == 1


def test_hyperparameters_that_change_no_operation_share_a_step():
    found = cases(plan(optimizer=[{"name": "sgd", "momentum": [0.5, 0.9]}, {"name": "sgd", "momentum": 0.0}]))
    assert sorted(len(one.strategies) for one in found) == [1, 2]


def test_policies_with_the_same_groups_share_a_step():
    found = cases(plan(layer_lr=[{"name": "depth-decay", "gamma": [0.5, 0.9]}, "uniform", "head-only"]))
    assert sorted(len(one.strategies) for one in found) == [1, 1, 2]


def test_every_strategy_of_a_matrix_has_its_steps():
    planned = plan(
        optimizer=["sgd", "adam", "muon"],
        layer_lr=["uniform", "bias-norm", "gradual-unfreezing"],
        schedule=["constant", "one-cycle"],
    )
    found = {strategy for one in cases(planned) for strategy in one.strategies if one.case.stage == 0}
    assert found == {(run.optimizer.label, run.layer_lr.label, run.schedule.label) for run in planned.possible}


def test_a_policy_that_unfreezes_has_a_case_for_each_set_of_layers():
    [run] = plan(layer_lr="gradual-unfreezing").possible
    found = stages(Case(run=run))
    joined = [[group.joins <= case.stage for group in groups_for(case)] for case in found]
    assert joined == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize(("grouping", "groups"), [("one", 1), ("two", 2), ("layer", 3), ("parameter", 6)])
def test_a_grouping_divides_all_parameters(grouping, groups):
    wanted = plan(cost=[{"grouping": grouping, "implementation": "foreach", "layer_lr": "head-only"}])
    [alone] = [one.case for one in cases(wanted) if not one.strategies]
    found = groups_for(alone)
    assert len(found) == groups
    names = [name for group in found for name in group.params]
    assert len(names) == len(set(names)) == 6


def test_what_a_cost_table_names_twice_or_the_matrix_has_is_measured_once():
    assert len(cases(plan(cost=[{}, {"grouping": "one"}, {"implementation": ["default", "fused", "fused"]}]))) == 2


def test_a_matrix_may_be_of_costs_alone():
    words = vocabulary()
    planned = make_plan(
        parse_matrix({"name": "m", "cost": [{"workload": "digits-mlp", "optimizer": ["sgd", "adam"]}]}, words)
    )
    assert planned.possible == ()
    assert len(cases(planned)) == 2


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"lr": 0.1}, "cost[0]: what a step costs depends neither on the lr nor on the seed: leave both out"),
        (
            {"implementation": "fast"},
            "cost[0].implementation[0]: must be 'default', 'for-loop', 'foreach' or 'fused', got 'fast'",
        ),
        (
            {"grouping": "layers"},
            "cost[0].grouping[0]: must be 'policy', 'one', 'two', 'layer' or 'parameter', got 'layers'",
        ),
        ({"compiled": 1}, "cost[0].compiled[0]: must be true or false, got 1"),
        ({"group": "one"}, "cost[0].group: unknown key. Did you mean 'grouping'?"),
    ],
)
def test_a_faulty_cost_table_is_told(table, fault):
    with pytest.raises(BadInput) as caught:
        plan(cost=[table])
    assert caught.value.faults[0].startswith(f"matrix: {fault}")
