"""A convolution as a product is the convolution, forward and backward, alone and stacked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import a_run
from torch.func import grad, vmap
from torch.nn import functional

from lrbench.train import slots as module
from lrbench.train import train
from lrbench.train.population import Population
from lrbench.train.products import Products, sliced, unfolded
from lrbench.workloads import WORKLOADS

COLUMNS = pytest.mark.parametrize("columns", [unfolded, sliced])
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@COLUMNS
@settings(deadline=None)
@given(pairs, pairs, pairs, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.booleans())
def test_it_is_the_convolution_and_has_its_gradients(columns, size, stride, dilation, padding, biased):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    w, b = torch.randn(4, 3, *size, dtype=torch.float64), torch.randn(4, dtype=torch.float64) if biased else None

    def of(x, w):
        return functional.conv2d(x, w, b, stride, padding, dilation).square().sum()

    expected = of(x, w), *grad(of, (0, 1))(x, w)
    with Products(columns):
        found = of(x, w), *grad(of, (0, 1))(x, w)
    torch.testing.assert_close(found, expected)


@COLUMNS
def test_stacked_convolutions_are_each_their_own(columns):
    torch.manual_seed(0)
    x, w = torch.randn(5, 2, 3, 8, 8, dtype=torch.float64), torch.randn(5, 4, 3, 3, 3, dtype=torch.float64)

    def of(w, x):
        return functional.conv2d(x, w, stride=2, padding=1).square().sum()

    expected = torch.stack([grad(of)(*one) for one in zip(w, x, strict=True)])
    with Products(columns):
        torch.testing.assert_close(vmap(grad(of))(w, x), expected)


def test_what_is_no_plain_convolution_is_left_alone():
    x, w = torch.randn(2, 4, 6, 6), torch.randn(4, 2, 3, 3)
    expected = functional.conv2d(x, w, groups=2), functional.conv2d(x[:, :2], w, padding="same"), functional.conv2d(x[0, :2], w)
    with Products(unfolded):
        found = functional.conv2d(x, w, groups=2), functional.conv2d(x[:, :2], w, padding="same"), functional.conv2d(x[0, :2], w)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("workload", ["mnist5k-cnn"])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_population_of_them_is_its_runs(workload, mode, monkeypatch, cpu):
    made = module.StackedModel
    monkeypatch.setattr(module, "StackedModel", lambda workload, model, _: made(workload, model, unfolded))
    runs = [a_run(workload, lr=lr, seed=s, steps=6, eval_every=3, precision="fp64") for lr in (0.1, 0.3) for s in (0, 1)]
    data = WORKLOADS[workload].data()
    for run, outcome in Population(runs, WORKLOADS[workload], data, cpu, mode=mode).train():
        assert outcome.mode == mode
        alone = train(run, WORKLOADS[workload], data, cpu)
        torch.testing.assert_close(outcome.step_loss, alone.step_loss, rtol=1e-7, atol=0)
        torch.testing.assert_close(outcome.val_loss, alone.val_loss, rtol=1e-9, atol=0)
