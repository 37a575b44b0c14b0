"""The quadratic workload against its closed form."""

import pytest
import torch

from lrbench.workloads.quadratic import CURVATURES, INITIAL_LOSS, WORKLOAD


def descend(lr: float, steps: int) -> torch.nn.Module:
    """Plain gradient descent in float64."""
    data, model = WORKLOAD.data(), WORKLOAD.model().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        WORKLOAD.loss(model(data.train.x.double()), data.train.y).backward()
        optimizer.step()
    return model


def test_the_initial_loss_is_known():
    data = WORKLOAD.data()
    assert WORKLOAD.loss(WORKLOAD.model()(data.train.x), data.train.y).item() == pytest.approx(INITIAL_LOSS)
    assert pytest.approx(22.2) == INITIAL_LOSS


@pytest.mark.parametrize("lr", [0.01, 0.1, 0.19, 0.21])
def test_every_step_is_known(lr):
    model = descend(lr, steps=30)
    for name, h in CURVATURES.items():
        expected = torch.full((4,), (1 - lr * h) ** 30, dtype=torch.float64)
        torch.testing.assert_close(model.get_parameter(name).detach(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CURVATURES)
@pytest.mark.parametrize(("share", "grows"), [(0.99, False), (1.01, True)])
def test_the_edge_of_stability_of_a_layer_is_two_over_its_curvature(name, share, grows):
    model = descend(share * 2 / CURVATURES[name], steps=20)
    assert (model.get_parameter(name).abs().max().item() > 1) == grows


def test_every_example_of_a_batch_has_the_same_height():
    outputs = WORKLOAD.model()(torch.zeros(5, 1))
    assert outputs.shape == (5,)
    assert outputs.unique().numel() == 1
