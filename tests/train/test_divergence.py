"""A run diverges when its loss leaves all bounds, whatever the loss is measured from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import a_run
from torch import nn

from lrbench.config.outcome import Status
from lrbench.strategies.schedules import Plateau
from lrbench.train import Population, data_for, train
from lrbench.train.record import Record
from lrbench.workloads import WORKLOADS, Data, Metric, Split, Workload

CPU = torch.device("cpu")


def record(losses, *, untrained=2.0, lowest=0.0):
    made = Record(1, len(losses), len(losses), lowest)
    made.add_evaluation(np.array([[untrained, 0.5]]), np.array([True]))
    made.add_steps(np.array([losses], np.float32))
    return int(made.diverged_at[0])


@pytest.mark.parametrize(
    ("losses", "settings", "diverged_at"),
    [
        ([2.0, 3.0, 19_999.0, 1.0], {}, 0),
        ([2.0, 3.0, 20_001.0, 1.0], {}, 3),
        ([0.0, 0.5, 0.1], {}, 0),  # the first batch had nothing to learn from
        ([0.0, 0.5, 20_001.0], {}, 3),
        ([1e-9, 0.5, 0.1], {}, 0),
        ([22.0, 23.0, 20_021.0], {"lowest": 20.0, "untrained": 22.0}, 3),
        ([22.0, 23.0, 20_019.0], {"lowest": 20.0, "untrained": 22.0}, 0),
        ([-5.0, -6.0, -7.0], {"lowest": -np.inf, "untrained": -5.0}, 0),
        ([-5.0, 1e20, -7.0], {"lowest": -np.inf, "untrained": -5.0}, 0),
        ([-5.0, 1e31, -7.0], {"lowest": -np.inf, "untrained": -5.0}, 2),
        ([-5.0, -np.inf], {"lowest": -np.inf, "untrained": -5.0}, 2),
        ([1.0, np.nan], {}, 2),
        ([np.inf, 1.0], {}, 1),
    ],
)
def test_the_bound_is_far_above_the_lowest_possible_loss(losses, settings, diverged_at):
    assert record(losses, **settings) == diverged_at


class Margin(nn.Module):
    """Logits of a task on which most batches of one example have a loss of exactly 0 from the start."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 1)
        nn.init.constant_(self.head.weight, 0.25)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(x)[:, 0]


def hinge(outputs, y):
    return (1.0 - outputs * y).clamp(min=0.0).mean()


def margins():
    g = torch.Generator().manual_seed(0)
    far = torch.rand(480, generator=g) < 0.1
    x = torch.randn(480, 4, generator=g) * 0.1 + torch.where(far[:, None], -1.0, 2.0)
    y = torch.ones(480)
    return Data(Split(x[:320], y[:320]), Split(x[320:400], y[320:400]), Split(x[400:], y[400:]))


def workload(constant, lowest):
    def loss(outputs, y):
        return hinge(outputs, y) + constant

    metric = Metric("hinge", higher_is_better=False, of=loss)
    return Workload(
        name="digits-mlp", meaning="margins", source="", licence="", data=margins, model=Margin, layers=("head",), loss=loss,
        lowest_loss=lowest, metric=metric, examples=(320, 80, 80), target=0.05, target_reason="", steps=100, batch_size=1, eval_every=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("constant", "lowest"), [(0.0, 0.0), (0.0, -np.inf), (20.0, 20.0), (20.0, -np.inf), (-3.0, -np.inf)]
)
def test_runs_whose_first_loss_is_zero_descend_in_both_trainers(constant, lowest):
    problem, runs = (
        workload(constant, lowest),
        [a_run(lr=0.01, batch_size=1, steps=60, eval_every=20, seed=seed) for seed in range(4)],
    )
    data = problem.data()
    outcomes = [train(run, problem, data, CPU) for run in runs]
    together = {run.key: outcome for run, outcome in Population(runs, problem, data, CPU).train()}
    assert any(outcome.step_loss[0] == constant for outcome in outcomes)
    for outcome in outcomes:
        assert outcome.status != Status.DIVERGED
        assert together[outcome.key].status == outcome.status
        assert outcome.val_loss[-1] < outcome.val_loss[0]


def test_every_own_workload_says_how_low_its_loss_can_be():
    assert {name for name, known in WORKLOADS.items() if known.lowest_loss != 0.0 and known.name in WORKLOADS} <= set()
    run = a_run("digits-mlp", steps=10, eval_every=10)
    outcome = train(run, WORKLOADS["digits-mlp"], data_for(run, CPU), CPU)
    assert (outcome.step_loss > WORKLOADS["digits-mlp"].lowest_loss).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_takes_no_worse_value_for_a_better_one(mode, sign):
    """A flat value, and one that gets worse by less than the threshold, are no progress; one that gets better by more is."""
    better = -1.0 if mode == "min" else 1.0
    for drift, falls in ((0.0, True), (-1e-5 * better, True), (1e-2 * better, False)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
        schedule = Plateau(optimizer, mode, 0.5, 0, 1e-4, eps=0.0)
        for i in range(4):
            schedule.step(5.0 * sign + drift * i * 5.0)
        assert (optimizer.param_groups[0]["lr"] < 1.0) is falls


def test_plateau_is_torchs_own_where_values_are_positive():
    rng = np.random.default_rng(0)
    values = 2.0 + np.cumsum(rng.normal(0.0, 0.01, 60))
    lrs = []
    for kind in (Plateau, torch.optim.lr_scheduler.ReduceLROnPlateau):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
        schedule = kind(optimizer, patience=2, eps=0.0)
        lrs.append([(schedule.step(value), optimizer.param_groups[0]["lr"])[1] for value in values])
    assert lrs[0] == lrs[1]
    assert lrs[0][-1] < 1.0


def test_a_population_knows_the_lowest_loss_too():
    problem = replace(workload(0.0, 0.0), lowest_loss=-1.0)
    run = a_run(lr=0.01, batch_size=1, steps=20, eval_every=20)
    assert Population([run], problem, problem.data(), CPU).record.lowest == -1.0
