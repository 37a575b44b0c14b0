"""A population is its runs, trained at once: the same weights, losses and lrs as one by one."""

import gc
import itertools
import weakref
from dataclasses import replace
from functools import cache, wraps

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pairs import every_pair
from runs import a_run
from torch.optim.lr_scheduler import LambdaLR

from lrbench.config.outcome import Status
from lrbench.strategies import LAYER_LRS, SCHEDULES, impossible
from lrbench.train import AuditError, Interrupted, Population, Training, alone, train
from lrbench.train.rules import RULES
from lrbench.train.seeds import derive
from lrbench.workloads import WORKLOADS, describe

CPU = torch.device("cpu")


def holds(*strategies, few, many):
    """A test that a property holds for a few examples; for many where all tests are run, since one costs half a second."""

    def test_of(check):
        @pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.exhaustive)])
        @wraps(check, assigned=("__name__", "__doc__", "__module__", "__qualname__"))
        def test(examples):
            settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])(given(*strategies)(check))()

        del test.__wrapped__
        return test

    return test_of


CURVES = ("eval_step", "val_loss", "val_metric", "step_loss", "group_lr")
FIFTY = {"precision": "fp64", "steps": 50, "eval_every": 25}
THIRTY = {"precision": "fp64", "steps": 30, "eval_every": 15}
TWELVE = {"precision": "fp64", "steps": 12, "eval_every": 6}
PAIRS = every_pair(itertools.product(RULES, LAYER_LRS, SCHEDULES))
"""(rule, policy, schedule), in which any two of them meet; all are possible."""
KINDS = ("sgd", "adam", "lion")
"""Rules that stand for others: without a state, with running means, and by the sign."""
BFLOAT = "muon"
"""Its Newton-Schulz iteration runs in bfloat16, where a batched product rounds now and then otherwise than a single
one."""


def workload_of(runs):
    return WORKLOADS[runs[0].workload.name]


def together(runs):
    workload = workload_of(runs)
    return {run.key: outcome for run, outcome in Population(runs, workload, workload.data(), CPU).train()}


def weights_together(runs):
    """{key: {name: weight}} after the budget, from one population."""
    population = Population(runs, workload_of(runs), workload_of(runs).data(), CPU)
    population.advance(runs[0].steps)
    return {
        m.run.key: {name: value[i] for name, value in population.slots.params.items()}
        for i, m in enumerate(population.members)
        if m
    }


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


def strategies(optimizer, picks, size):
    """Runs of a rule with some (policy, schedule), of three lrs and two seeds; of Muon those that step all matrices alike."""
    lr = 1e-3 if optimizer != "lars" else 1.0
    pick = (optimizer, {"matrices": "all"}) if optimizer == BFLOAT else optimizer
    runs = [a_run("digits-mlp", pick, p, s, lr=lr * (1 + i % 3), seed=i % 2, **size) for i, (p, s) in enumerate(picks)]
    return [run for run in runs if not impossible(run, describe(workload_of(runs), workload_of(runs).model()))]


@pytest.mark.parametrize("optimizer", RULES)
def test_weights_agree_with_the_reference_trainer_for_every_pair_of_rule_policy_and_schedule(optimizer):
    runs = strategies(optimizer, [picks for rule, *picks in PAIRS if rule == optimizer], TWELVE)
    assert {run.schedule.name for run in runs} == set(SCHEDULES)
    assert {run.layer_lr.name for run in runs} == set(LAYER_LRS)
    assert_equal_weights(runs, rtol=0.05 if optimizer == BFLOAT else 1e-9)


@pytest.mark.parametrize("workload", ["digits-mlp", "mnist5k-mlp"])
def test_muon_leaves_the_head_to_adamw_in_a_population_too(workload):
    runs = [a_run(workload, optimizer, "bias-norm", lr=1e-2, seed=seed, **TWELVE) for optimizer in ("muon", ("muon", {"matrices": "all"}))
            for seed in (0, 1)]  # fmt: skip
    assert_equal_weights(runs, rtol=0.05)
    heads = [weights_alone(run)["head.weight"] for run in runs]
    assert not torch.allclose(heads[0], heads[2], rtol=0.05)


@pytest.mark.exhaustive
@pytest.mark.parametrize("optimizer", RULES)
def test_weights_agree_with_the_reference_trainer_for_every_rule_policy_and_schedule(optimizer):
    runs = strategies(optimizer, itertools.product(LAYER_LRS, SCHEDULES), THIRTY)
    assert len(runs) >= 90
    assert_equal_weights(runs, rtol=0.05 if optimizer == BFLOAT else 1e-9)


@pytest.mark.parametrize(
    "size", [TWELVE, pytest.param(FIFTY, marks=pytest.mark.exhaustive)], ids=lambda size: f"{size['steps']} steps"
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_agree_for_every_schedule_under_momentum(schedule, size):
    momentum = ("sgd", {"momentum": 0.9})
    runs = [
        a_run("digits-mlp", momentum, p, schedule, lr=1e-2, seed=i, **size)
        for i, p in enumerate(["depth-decay", "gradual-unfreezing"])
    ]
    assert_equal_weights(runs, rtol=1e-9)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([(1e-3, 0), (1e-2, 1)], id="two"),
        pytest.param([(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1)], id="four", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("workload", [w for w in WORKLOADS if not w.startswith("fashion")])
def test_curves_agree_on_every_workload(workload, members):
    runs = [
        a_run(workload, "adam", schedule="cosine", lr=lr, seed=seed, precision="fp64", steps=6, eval_every=3)
        for lr, seed in members
    ]
    found = together(runs)
    for run in runs:
        expected = train(run, WORKLOADS[workload], WORKLOADS[workload].data(), CPU)
        for name in CURVES:
            np.testing.assert_allclose(getattr(found[run.key], name), getattr(expected, name), rtol=1e-6, atol=1e-12)
        for name in ("train_loss", "test_loss", "test_metric"):
            assert getattr(found[run.key], name) == pytest.approx(getattr(expected, name), rel=1e-9)


@pytest.mark.parametrize(
    "optimizer", [rule if rule in KINDS else pytest.param(rule, marks=pytest.mark.exhaustive) for rule in RULES]
)
def test_float32_stays_within_its_rounding_over_200_steps(optimizer):
    """The bound: one per cent of a parameter's norm; ten for rules that step by a sign, of which a rounding can turn one around."""
    runs = [a_run(optimizer=optimizer, lr=1e-3, seed=seed, steps=200, eval_every=200) for seed in (0, 1)]
    found, bound = weights_together(runs), 0.1 if optimizer in (BFLOAT, "lion", "rprop") else 0.01
    for run in runs:
        for name, expected in weights_alone(run).items():
            assert (found[run.key][name] - expected).norm() <= bound * expected.norm(), name


def test_accumulated_batches_agree():
    runs = [a_run(optimizer="adam", lr=lr, batch_size=8, accumulate=3, **THIRTY) for lr in (1e-3, 1e-2)]
    assert_equal_weights(runs, rtol=1e-9)


def mixed(n=7):
    optimizers = ["adam", ("sgd", {"momentum": 0.9}), "adamw", ("adam", {"amsgrad": True})]
    policies = ["uniform", "head-only", "bias-norm", "gradual-unfreezing"]
    schedules = ["cosine", "plateau", "constant"]
    return [
        a_run("digits-mlp", optimizers[i % 4], policies[i // 2 % 4], schedules[i % 3], lr=1e-2, seed=i % 2, steps=20)
        for i in range(n)
    ]


def test_twice_the_same_population_gives_the_same_bits():
    first, second = together(mixed()), together(mixed())
    for key, outcome in first.items():
        assert_same(outcome, second[key])


@cache
def all_mixed():
    return together(mixed(6))


@given(st.permutations(mixed(6)), st.integers(2, 6))
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
def test_neither_order_nor_company_changes_a_member_by_a_bit(runs, width):
    whole = all_mixed()
    for key, outcome in together(runs[:width]).items():
        assert_same(outcome, whole[key])


ANYWHERE = [name for name in RULES if name != BFLOAT]
SIZES = {"cancer-logistic": {}, "quadratic": {}, "mnist5k-cnn": {"batch_size": 8, "steps": 3, "eval_every": 3}}


def on(workload):
    """Runs of every rule on a workload; a few where they are large."""
    size = SIZES[workload]
    rules = ANYWHERE[:: 3 if size else 1]
    return [
        a_run(workload, rule, lr=1e-3 * (1 + i), seed=i % 3, **({"steps": 6, "eval_every": 6} | size))
        for i, rule in enumerate(rules)
    ]


@cache
def weights_of_all_on(workload):
    return weights_together(on(workload))


@pytest.mark.parametrize("workload", SIZES)
@given(data=st.data())
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
def test_company_changes_no_member_by_a_bit_on_any_kind_of_model(workload, data):
    runs = on(workload)
    whole = weights_of_all_on(workload)
    some = data.draw(st.lists(st.sampled_from(runs), min_size=2, unique_by=lambda run: run.key))
    for key, weights in weights_together(some).items():
        for name, value in weights.items():
            assert torch.equal(value, whole[key][name]), name


def test_rows_of_a_batched_product_do_not_depend_on_their_place():
    """Without MKL_CBWR, which lrbench sets, they do: by the alignment of a row of 30 numbers."""
    for seed in range(20):
        torch.manual_seed(seed)
        a, b = torch.randn(1, 1, 32).repeat(8, 1, 1), torch.randn(1, 32, 30).repeat(8, 1, 1)
        product = torch.bmm(a, b)
        assert torch.equal(product, product[:1].expand_as(product))


MEMBERS = st.builds(
    lambda optimizer, policy, schedule, lr, seed: a_run("digits-mlp", optimizer, policy, schedule, lr=lr, seed=seed, **FIFTY),
    st.sampled_from([name for name in RULES if name not in (BFLOAT, "lars")]), st.sampled_from(sorted(LAYER_LRS)),
    st.sampled_from(sorted(SCHEDULES)), st.floats(1e-4, 1e-2), st.integers(0, 3),
)  # fmt: skip


@holds(st.lists(MEMBERS, min_size=2, max_size=5, unique_by=lambda run: run.key), few=4, many=15)
def test_any_mix_of_members_agrees_with_the_reference_trainer(runs):
    assert_equal_weights(runs, rtol=1e-9)


LRS = st.lists(st.sampled_from([1e-3, 1e-2, 10.0, 1e4]), min_size=7, max_size=7)


@holds(st.integers(2, 7), LRS, st.sampled_from([20, 25]), few=4, many=8)
def test_slots_that_are_used_again_change_no_member_by_a_bit(width, lrs, steps):
    """Diverged members leave early, so the others are not equally far; 25 steps end in the middle of an interval."""
    schedules = ["cosine", "plateau", "constant"]
    runs = [
        a_run(
            "digits-mlp", "sgd", ["uniform", "gradual-unfreezing"][i % 2], schedules[i % 3], lr=lr, seed=i, steps=steps
        )
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


@pytest.mark.parametrize("pass_on", [lambda lrs: lrs * 1.001, lambda lrs: lrs.roll(1, 0), lambda lrs: lrs.flip(2)])
def test_the_audit_is_of_the_lrs_that_steps_were_passed(pass_on):
    workload = WORKLOADS["digits-mlp"]
    runs = [a_run(schedule="cosine", lr=lr) for lr in (1e-3, 1e-2)]
    population = Population(runs, workload, workload.data(), CPU)
    coming = population._coming_lrs
    population._coming_lrs = lambda steps: pass_on(coming(steps))
    with pytest.raises(
        AuditError, match=r"parameter 'layer1\.linear\.weight' was stepped with lr .* at step 1, and its table says "
    ):
        list(population.train())


def test_a_population_that_is_dropped_is_freed_at_once():
    population = Population(mixed(4), workload_of(mixed(4)), workload_of(mixed(4)).data(), CPU)
    gc.collect()
    gc.disable()
    try:
        population.advance()
        left = [weakref.ref(value) for value in population.slots.params.values()]
        del population
        assert {one() for one in left} == {None}
    finally:
        gc.enable()


def broken(seeds):
    """digits-mlp, whose untrained model has a NaN for some seeds."""

    def model():
        made = WORKLOADS["digits-mlp"].model()
        if torch.initial_seed() in {derive(seed, "model") for seed in seeds}:
            with torch.no_grad():
                next(made.parameters()).fill_(float("nan"))
        return made

    return replace(WORKLOADS["digits-mlp"], model=model)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
@pytest.mark.parametrize("seeds", [[0, 1, 2, 3, 4, 5], [0, 2, 3], [4, 5]])
def test_a_model_that_is_not_finite_before_training_has_done_no_step(seeds, schedule):
    workload, data = broken(seeds), WORKLOADS["digits-mlp"].data()
    runs = [a_run(schedule=schedule, seed=seed, steps=20) for seed in range(6)]
    found = {run.key: outcome for run, outcome in Population(runs, workload, data, CPU, width=2).train()}
    for run in runs:
        expected, outcome = train(run, workload, data, CPU), found[run.key]
        assert outcome.status == expected.status
        for one in (expected, outcome):
            if run.seed in seeds:
                assert (one.status, one.diverged_at, one.steps) == (Status.DIVERGED, 0, 0)
                assert one.eval_step.shape == one.val_loss.shape == (0,)
                assert one.group_lr.shape == (0, 1)
            else:
                assert (one.diverged_at, one.steps) == (None, 20)


def test_the_width_is_how_many_began_together():
    """Empty slots do not count; who enters when the others are gone has none beside it."""
    lrs = (0.1, 0.15, 0.2, 1e4, 1e5, 1e6, 1e7, 1e8)
    workload = WORKLOADS["quadratic"]
    runs = [a_run("quadratic", lr=lr, steps=40) for lr in lrs]
    assert {outcome.width for outcome in together(runs).values()} == {8}
    [(_, padded)] = Population(runs[:1], workload, workload.data(), CPU, width=8, mode="eager").train()
    assert padded.width == 1
    some = [a_run("quadratic", lr=0.1, seed=seed, steps=40) for seed in range(5)]
    widths = sorted(outcome.width for _, outcome in Population(some, workload, workload.data(), CPU, width=4).train())
    assert widths == [1, 4, 4, 4, 4]


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


class Others(LambdaLR):
    """A constant lr; another option of the groups changes late in training."""

    def __init__(self, optimizer, at, option):
        self.at, self.option = at, option
        super().__init__(optimizer, lambda _: 1.0)

    def step(self, epoch=None):
        super().step(epoch)
        if self.last_epoch >= self.at:
            for group in self.optimizer.param_groups:
                group[self.option] = 0.5


@pytest.fixture
def plugins(monkeypatch):
    """Schedules of a plug-in: one that changes nothing but the lr, one that changes weight decay, and one that cannot be made."""
    for name in ("of-lr", "of-weight-decay", "of-nothing"):
        monkeypatch.setitem(SCHEDULES, name, SCHEDULES["constant"])
        monkeypatch.delitem(SCHEDULES, name)

    @SCHEDULES.register("of-lr")
    def of_lr(optimizer, total):  # noqa: ARG001 - as every schedule is called
        """Half of it. Source: none."""
        return LambdaLR(optimizer, lambda _: 0.5)

    @SCHEDULES.register("of-weight-decay")
    def of_weight_decay(optimizer, total):
        """Late. Source: none."""
        return Others(optimizer, total - 2, "weight_decay")

    @SCHEDULES.register("of-nothing")
    def of_nothing(optimizer, total):  # noqa: ARG001
        """Never. Source: none."""
        raise ValueError("no")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("optimizer", [name for name in RULES if name != "rprop"])
def test_a_plugins_schedule_that_changes_more_than_the_lr_is_noticed(optimizer):
    assert alone(a_run(optimizer=optimizer, schedule="of-lr")) is None
    assert (
        alone(a_run(optimizer=optimizer, schedule="of-weight-decay"))
        == "of-weight-decay changes more than the lr: weight_decay"
    )
    assert alone(a_run(optimizer=optimizer, schedule="of-nothing")) == "of-nothing failed when tried: ValueError"
