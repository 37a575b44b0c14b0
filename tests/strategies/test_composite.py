"""Optimizers made of optimizers do what their parts would do apart."""

import pytest
import torch

from lrbench.strategies import OPTIMIZERS
from lrbench.strategies.composite import Paired, Staged


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


X, Y = torch.linspace(-1, 1, 40).view(10, 4), torch.linspace(0, 1, 30).view(10, 3)


def train(net, *optimizers, steps=5):
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        (net(X) - Y).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def by_kind(net):
    kinds = ([p for p in net.parameters() if p.ndim == 2], [p for p in net.parameters() if p.ndim != 2])
    return [{"params": params, "lr": lr} for params, lr in zip(kinds, (0.02, 0.05), strict=True)]


def muon(groups, **options):
    entry = OPTIMIZERS["muon"]
    return entry.build(groups, 0.02, **entry.resolve(options))


def assert_equal(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


class TestPaired:
    def test_muon_with_adamw_equals_the_two_run_apart(self):
        together, apart = model(), model()
        train(together, muon(by_kind(together)))
        weights, rest = by_kind(apart)
        train(
            apart,
            torch.optim.Muon(
                weights["params"], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest["params"], lr=0.05, weight_decay=0.1),
        )
        assert_equal(together, apart)

    def test_param_groups_are_the_very_dicts_of_the_parts_in_the_order_given(self):
        net = model()
        groups = by_kind(net)[::-1]
        pair = muon(groups)
        assert [g["lr"] for g in pair.param_groups] == [0.05, 0.02]
        pair.param_groups[0]["lr"] = 0.0
        pair.param_groups[1]["lr"] = 0.0
        before = {name: value.clone() for name, value in net.state_dict().items()}
        train(net, pair)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

    def test_one_kind_alone_will_do(self):
        net = model()
        train(net, muon(by_kind(net)[:1]))
        assert_equal(torch.nn.ParameterList([net[0].bias]), torch.nn.ParameterList([model()[0].bias]))

    def test_a_group_can_join_later_and_goes_to_its_own_kind(self):
        net = model()
        weights, rest = by_kind(net)
        pair = muon([weights])
        pair.add_param_group(rest)
        assert [g["lr"] for g in pair.param_groups] == [0.02, 0.05]
        assert "betas" in pair.param_groups[1]
        assert "betas" not in pair.param_groups[0]

    def test_its_state_goes_on_where_it_was(self):
        whole, stopped = model(), model()
        train(whole, muon(by_kind(whole)), steps=6)
        first = muon(by_kind(stopped))
        train(stopped, first, steps=3)
        again = muon(by_kind(stopped))
        again.load_state_dict(first.state_dict())
        assert [g["lr"] for g in again.param_groups] == [0.02, 0.05]
        train(stopped, again, steps=3)
        assert_equal(whole, stopped)
        again.param_groups[0]["lr"] = 7.0
        assert again._parts[0].param_groups[0]["lr"] == 7.0

    def test_a_build_that_fails_says_why(self):
        with pytest.raises(ValueError, match="2D"):
            Paired(
                [{"params": [torch.nn.Parameter(torch.ones(2))]}],
                torch.optim.Muon,
                torch.optim.SGD,
                takes=lambda _: True,
            )


def staged(net, joins=(0, 2), name="adam", **options):
    entry = OPTIMIZERS[name]
    groups = [{"params": list(layer.parameters()), "lr": lr} for layer, lr in ((net[2], 0.02), (net[0], 0.01))]
    return Staged(groups, joins, lambda some: entry.build(some, 0.02, **entry.resolve(options)))


class TestStaged:
    def test_a_group_moves_from_the_step_at_which_it_joins(self):
        net, optimizer = model(), None
        optimizer = staged(net)
        start = net[0].weight.detach().clone()
        for done in range(4):
            optimizer.join(done)
            train(net, optimizer, steps=1)
            assert torch.equal(net[0].weight, start) == (done < 2)

    def test_it_equals_add_param_group_by_hand(self):
        ours, plain = model(), model()
        optimizer = staged(ours)
        by_hand = torch.optim.Adam([{"params": list(plain[2].parameters()), "lr": 0.02}])
        for done in range(5):
            optimizer.join(done)
            train(ours, optimizer, steps=1)
            if done == 2:
                by_hand.add_param_group({"params": list(plain[0].parameters()), "lr": 0.01})
            plain.zero_grad()
            train(plain, by_hand, steps=1)
        assert_equal(ours, plain)

    def test_a_waiting_group_already_follows_its_schedule(self):
        optimizer = staged(model())
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        scheduler.step()
        optimizer.join(2)
        assert [group["lr"] for group in optimizer.inner.param_groups] == [0.01, 0.005]
        assert all(a is b for a, b in zip(optimizer.param_groups, optimizer.inner.param_groups, strict=True))

    def test_a_waiting_group_has_every_option_of_its_own_optimizer(self):
        net = model()
        groups = [{"params": [p], "lr": 0.1} for p in (net[2].weight, net[2].bias, net[0].weight, net[0].bias)]
        together = [dict(g) for g in muon([{"params": g["params"], "lr": 0.1} for g in groups], eps=1e-5).param_groups]
        optimizer = Staged(groups, (0, 0, 3, 3), lambda some: muon(some, eps=1e-5))
        for waits, expected in zip(optimizer.param_groups, together, strict=True):
            assert {k: v for k, v in waits.items() if k != "params"} == {
                k: v for k, v in expected.items() if k != "params"
            }

    def test_an_option_of_the_first_group_is_not_that_of_the_others(self):
        net = model()
        groups = [{"params": [net[2].bias], "lr": 0.1, "weight_decay": 0.0}, {"params": [net[0].weight], "lr": 0.1}]
        optimizer = Staged(groups, (0, 1), lambda some: torch.optim.AdamW(some, weight_decay=0.5))
        assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.5]

    @pytest.mark.parametrize("name", ["schedule-free-sgd", "schedule-free-adamw"])
    def test_a_group_that_joins_is_in_the_mode_of_the_others(self, name):
        """Else the swap of weights around the next evaluation would not be undone, and move them."""
        pytest.importorskip("schedulefree")
        net = model()
        optimizer = staged(net, joins=(0, 1), name=name)
        optimizer.train()
        for done in range(3):
            optimizer.join(done)
            train(net, optimizer, steps=1)
        assert [group["train_mode"] for group in optimizer.param_groups] == [True, True]
        before = net[0].weight.detach().clone()
        optimizer.eval()
        assert not torch.equal(net[0].weight, before)
        optimizer.train()
        torch.testing.assert_close(net[0].weight.detach(), before)

    @pytest.mark.parametrize("at", [1, 2, 4])
    def test_its_state_goes_on_where_it_was(self, at):
        def go(net, optimizer, steps):
            for done in steps:
                optimizer.join(done)
                train(net, optimizer, steps=1)

        whole, stopped = model(), model()
        go(whole, staged(whole), range(6))
        first = staged(stopped)
        go(stopped, first, range(at))
        again = staged(stopped)
        again.join(at - 1)
        again.load_state_dict(first.state_dict())
        go(stopped, again, range(at, 6))
        assert_equal(whole, stopped)

    def test_schedulers_that_cycle_the_momentum_accept_it(self):
        torch.optim.lr_scheduler.OneCycleLR(staged(model()), [0.1, 0.2], total_steps=10, cycle_momentum=True)
