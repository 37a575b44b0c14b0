"""Every schedule is torch's own class, and keeps the ratios between groups."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import choice
from torch.optim import lr_scheduler as torch_schedules
from torch.optim.swa_utils import SWALR

from lrbench.strategies import SCHEDULES, Pacer, Timing, lr_curve
from lrbench.strategies.schedules import stand_in

TOTAL = 60
TIMING = Timing(steps=TOTAL, steps_per_epoch=10, eval_every=5)
OPEN = [name for name, entry in SCHEDULES.items() if "closed_loop" not in entry.flags]
PARTS = [name for name in OPEN if not SCHEDULES[name].has_parts]
CHAINABLE = [name for name, entry in SCHEDULES.items() if entry.is_chainable]


def each_first_and_last(names):
    """Every two names; where not all tests are run, each is once the first and once the last."""
    n = len(names)
    return [
        pytest.param(names[i], names[j], marks=[] if (j - i) % n == 1 else [pytest.mark.exhaustive])
        for i in range(n)
        for j in range(n)
    ]


LOSSES = [(1.0, 0.0)] * 20
"""Evaluations that never improve, for the closed-loop schedule to react to."""


def constant(o, _):
    return torch_schedules.LambdaLR(o, lambda _: 1.0)


def chained(o, _):
    return torch_schedules.ChainedScheduler(
        [torch_schedules.ConstantLR(o, 1 / 3, 6), torch_schedules.ExponentialLR(o, 0.01 ** (1 / 60))]
    )


def sequential(o, _):
    return torch_schedules.SequentialLR(o, [constant(o, _), torch_schedules.CosineAnnealingLR(o, 30)], [30])


TORCH = [
    ("constant", {}, constant),
    ("lambda", {}, lambda o, _: torch_schedules.LambdaLR(o, lambda t: 1.0 if t <= 30 else (60 - t) / 30)),
    (
        "lambda",
        {"points": [[0.5, 0.2], [0.5, 1.0]]},
        lambda o, _: torch_schedules.LambdaLR(o, lambda t: 0.2 if t < 30 else 1.0),
    ),
    ("multiplicative", {}, lambda o, _: torch_schedules.MultiplicativeLR(o, lambda t: 0.8 if t % 6 == 0 else 1.0)),
    ("step", {}, lambda o, _: torch_schedules.StepLR(o, 18, 0.1)),
    ("step", {"step_size": 7, "gamma": 0.5}, lambda o, _: torch_schedules.StepLR(o, 7, 0.5)),
    ("multistep", {}, lambda o, _: torch_schedules.MultiStepLR(o, [30, 45], 0.1)),
    ("constant-factor", {}, lambda o, _: torch_schedules.ConstantLR(o, 1 / 3, 6)),
    ("linear", {}, lambda o, _: torch_schedules.LinearLR(o, 1.0, 0.0, 60)),
    ("exponential", {}, lambda o, _: torch_schedules.ExponentialLR(o, 0.01 ** (1 / 60))),
    ("polynomial", {}, lambda o, _: torch_schedules.PolynomialLR(o, 60, 2.0)),
    ("cosine", {}, lambda o, _: torch_schedules.CosineAnnealingLR(o, 60)),
    ("cosine", {"t_max": 20, "eta_min": 0.1}, lambda o, lr: torch_schedules.CosineAnnealingLR(o, 20, 0.1 * lr)),
    ("cosine-restarts", {}, lambda o, _: torch_schedules.CosineAnnealingWarmRestarts(o, 15)),
    (
        "cosine-restarts",
        {"t_0": 10, "t_mult": 2, "eta_min": 0.05},
        lambda o, lr: torch_schedules.CosineAnnealingWarmRestarts(o, 10, 2, 0.05 * lr),
    ),
    ("one-cycle", {}, lambda o, lr: torch_schedules.OneCycleLR(o, lr, total_steps=60, cycle_momentum=False)),
    (
        "one-cycle",
        {"anneal_strategy": "linear", "three_phase": True, "pct_start": 0.4},
        lambda o, lr: torch_schedules.OneCycleLR(
            o, lr, total_steps=60, cycle_momentum=False, anneal_strategy="linear", three_phase=True, pct_start=0.4
        ),
    ),
    ("cyclic", {}, lambda o, lr: torch_schedules.CyclicLR(o, 0.1 * lr, lr, 8, cycle_momentum=False)),
    (
        "cyclic",
        {"mode": "exp_range", "gamma": 0.9, "step_size_up": 5},
        lambda o, lr: torch_schedules.CyclicLR(o, 0.1 * lr, lr, 5, mode="exp_range", gamma=0.9, cycle_momentum=False),
    ),
    ("swa", {}, lambda o, lr: SWALR(o, 0.05 * lr, 15, "cos")),
    ("by-hand", {}, lambda o, _: torch_schedules.StepLR(o, 6, 0.9)),
    (
        "warmup-stable-decay",
        {},
        lambda o, _: torch_schedules.LambdaLR(o, lambda t: min((t + 1) / 6, 1.0, (60 - t) / 12)),
    ),
    (
        "warmup-stable-decay",
        {"shape": "sqrt"},
        lambda o, _: torch_schedules.LambdaLR(o, lambda t: min((t + 1) / 6, 1.0) - math.sqrt(max(t - 48, 0) / 12)),
    ),
    ("inverse-sqrt", {}, lambda o, _: torch_schedules.LambdaLR(o, lambda t: min((t + 1) / 6, math.sqrt(6 / (t + 1))))),
    ("sequential", {}, sequential),
    ("chained", {}, chained),
]


def stepped(build, lr, total=TOTAL):
    """The lrs of torch's own class, stepped as torch's documentation shows."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = build(optimizer, lr)
    lrs = []
    for _ in range(total):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(lrs)


def paced(name, lrs, timing=TIMING, **options):
    """[T, G] the lrs of an optimizer with a group for each of ``lrs``."""
    optimizer = stand_in(lrs)
    pacer = Pacer(choice("schedule", name, **options), optimizer, timing)
    found = []
    for done in range(1, timing.steps + 1):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        pacer.after_step(done)
        if done % timing.eval_every == 0:
            pacer.after_evaluation(1.0, 0.0)
    return np.array(found)


@pytest.mark.parametrize(("name", "options", "build"), TORCH, ids=[f"{name} {options}" for name, options, _ in TORCH])
def test_each_schedule_is_the_class_of_torch_with_literal_arguments(name, options, build):
    lrs = (0.1, 0.003)
    expected = np.stack([stepped(build, lr) for lr in lrs], axis=1)
    np.testing.assert_allclose(paced(name, lrs, **options), expected, rtol=1e-9, atol=1e-18)


def test_the_table_above_has_every_open_loop_schedule():
    assert {name for name, _, _ in TORCH} == set(OPEN)


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_constant_is_constant(name):
    curve = lr_curve(choice("schedule", name), 0.1, TIMING, evaluations=LOSSES)
    assert (len(set(curve)) == 1) == (name == "constant")
    assert curve.shape == (TOTAL,)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("options", [{}, {"warmup": 0.2}, {"per": "epoch"}, {"per": "epoch", "warmup": 2}], ids=str)
@given(lrs=st.lists(st.floats(1e-6, 10.0), min_size=2, max_size=4))
@settings(max_examples=5)
def test_ratios_between_groups_survive(name, options, lrs):
    if "per" in options and name == "plateau":
        return
    found = paced(name, lrs, **options)
    np.testing.assert_allclose(
        found / np.array(lrs), np.repeat(found[:, :1] / lrs[0], len(lrs), axis=1), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", SCHEDULES)
@given(lr=st.floats(1e-6, 10.0), scale=st.floats(1e-3, 1e3))
@settings(max_examples=5)
def test_an_lr_curve_is_proportional_to_the_base_lr_and_never_negative(name, lr, scale):
    one, other = (lr_curve(choice("schedule", name), x, TIMING, evaluations=LOSSES) for x in (lr, scale * lr))
    np.testing.assert_allclose(other, scale * one, rtol=1e-9, atol=1e-12 * scale * lr)
    assert (one >= 0.0).all()


SETTINGS = {
    "constant": {}, "lambda": {"points": [[0, 0.1], [1, 3]]}, "multiplicative": {"every": 3}, "step": {"step_size": 1},
    "linear": {"start_factor": 0.1}, "multistep": {"milestones": [1, 2, 59]}, "constant-factor": {"factor": 1.0},
    "exponential": {"final": 1.0}, "polynomial": {"power": 0.5},
    "cosine": {"t_max": 3}, "cosine-restarts": {"t_0": 1}, "one-cycle": {"div_factor": 0.5}, "cyclic": {"base": 0.0, "mode": "triangular2"},
    "swa": {"swa_lr": 0.0, "anneal_strategy": "linear"}, "plateau": {"patience": 0, "min_lr": 0.01}, "by-hand": {"every": 1},
    "warmup-stable-decay": {"rise": 0.5, "decay": 0.5}, "inverse-sqrt": {"rise": 1}, "sequential": {"milestones": [1]},
    "chained": {"parts": ["linear", "step", "by-hand"]},
}  # fmt: skip


@pytest.mark.parametrize("total", [1, 2, 3, 60])
@pytest.mark.parametrize("name", SCHEDULES)
def test_odd_settings_and_short_trainings_give_lrs_all_the_same(name, total):
    for options in ({}, SETTINGS[name], {"warmup": 1}, {"warmup": 1.0}, SETTINGS[name] | {"warmup": 100}):
        curve = lr_curve(choice("schedule", name, **options), 0.1, Timing(total, 1, 1), evaluations=LOSSES * 3)
        assert np.isfinite(curve).all()
        assert (curve >= 0.0).all()


@pytest.mark.parametrize("name", OPEN)
def test_per_epoch_each_lr_lasts_an_epoch(name):
    slow = lr_curve(choice("schedule", name, per="epoch"), 0.1, Timing(60, 6, 60))
    fast = lr_curve(choice("schedule", name), 0.1, Timing(10, 6, 60))
    np.testing.assert_array_equal(slow, np.repeat(fast, 6))


@pytest.mark.parametrize("rise", [1, 7, 20])
@pytest.mark.parametrize(
    "name",
    ["constant", "lambda", "step", "multistep", "linear", "exponential", "polynomial", "cosine", "cosine-restarts"],
)
def test_warm_up_is_that_of_torch(name, rise):
    def build(optimizer, _):
        first = torch_schedules.LinearLR(optimizer, 1 / (rise + 1), 1.0, rise)
        then = SCHEDULES[name].build(optimizer, TOTAL - rise)
        return torch_schedules.SequentialLR(optimizer, [first, then], [rise])

    expected = stepped(build, 0.1)
    np.testing.assert_allclose(
        lr_curve(choice("schedule", name, warmup=rise), 0.1, TIMING), expected, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_evenly_to_the_first_lr_and_then_the_schedule_starts(name):
    rise, timing = 12, Timing(TOTAL, 10, 5)
    curve = lr_curve(choice("schedule", name, warmup=rise if name != "plateau" else 0), 0.1, timing)
    if name == "plateau":
        return
    alone = lr_curve(choice("schedule", name), 0.1, Timing(TOTAL - rise, 10, 5))
    np.testing.assert_allclose(curve[rise:], alone, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(curve[:rise], alone[0] * np.arange(1, rise + 1) / (rise + 1), rtol=1e-9)


@pytest.mark.parametrize(("first", "then"), each_first_and_last(PARTS))
def test_each_part_of_a_sequence_runs_as_if_it_were_alone(first, then):
    edge = 16
    curve = lr_curve(choice("schedule", "sequential", parts=[first, then], milestones=[edge]), 0.1, TIMING)
    alone = [
        lr_curve(choice("schedule", name), 0.1, Timing(n, 10, 5)) for name, n in ((first, edge), (then, TOTAL - edge))
    ]
    np.testing.assert_allclose(curve, np.concatenate(alone), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("first", "then"), each_first_and_last(CHAINABLE))
def test_chained_schedules_multiply(first, then):
    curve = lr_curve(choice("schedule", "chained", parts=[first, then]), 0.1, TIMING)
    one, other = (lr_curve(choice("schedule", name), 0.1, TIMING) for name in (first, then))
    np.testing.assert_allclose(curve, one * other / 0.1, rtol=1e-9, atol=1e-15)


class TestPlateau:
    def curve(self, losses, **options):
        timing = Timing(len(losses), 10, 1)
        return lr_curve(
            choice("schedule", "plateau", **options), 1.0, timing, evaluations=[(x, -x) for x in losses]
        ).tolist()

    def test_a_falling_loss_keeps_the_lr(self):
        assert self.curve([1.0, 0.9, 0.8, 0.7, 0.6]) == [1.0] * 5

    def test_the_lr_falls_after_patience_and_one_more(self):
        assert self.curve([1.0] * 7, patience=2) == [1.0] * 4 + [0.5] * 3

    def test_patience_starts_anew_after_an_improvement(self):
        assert self.curve([1.0, 1.0, 0.5, 0.5, 0.5, 0.5], patience=1) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]

    def test_there_is_a_floor_that_is_a_share_of_each_groups_lr(self):
        assert self.curve([1.0] * 9, patience=0, min_lr=0.3)[-1] == 0.3

    def test_the_metric_can_be_watched(self):
        assert self.curve([5.0, 4.0, 3.0, 2.0], mode="max", patience=0) == [1.0] * 4
        assert self.curve([2.0, 3.0, 4.0, 5.0], mode="max", patience=0) == [1.0, 1.0, 0.5, 0.25]

    def test_it_waits_for_the_warm_up(self):
        assert self.curve([1.0] * 8, patience=0, warmup=3) == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.25, 0.125]


def test_by_hand_changes_other_group_properties_too():
    optimizer = stand_in([0.1, 0.01], {"weight_decay": 0.4})
    pacer = Pacer(choice("schedule", "by-hand", every=5, factor=0.9, others={"weight_decay": 0.5}), optimizer, TIMING)
    for done in range(1, 16):
        optimizer.step()
        pacer.after_step(done)
    assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([0.05, 0.05])
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1 * 0.9**3, 0.01 * 0.9**3])


@pytest.mark.parametrize("name", ["one-cycle", "cyclic"])
def test_momentum_cycles_against_the_lr_when_asked_to(name):
    optimizer = stand_in([0.1])
    pacer = Pacer(choice("schedule", name, cycle_momentum=True), optimizer, TIMING)
    pairs = []
    for done in range(1, 60):
        pairs.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        pacer.after_step(done)
    lrs, momenta = np.array(pairs).T
    assert np.corrcoef(lrs, momenta)[0, 1] < -0.9


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("options", [{}, {"warmup": 9}], ids=str)
def test_the_state_of_a_schedule_goes_on_where_it_was(name, options):
    whole = paced(name, [0.1, 0.01], **options)
    optimizer, again = stand_in([0.1, 0.01]), stand_in([0.1, 0.01])
    pacer, resumed = (Pacer(choice("schedule", name, **options), o, TIMING) for o in (optimizer, again))
    found = []
    for done in range(1, TOTAL + 1):
        if done == 23:
            resumed.load_state_dict(pacer.state_dict())
            again.load_state_dict(optimizer.state_dict())
            optimizer, pacer = again, resumed
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        pacer.after_step(done)
        if done % TIMING.eval_every == 0:
            pacer.after_evaluation(1.0, 0.0)
    np.testing.assert_array_equal(np.array(found), whole)


@pytest.mark.parametrize(
    "parts",
    [["one-cycle", "cyclic"], ["multiplicative", {"name": "cosine", "eta_min": 0.1}], ["swa", "by-hand"]],
    ids=str,
)
@pytest.mark.parametrize("at", [10, 30, 45])
def test_the_state_of_a_sequence_goes_on_where_it_was(parts, at):
    options = {"parts": parts, "milestones": [0.5]}
    whole = paced("sequential", [0.1], **options)[:, 0]
    optimizer = stand_in([0.1])
    pacer = Pacer(choice("schedule", "sequential", **options), optimizer, TIMING)
    for done in range(1, at + 1):
        optimizer.step()
        pacer.after_step(done)
    again = stand_in([0.1])
    resumed = Pacer(choice("schedule", "sequential", **options), again, TIMING)
    resumed.load_state_dict(pacer.state_dict())
    again.load_state_dict(optimizer.state_dict())
    for done in range(at + 1, TOTAL):
        assert again.param_groups[0]["lr"] == whole[done - 1]
        again.step()
        resumed.after_step(done)
