import math

import numpy as np
import pytest
import torch
from runs import a_run
from torch.nn.functional import cross_entropy

from lrbench.config.outcome import Status
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES, impossible
from lrbench.train import AuditError, Training, train
from lrbench.train.seeds import Order, derive
from lrbench.workloads import WORKLOADS, describe

DIGITS = WORKLOADS["digits-mlp"]
DATA = DIGITS.data()
STABLE = {"lbfgs": ("lbfgs", {"line_search_fn": "strong_wolfe", "max_iter": 4})}
"""What trains on every machine; on some, L-BFGS without a line search diverges within 20 steps."""


def weights(run):
    training = Training(run, DIGITS, DATA, torch.device("cpu"))
    training.advance(run.steps)
    return training.model.state_dict()


def every_combination():
    policies = [("sgd", policy, "constant") for policy in LAYER_LRS]
    schedules = [("sgd", "depth-decay", schedule) for schedule in SCHEDULES]
    return (
        [(optimizer, "bias-norm", "cosine") for optimizer in OPTIMIZERS]
        + [(o, "uniform", "constant") for o in OPTIMIZERS]
        + policies
        + schedules
    )


@pytest.mark.parametrize(("optimizer", "layer_lr", "schedule"), every_combination())
def test_every_catalog_entry_trains_and_passes_the_lr_audit(optimizer, layer_lr, schedule, cpu):
    run = a_run("digits-mlp", STABLE.get(optimizer, optimizer), layer_lr, schedule, steps=20)
    if reason := impossible(run, describe(DIGITS, DIGITS.model())):
        assert len(reason) > 20
        return
    outcome = train(run, DIGITS, DATA, cpu)
    assert outcome.status in (Status.REACHED, Status.MISSED)
    assert outcome.eval_step.tolist() == [0, 10, 20]
    assert outcome.step_loss.shape == (20,)
    assert outcome.group_lr.shape == (3, len(outcome.groups))


def test_the_loop_is_the_one_that_anyone_would_write(cpu):
    run = a_run(optimizer=("sgd", {"momentum": 0.9}), schedule="cosine", lr=0.1)
    torch.manual_seed(derive(run.seed, "model"))
    model = DIGITS.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    order = Order(run.seed, len(DATA.train), 32, 1, cpu)
    for step in range(40):
        [rows] = order(step)
        loss = cross_entropy(model(DATA.train.x[rows]), DATA.train.y[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    expected = model.state_dict()
    for name, value in weights(run).items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize(
    "layer_lr", ["head-only", ("freeze", {"layers": ["layer2"]}), ("groups", {"multipliers": {"layer1.*.bias": 0.0}})]
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", ("lbfgs", {"max_iter": 2})])
def test_frozen_parameters_do_not_move_by_a_bit(optimizer, layer_lr, cpu):
    run = a_run(optimizer=optimizer, layer_lr=layer_lr, steps=10)
    training = Training(run, DIGITS, DATA, cpu)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.advance(10)
    trained = {name for group in training.groups for name in group.params}
    assert 0 < len(trained) < len(before)
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in trained)


def test_gradual_unfreezing_starts_the_state_of_a_group_when_it_joins(cpu):
    run = a_run(optimizer="adam", layer_lr=("gradual-unfreezing", {"every": 10}), steps=30)
    training = Training(run, DIGITS, DATA, cpu)
    start = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.advance(10)
    assert [len(g["params"]) for g in training.optimizer.inner.param_groups] == [2]
    assert torch.equal(training.model.layer2.linear.weight, start["layer2.linear.weight"])
    training.advance(10)
    steps = {
        name: int(training.optimizer.inner.state[p]["step"])
        for name, p in training.model.named_parameters()
        if p in training.optimizer.inner.state
    }
    assert {name.partition(".")[0]: step for name, step in steps.items()} == {"head": 20, "layer2": 10}
    assert torch.equal(training.model.layer1.linear.weight, start["layer1.linear.weight"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", ("lbfgs", {"max_iter": 2})])
def test_accumulating_k_batches_equals_one_batch_k_times_as_large(optimizer):
    one = weights(a_run(optimizer=optimizer, batch_size=64, accumulate=1, steps=5, precision="fp64"))
    four = weights(a_run(optimizer=optimizer, batch_size=16, accumulate=4, steps=5, precision="fp64"))
    for name, value in one.items():
        torch.testing.assert_close(four[name], value, rtol=1e-9, atol=1e-12)


def test_a_run_depends_on_its_seed_alone(cpu):
    first, second, other = (train(a_run(seed=seed), DIGITS, DATA, cpu) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.step_loss, second.step_loss)
    assert not np.array_equal(first.step_loss, other.step_loss)


def test_strategies_share_initialisation_and_batches_by_seed(cpu):
    slow, fast = (Training(a_run(optimizer=o, lr=lr), DIGITS, DATA, cpu) for o, lr in (("sgd", 1e-3), ("adam", 1e-2)))
    for a, b in zip(slow.model.parameters(), fast.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(slow.order(17)[0], fast.order(17)[0])


def test_training_leaves_the_global_generator_alone(cpu):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(a_run(steps=10), DIGITS, DATA, cpu)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_precision_learns(precision, optimizer, cpu):
    outcome = train(
        a_run(optimizer=optimizer, lr=0.5 if optimizer == "sgd" else 1e-2, precision=precision, steps=60),
        DIGITS,
        DATA,
        cpu,
    )
    assert outcome.val_loss[-1] < outcome.val_loss[0] - 0.3


def test_reaching_the_target_is_a_matter_of_one_evaluation(cpu):
    outcome = train(a_run(lr=0.5, steps=60, target=0.5), DIGITS, DATA, cpu)
    assert outcome.status is Status.REACHED
    assert train(a_run(lr=0.5, steps=60, target=1.01), DIGITS, DATA, cpu).status is Status.MISSED


def test_the_evaluation_before_training_can_not_reach_the_target(cpu):
    assert train(a_run(lr=1e-12, steps=10, target=0.0), DIGITS, DATA, cpu).status is Status.REACHED
    assert math.isclose(train(a_run(lr=1e-12, steps=10), DIGITS, DATA, cpu).val_loss[0], math.log(10), rel_tol=0.1)


def test_the_audit_refuses_an_lr_that_the_strategy_did_not_declare(cpu):
    training = Training(a_run(), DIGITS, DATA, cpu)
    training.evaluate()
    training.optimizer.param_groups[0]["lr"] *= 1.001
    training.advance(10)
    with pytest.raises(AuditError, match=r"group .layer1\.\.head. was stepped with lr 0\.001001 at step 1"):
        training.finish()


def test_clocks_tell_training_from_evaluation(cpu):
    outcome = train(a_run(), DIGITS, DATA, cpu)
    assert outcome.train_seconds > 0
    assert outcome.eval_seconds > 0
    assert outcome.record_seconds > 0


@pytest.mark.parametrize(("examples", "take"), [(10, 3), (12, 4), (5, 5)])
def test_an_epoch_is_a_permutation_without_its_rest(examples, take, cpu):
    order = Order(0, examples, take, 1, cpu)
    per_epoch = examples // take
    for epoch in range(3):
        rows = torch.cat([order(epoch * per_epoch + i)[0] for i in range(per_epoch)])
        assert len(rows.unique()) == per_epoch * take
    assert not torch.equal(order(0)[0], order(per_epoch)[0])
