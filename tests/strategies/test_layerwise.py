"""Lion, LARS and LAMB: closed forms first, then an independent package."""

import copy

import pytest
import torch

from lrbench.strategies import OPTIMIZERS
from lrbench.strategies.layerwise import LAMB, LARS, Lion

SHAPES = [(5,), (4, 3), (2, 3, 3, 3)]
STEPS = 100


def one_step(make, start, gradient, **settings):
    p = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    p.grad = torch.tensor(gradient, dtype=torch.float64)
    make([p], **settings).step()
    return p.detach()


def is_about(tensor, expected):
    torch.testing.assert_close(tensor, torch.tensor(expected, dtype=torch.float64))
    return True


def test_lion_moves_every_weight_by_lr_after_decay():
    assert is_about(one_step(Lion, [1.0, -2.0, 3.0], [1e-6, 100.0, 0.0], lr=0.1, weight_decay=0.5), [0.85, -2.0, 2.85])


def test_lion_looks_at_beta1_and_remembers_beta2():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = Lion([p], lr=1.0, betas=(0.5, 0.75))
    for gradient in (4.0, -0.5, -2.0):  # momentum 0, 1, 0.625: signs of 2, 0.25, -0.6875
        p.grad = torch.tensor([gradient])
        optimizer.step()
    assert p.item() == -1.0
    assert optimizer.state[p]["mean"].item() == -0.03125


def test_lars_moves_a_weight_by_the_trust_coefficient_of_its_norm():
    moved = one_step(LARS, [[3.0, 4.0]], [[0.0, 1e3]], lr=2.0, trust_coefficient=0.01, weight_decay=0.0)
    assert is_about(moved, [[3.0, 4.0 - 2.0 * 0.01 * 5.0]])


def test_lars_counts_weight_decay_in_both_places():
    moved = one_step(LARS, [[3.0, 4.0]], [[0.0, 5.0]], lr=1.0, trust_coefficient=0.1, weight_decay=1.0)
    assert is_about(moved, [[3.0 - 0.05 * 3.0, 4.0 - 0.05 * 9.0]])  # 0.1 x 5 / (5 + 5)


def test_the_momentum_of_lars_sums_up_steps_not_gradients():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = LARS([p], lr=1.0, momentum=0.5)
    for lr in (1.0, 0.0):
        p.grad, optimizer.param_groups[0]["lr"] = torch.ones(1), lr
        optimizer.step()
    assert p.item() == -1.5


def test_lamb_makes_a_step_of_lr_times_the_norm():
    start = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    moved = one_step(LAMB, start.tolist(), [[1e-3, -1e3]], lr=0.01, weight_decay=0.3) - start
    assert is_about(moved.norm(), 0.05)


def test_lamb_adds_decay_to_adams_step():
    moved = one_step(LAMB, [[3.0, 4.0]], [[1.0, -1.0]], lr=0.01, weight_decay=0.5, eps=0.0)  # u = (1 + 1.5, -1 + 2)
    assert is_about(moved, [[3.0 - 0.05 * 2.5 / 7.25**0.5, 4.0 - 0.05 * 1.0 / 7.25**0.5]])


@pytest.mark.parametrize(("make", "step"), [(LARS, 0.5), (LAMB, 0.01)])
def test_vectors_take_the_plain_step_unless_asked(make, step):
    lr = step if make is LAMB else 1.0
    settings = {"lr": lr, "weight_decay": 0.1}
    assert is_about(one_step(make, [3.0], [0.5], **settings), [3.0 - step])
    assert one_step(make, [3.0], [0.5], exclude_1d=False, **settings) != 3.0 - step


@pytest.mark.parametrize("make", [LARS, LAMB])
@pytest.mark.parametrize(("start", "gradient"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_zeros_do_not_divide(make, start, gradient):
    moved = one_step(make, [[start, start]], [[gradient, gradient]], weight_decay=0.0)
    assert moved.isfinite().all()
    assert (moved == start).all() == (gradient == 0.0)


@pytest.mark.parametrize("name", ["lion", "lars", "lamb"])
def test_groups_have_their_own_lr_and_weight_decay(name):
    entry = OPTIMIZERS[name]
    options = [{"lr": 0.0, "weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 0.5}, {}]
    tensors = [torch.nn.Parameter(torch.eye(2)) for _ in options]
    optimizer = entry.build(
        [{"params": [p]} | group for p, group in zip(tensors, options, strict=True)], 0.2, **entry.resolve({})
    )
    for p in tensors:
        p.grad = torch.ones_like(p)
    optimizer.step()
    still, *moved = (p.detach() for p in tensors)
    assert torch.equal(still, torch.eye(2))
    assert len({tuple(p.flatten().tolist()) for p in moved}) == 3
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.1, 0.1, 0.2]


@pytest.mark.parametrize("make", [Lion, LARS, LAMB])
def test_a_restored_optimizer_goes_on_as_the_other(make):
    p, q = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    first, second = make([p]), make([q])
    step(first, p, [1.0, 2.0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    q.data.copy_(p.data)
    step(first, p, [-1.0])
    step(second, q, [-1.0])
    assert torch.equal(p, q)


def step(optimizer, p, gradients):
    for gradient in gradients:
        p.grad = torch.full_like(p, gradient)
        optimizer.step()


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    p = torch.nn.Parameter(torch.ones(1))

    def closure():
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert Lion([p]).step(closure).item() == 1.0
    assert p.item() < 1.0


# ---- the independent package


def trajectories(ours, theirs, lr_of):
    """Weights after STEPS steps of both on the same random gradients, with lrs that ``lr_of`` gives for each step."""
    ends = []
    for make in (ours, theirs):
        random = torch.Generator().manual_seed(0)
        tensors = [torch.nn.Parameter(torch.randn(*shape, generator=random, dtype=torch.float64)) for shape in SHAPES]
        optimizer = make(tensors)
        for i in range(STEPS):
            for p in tensors:
                p.grad = torch.randn(p.shape, generator=random, dtype=torch.float64) * 10.0 ** (i % 4 - 2)
            optimizer.param_groups[0]["lr"] = lr_of(i)
            optimizer.step()
        ends.append([p.detach() for p in tensors])
    return ends


def agree(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.fixture
def package():
    return pytest.importorskip(
        "pytorch_optimizer", reason="the package pytorch_optimizer, which Lion, LARS and LAMB are checked against"
    )


def test_lion_agrees_with_the_package(package):
    settings = {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}
    agree(
        *trajectories(lambda ps: Lion(ps, **settings), lambda ps: package.Lion(ps, **settings), lambda i: 0.1 / (i + 1))
    )


def test_lars_agrees_with_the_package(package):
    """At a constant lr: the package multiplies by it outside of the momentum, we, like the paper, inside."""
    settings = {"lr": 0.5, "momentum": 0.8, "weight_decay": 0.1, "trust_coefficient": 0.01}
    agree(*trajectories(lambda ps: LARS(ps, **settings), lambda ps: package.LARS(ps, **settings), lambda _: 0.5))


def test_lamb_agrees_with_the_package(package):
    """From where the bias corrections are 1, for the package has them in part; without its clip of |p| at 10 and its eps in |p| / |u|.

    Both take 60 steps of lr 0 first: 1 - 0.5^60 is 1.
    """
    settings = {"lr": 0.1, "betas": (0.5, 0.4), "weight_decay": 0.1, "eps": 1e-14}

    def theirs(tensors):
        made = package.Lamb(tensors, weight_decouple=False, **settings)
        made.clamp = float("inf")
        return made

    agree(
        *trajectories(
            lambda ps: LAMB(ps, exclude_1d=False, **settings), theirs, lambda i: 0.0 if i < 60 else 0.1 / (i - 50)
        )
    )
