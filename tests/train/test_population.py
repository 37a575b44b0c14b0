"""A population is its runs, trained at once: the same weights, losses and lrs as one by one."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import a_run

from lrbench.spec.outcome import Status
from lrbench.strategies import LAYER_LRS, SCHEDULES
from lrbench.train import Interrupted, Population, Training, alone, train
from lrbench.train.rules import RULES
from lrbench.workloads import WORKLOADS

CPU = torch.device("cpu")
CURVES = ("eval_step", "val_loss", "val_metric", "step_loss", "group_lr")
FIFTY = {"precision": "fp64", "steps": 50, "eval_every": 25}
BFLOAT = "muon"
"""Its Newton-Schulz iteration runs in bfloat16, where a batched product rounds now and then otherwise than a single one."""


def workload_of(runs):
    return WORKLOADS[runs[0].workload.name]


def together(runs):
    workload = workload_of(runs)
    return {run.key: outcome for run, outcome in Population(runs, workload, workload.data(), CPU).train()}


def weights_together(runs):
    """{key: {name: weight}} after the budget, from one population."""
    population = Population(runs, workload_of(runs), workload_of(runs).data(), CPU)
    population.advance(runs[0].steps)
    return {m.run.key: {name: value[i] for name, value in population.slots.params.items()} for i, m in enumerate(population.members) if m}


def weights_alone(run):
    training = Training(run, workload_of([run]), workload_of([run]).data(), CPU)
    training.advance(run.steps)
    return training.model.state_dict()


def assert_equal_weights(runs, rtol):
    found = weights_together(runs)
    for run in runs:
        expected = weights_alone(run)
        for name, value in found[run.key].items():
            scale = expected[name].abs().max()
            assert ((value - expected[name]).abs().max() / scale).item() <= rtol, (run.strategy, name)


def assert_same(first, second):
    assert first.status == second.status
    for name in CURVES:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.mark.parametrize("layer_lr", LAYER_LRS)
@pytest.mark.parametrize("optimizer", RULES)
def test_weights_agree_with_the_reference_trainer_for_every_rule_and_policy(optimizer, layer_lr):
    lr = 1e-3 if optimizer != "lars" else 1.0
    runs = [
        a_run("digits-mlp", optimizer, layer_lr, s, lr=lr * c, seed=i, **FIFTY) for i, (s, c) in enumerate([("cosine", 1), ("step", 2)])
    ]
    assert_equal_weights(runs, rtol=0.05 if optimizer == BFLOAT else 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", [("sgd", {"momentum": 0.9}), "adam"])
def test_weights_agree_for_every_schedule(optimizer, schedule):
    runs = [
        a_run("digits-mlp", optimizer, p, schedule, lr=1e-2, seed=i, **FIFTY) for i, p in enumerate(["depth-decay", "gradual-unfreezing"])
    ]
    assert_equal_weights(runs, rtol=1e-9)


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if not w.startswith("fashion")])
def test_curves_agree_on_every_workload(workload):
    runs = [
        a_run(workload, "adam", schedule="cosine", lr=lr, seed=s, precision="fp64", steps=6, eval_every=3)
        for lr in (1e-3, 1e-2)
        for s in (0, 1)
    ]
    found = together(runs)
    for run in runs:
        expected = train(run, WORKLOADS[workload], WORKLOADS[workload].data(), CPU)
        for name in CURVES:
            np.testing.assert_allclose(getattr(found[run.key], name), getattr(expected, name), rtol=1e-6, atol=1e-12)
        for name in ("train_loss", "test_loss", "test_metric"):
            assert getattr(found[run.key], name) == pytest.approx(getattr(expected, name), rel=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "lamb"])
def test_float32_stays_within_its_rounding_over_200_steps(optimizer):
    runs = [a_run(optimizer=optimizer, lr=1e-3, seed=seed, steps=200, eval_every=200) for seed in (0, 1)]
    assert_equal_weights(runs, rtol=2e-3)


def test_accumulated_batches_agree():
    runs = [a_run(optimizer="adam", lr=lr, batch_size=8, accumulate=3, **FIFTY) for lr in (1e-3, 1e-2)]
    assert_equal_weights(runs, rtol=1e-9)


def mixed(n=7):
    optimizers = ["adam", ("sgd", {"momentum": 0.9}), "adamw", ("adam", {"amsgrad": True})]
    policies = ["uniform", "head-only", "bias-norm", "gradual-unfreezing"]
    schedules = ["cosine", "plateau", "constant"]
    return [a_run("digits-mlp", optimizers[i % 4], policies[i // 2 % 4], schedules[i % 3], lr=1e-2, seed=i % 2, steps=20) for i in range(n)]


def test_twice_the_same_population_gives_the_same_bits():
    first, second = together(mixed()), together(mixed())
    for key, outcome in first.items():
        assert_same(outcome, second[key])


@given(st.permutations(mixed(6)), st.integers(2, 6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_neither_order_nor_company_changes_a_member_by_a_bit(runs, width):
    whole = together(mixed(6))
    for key, outcome in together(runs[:width]).items():
        assert_same(outcome, whole[key])


def test_a_diverged_member_stops_at_its_step_and_touches_no_neighbour():
    runs = [a_run("quadratic", lr=lr, steps=100) for lr in (0.1, 0.4, 1e4)]
    found = together(runs)
    for run in runs:
        assert_same(found[run.key], train(run, WORKLOADS["quadratic"], WORKLOADS["quadratic"].data(), CPU))
    assert [found[run.key].status for run in runs] == [Status.MISSED, Status.DIVERGED, Status.DIVERGED]


def test_a_population_of_which_all_diverge_ends():
    found = together([a_run("quadratic", lr=lr, steps=200) for lr in (1e3, 1e4)])
    assert {outcome.status for outcome in found.values()} == {Status.DIVERGED}


def test_diverged_members_are_let_go():
    runs = [a_run("quadratic", lr=lr, steps=200) for lr in (0.1, 0.15, 0.4, 1e4)]
    population = Population(runs, WORKLOADS["quadratic"], WORKLOADS["quadratic"].data(), CPU)
    while population.record.done.max() < 190:
        population.advance()
        list(population._leave())
    assert sorted(m.run.lr for m in population.members) == [0.1, 0.15]
    assert {len(value) for value in population.slots.params.values()} == {2}


def test_an_outcome_says_how_it_was_computed():
    outcome = next(iter(together(mixed(3)).values()))
    assert (outcome.trainer, outcome.mode, outcome.width) == ("population", "eager", 3)


def test_a_population_stops_when_asked():
    runs = mixed(2)
    with pytest.raises(Interrupted):
        Population(runs, workload_of(runs), workload_of(runs).data(), CPU).train(lambda: True).__next__()


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (a_run(optimizer="lbfgs"), "lbfgs has no stacked update rule"),
        (a_run(precision="bf16"), "bf16 is trained one by one"),
        (a_run(optimizer="adam", schedule=("one-cycle", {"cycle_momentum": True})), "changes more than the lr"),
        (a_run(schedule=("by-hand", {"others": {"weight_decay": 0.5}})), "changes more than the lr"),
    ],
)
def test_what_cannot_be_stacked_says_why(run, reason):
    assert reason in alone(run)
