"""A population is its runs, trained at once: the same weights, losses and lrs as one by one."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import a_run

from lrbench.spec.outcome import Status
from lrbench.strategies import LAYER_LRS, SCHEDULES, impossible
from lrbench.train import Interrupted, Population, Training, alone, train
from lrbench.train.rules import RULES
from lrbench.workloads import WORKLOADS, describe

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


@pytest.mark.parametrize("optimizer", RULES)
def test_weights_agree_with_the_reference_trainer_for_every_rule_policy_and_schedule(optimizer):
    lr = 1e-3 if optimizer != "lars" else 1.0
    product = itertools.product(LAYER_LRS, SCHEDULES)
    runs = [a_run("digits-mlp", optimizer, p, s, lr=lr * (1 + i % 3), seed=i % 2, **FIFTY) for i, (p, s) in enumerate(product)]
    runs = [run for run in runs if not impossible(run, describe(workload_of(runs), workload_of(runs).model()))]
    assert len(runs) >= 90
    assert_equal_weights(runs, rtol=0.05 if optimizer == BFLOAT else 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_agree_for_every_schedule_under_momentum(schedule):
    momentum = ("sgd", {"momentum": 0.9})
    runs = [
        a_run("digits-mlp", momentum, p, schedule, lr=1e-2, seed=i, **FIFTY) for i, p in enumerate(["depth-decay", "gradual-unfreezing"])
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


@pytest.mark.parametrize("optimizer", RULES)
def test_float32_stays_within_its_rounding_over_200_steps(optimizer):
    """The bound: one per cent of a parameter's norm; ten for rules that step by a sign, of which a rounding can turn one around."""
    runs = [a_run(optimizer=optimizer, lr=1e-3, seed=seed, steps=200, eval_every=200) for seed in (0, 1)]
    found, bound = weights_together(runs), 0.1 if optimizer in (BFLOAT, "lion", "rprop") else 0.01
    for run in runs:
        for name, expected in weights_alone(run).items():
            assert (found[run.key][name] - expected).norm() <= bound * expected.norm(), name


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


MEMBERS = st.builds(
    lambda optimizer, policy, schedule, lr, seed: a_run("digits-mlp", optimizer, policy, schedule, lr=lr, seed=seed, **FIFTY),
    st.sampled_from([name for name in RULES if name not in (BFLOAT, "lars")]), st.sampled_from(sorted(LAYER_LRS)),
    st.sampled_from(sorted(SCHEDULES)), st.floats(1e-4, 1e-2), st.integers(0, 3),
)  # fmt: skip


@given(st.lists(MEMBERS, min_size=2, max_size=5, unique_by=lambda run: run.key))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mix_of_members_agrees_with_the_reference_trainer(runs):
    assert_equal_weights(runs, rtol=1e-9)


@given(st.integers(2, 7), st.lists(st.sampled_from([1e-3, 1e-2, 10.0, 1e4]), min_size=7, max_size=7), st.sampled_from([20, 25]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_slots_that_are_used_again_change_no_member_by_a_bit(width, lrs, steps):
    """Diverged members leave early, so the others are not equally far; 25 steps end in the middle of an interval."""
    schedules = ["cosine", "plateau", "constant"]
    runs = [
        a_run("digits-mlp", "sgd", ["uniform", "gradual-unfreezing"][i % 2], schedules[i % 3], lr=lr, seed=i, steps=steps)
        for i, lr in enumerate(lrs)
    ]
    workload = workload_of(runs)
    found = {run.key: outcome for run, outcome in Population(runs, workload, workload.data(), CPU, width=width).train()}
    assert set(found) == {run.key for run in runs}
    for key, outcome in together(runs).items():
        assert_same(outcome, found[key])
        assert (outcome.test_loss, outcome.train_loss) == (found[key].test_loss, found[key].train_loss)


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


def test_a_model_that_says_it_cannot_be_stacked_is_trained_alone(monkeypatch):
    monkeypatch.setitem(WORKLOADS, "digits-mlp", replace(WORKLOADS["digits-mlp"], stacks=False))
    assert alone(a_run()) == "digits-mlp has a model that cannot be stacked"


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
