"""Closed forms: gradient descent on independent curvatures is w_k = (1 - lr h)^k w_0, stable exactly below lr = 2 / h."""

import numpy as np
import pytest
from runs import a_run

from lrbench.config.outcome import Status
from lrbench.train import Training, train
from lrbench.workloads import WORKLOADS
from lrbench.workloads.quadratic import CURVATURES

QUADRATIC = WORKLOADS["quadratic"]


def curvatures(training):
    return {name: CURVATURES[name.partition(".")[0]] for name, _ in training.model.named_parameters()}


@pytest.mark.parametrize("lr", [0.01, 0.1, 0.19])
def test_weights_follow_the_closed_form(lr, cpu):
    training = Training(a_run("quadratic", lr=lr, steps=30, precision="fp64"), QUADRATIC, QUADRATIC.data(), cpu)
    start = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    training.advance(30)
    for name, value in training.model.named_parameters():
        expected = (1 - lr * curvatures(training)[name]) ** 30 * start[name]
        np.testing.assert_allclose(value.detach().numpy(), expected.numpy(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("share", "grows"), [(0.99, False), (1.01, True)])
def test_the_edge_of_stability_is_two_over_the_largest_curvature(share, grows, cpu):
    edge = 2 / max(CURVATURES.values())
    outcome = train(a_run("quadratic", lr=share * edge, steps=200, precision="fp64"), QUADRATIC, QUADRATIC.data(), cpu)
    assert (outcome.step_loss[-1] > outcome.step_loss[0]) == grows


def test_a_divergence_is_recorded_at_its_step_and_nothing_is_filled_in(cpu):
    lr, steep = 0.4, max(CURVATURES.values())
    outcome = train(a_run("quadratic", lr=lr, steps=100, precision="fp64"), QUADRATIC, QUADRATIC.data(), cpu)
    assert outcome.status is Status.DIVERGED
    grown = outcome.step_loss / outcome.step_loss[0] > 1e4
    assert grown.argmax() + 1 == outcome.diverged_at == len(outcome.step_loss)
    assert (1 - lr * steep) ** (2 * (outcome.diverged_at - 1)) == pytest.approx(
        outcome.step_loss[-1] / outcome.step_loss[0], rel=0.2
    )
    assert outcome.eval_step[-1] < outcome.diverged_at
    assert outcome.test_metric is None


def test_layer_lrs_at_two_over_their_own_curvature_solve_each_layer_at_once(cpu):
    multipliers = {name: 1 / h for name, h in CURVATURES.items()}
    run = a_run(
        "quadratic", layer_lr=("groups", {"multipliers": multipliers}), lr=1.0, steps=1, eval_every=1, precision="fp64"
    )
    outcome = train(run, QUADRATIC, QUADRATIC.data(), cpu)
    assert outcome.val_loss[-1] == pytest.approx(0.0, abs=1e-30)
