"""The convex workload against an independent solver and against its Hessian."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult, minimize

from lrbench.workloads.cancer_logistic import EIGENVALUE, EIGENVALUE_AT_OPTIMUM, L2, OPTIMUM, WORKLOAD

DATA = WORKLOAD.data()
X, Y = DATA.train.x.double(), DATA.train.y


def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient by the textbook; w is 30 weights and a bias."""
    x, y = X.numpy(), Y.numpy()
    z = x @ w[:30] + w[30]
    error = 1 / (1 + np.exp(-z)) - y
    value = np.mean(np.logaddexp(0, z) - y * z) + 0.5 * L2 * w[:30] @ w[:30]
    return value, np.append(x.T @ error / len(y) + L2 * w[:30], error.mean())


@cache
def solution() -> OptimizeResult:
    return minimize(
        objective, np.zeros(31), jac=True, method="L-BFGS-B", options={"maxiter": 10_000, "ftol": 1e-16, "gtol": 1e-9}
    )


def largest_eigenvalue(w: np.ndarray) -> float:
    """Of the Hessian, by the textbook."""
    design = np.c_[X.numpy(), np.ones(len(X))]
    p = 1 / (1 + np.exp(-design @ w))
    return np.linalg.eigvalsh(design.T * (p * (1 - p)) @ design / len(X) + L2 * np.diag([1.0] * 30 + [0.0]))[-1]


def model_at(w: np.ndarray) -> torch.nn.Module:
    model = WORKLOAD.model().double()
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(w[None, :30]))
        model.linear.bias.copy_(torch.from_numpy(w[30:]))
    return model


def test_the_features_are_standardised():
    torch.testing.assert_close(X.mean(0), torch.zeros(30, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(X.std(0), torch.ones(30, dtype=torch.float64), atol=1e-6, rtol=0)


def test_all_parts_are_the_same_examples():
    assert DATA.train is DATA.validation is DATA.test
    assert WORKLOAD.batch_size == len(DATA.train)


def test_it_starts_at_zero_where_the_loss_is_log_two():
    outputs = WORKLOAD.model()(DATA.train.x)
    assert WORKLOAD.loss(outputs, Y).item() == pytest.approx(np.log(2))


def test_the_optimum_is_what_an_independent_solver_finds():
    found = solution()
    assert found.fun == pytest.approx(OPTIMUM, abs=5e-8)
    model = model_at(found.x)
    loss = WORKLOAD.loss(model(X), Y)
    assert loss.item() == pytest.approx(found.fun, rel=1e-12)
    assert WORKLOAD.metric.of(model(X), Y).item() == loss.item()
    loss.backward()
    assert max(p.grad.abs().max().item() for p in model.parameters()) < 1e-6


def test_the_objective_and_its_gradient_are_the_textbook_ones():
    w = np.random.default_rng(0).normal(size=31)
    model = model_at(w)
    loss = WORKLOAD.loss(model(X), Y)
    loss.backward()
    value, gradient = objective(w)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(model.linear.weight.grad[0].numpy(), gradient[:30], rtol=1e-9)


def test_the_largest_eigenvalues_are_known():
    assert largest_eigenvalue(np.zeros(31)) == pytest.approx(EIGENVALUE, abs=5e-6)
    assert largest_eigenvalue(solution().x) == pytest.approx(EIGENVALUE_AT_OPTIMUM, abs=5e-6)
    elsewhere = np.random.default_rng(0).normal(scale=0.1, size=(5, 31))
    assert all(largest_eigenvalue(w) < EIGENVALUE for w in elsewhere)


def descent(model: torch.nn.Module, lr: float, steps: int) -> np.ndarray:
    """The losses of plain full-batch gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = WORKLOAD.loss(model(X), Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.mark.parametrize("lr", [0.1, 0.6])
def test_below_the_first_edge_gradient_descent_never_climbs(lr):
    assert lr < 2 / EIGENVALUE
    losses = descent(model_at(np.zeros(31)), lr, 60)
    assert (np.diff(losses) < 0).all()
    assert losses[-1] > OPTIMUM


@pytest.mark.parametrize(("share", "leaves"), [(0.95, False), (1.05, True)])
def test_the_optimum_holds_gradient_descent_up_to_two_over_its_eigenvalue(share, leaves):
    near = solution().x + 1e-4 * np.random.default_rng(0).normal(size=31)
    losses = descent(model_at(near), share * 2 / EIGENVALUE_AT_OPTIMUM, 80)
    assert (losses[-1] > losses[0]) == leaves
