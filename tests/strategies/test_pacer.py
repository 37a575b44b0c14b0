"""The order of calls, and the audit that finds lrs which are not those of the strategy."""

import warnings

import numpy as np
import pytest
import torch
from runs import choice
from torch.optim import lr_scheduler as torch_schedules
from torch.optim.swa_utils import SWALR

from lrbench.strategies import SCHEDULES, CallOrderError, Pacer, Timing, audit, lr_curve
from lrbench.strategies.schedules import stand_in

LRS = (0.1, 0.01)
TIMING = Timing(steps=20, steps_per_epoch=5, eval_every=1)
NAMES = ("body", "head")


def two_groups():
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in LRS], lr=1.0, momentum=0.9)


def recorded(build):
    """[T, G] the lrs that a scheduler of torch gives two groups."""
    optimizer = two_groups()
    scheduler = build(optimizer)
    lrs = []
    for _ in range(TIMING.steps):
        lrs.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step(*([1.0] if isinstance(scheduler, torch_schedules.ReduceLROnPlateau) else []))
    return np.array(lrs)


def verdict(build, name, **options):
    curve = lr_curve(choice("schedule", name, **options), LRS[0], TIMING, evaluations=[(1.0, 0.0)] * TIMING.steps)
    return audit(recorded(build), curve, (1.0, 0.1), (0, 0), NAMES)


class TestCallOrder:
    def test_plain_torch_skips_the_first_lr_when_the_scheduler_goes_first(self):
        """What the wrong order costs, in PyTorch itself: of the schedule 1.0, 0.5, 0.25, ... the value 1.0 is never trained with."""

        def used(scheduler_first):
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
            lrs = []
            for _ in range(3):
                if scheduler_first:
                    scheduler.step()
                lrs.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if not scheduler_first:
                    scheduler.step()
            return lrs

        assert used(scheduler_first=False) == [1.0, 0.5, 0.25]
        with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
            assert used(scheduler_first=True) == [0.5, 0.25, 0.125]

    @pytest.mark.parametrize("name", [n for n, entry in SCHEDULES.items() if "closed_loop" not in entry.flags])
    @pytest.mark.parametrize("warmup", [0, 5])
    def test_lrbench_refuses_it(self, name, warmup):
        pacer = Pacer(choice("schedule", name, warmup=warmup), two_groups(), TIMING)
        with pytest.raises(CallOrderError, match=r"Call optimizer\.step\(\) first, then scheduler\.step\(\)"):
            pacer.after_step(1)

    def test_it_is_refused_at_any_step_and_leaves_the_lrs_as_they_were(self):
        optimizer = two_groups()
        pacer = Pacer(choice("schedule", "exponential"), optimizer, TIMING)
        optimizer.step()
        pacer.after_step(1)
        before = [group["lr"] for group in optimizer.param_groups]
        with pytest.raises(CallOrderError):
            pacer.after_step(2)
        assert [group["lr"] for group in optimizer.param_groups] == before

    def test_the_right_order_raises_no_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name in SCHEDULES:
                lr_curve(choice("schedule", name), 0.1, TIMING, evaluations=[(1.0, 0.0)])


NAIVE = {
    "one-cycle with one max_lr": (lambda o: torch_schedules.OneCycleLR(o, 0.1, total_steps=20, cycle_momentum=False), "one-cycle", {}),
    "cyclic with one base and max "
    "lr": (lambda o: torch_schedules.CyclicLR(o, 0.01, 0.1, 2, cycle_momentum=False), "cyclic", {}),
    "swa with one lr": (lambda o: SWALR(o, 0.005, 5), "swa", {}),
    "cosine with an absolute "
    "eta_min": (lambda o: torch_schedules.CosineAnnealingLR(o, 20, 0.01), "cosine", {"eta_min": 0.1}),
    "restarts with an absolute eta_min": (
        lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 5, 1, 0.01), "cosine-restarts", {"eta_min": 0.1},
    ),
    "plateau with an absolute min_lr": (
        lambda o: torch_schedules.ReduceLROnPlateau(o, factor=0.5, patience=0, min_lr=0.005), "plateau",
        {"patience": 0, "min_lr": 0.05},
    ),
}  # fmt: skip
CAREFUL = {
    "one-cycle": (lambda o: torch_schedules.OneCycleLR(o, list(LRS), total_steps=20, cycle_momentum=False), {}),
    "cyclic": (lambda o: torch_schedules.CyclicLR(o, [0.01, 0.001], list(LRS), 2, cycle_momentum=False), {}),
    "swa": (lambda o: SWALR(o, [0.005, 0.0005], 5), {}),
    "plateau": (
        lambda o: torch_schedules.ReduceLROnPlateau(o, factor=0.5, patience=0, min_lr=[0.005, 0.0005], eps=0),
        {"patience": 0, "min_lr": 0.05},
    ),
    "cosine": (lambda o: torch_schedules.CosineAnnealingLR(o, 20), {}),
}


class TestAudit:
    @pytest.mark.parametrize("trap", NAIVE)
    def test_finds_a_scheduler_that_erases_the_ratio_between_groups(self, trap):
        build, name, options = NAIVE[trap]
        assert "lr audit: group 'head' was stepped with lr" in str(verdict(build, name, **options))

    @pytest.mark.parametrize("name", CAREFUL)
    def test_accepts_a_scheduler_given_a_value_for_each_group(self, name):
        build, options = CAREFUL[name]
        assert verdict(build, name, **options) is None

    def test_finds_a_wrong_order_of_calls(self):
        curve = lr_curve(choice("schedule", "exponential"), 0.1, TIMING)
        late = np.append(curve[1:], curve[-1])
        assert "at step 1" in str(audit(late[:, None], curve, (1.0,), (0,), ("all",)))

    def test_finds_an_lr_that_is_wrong_after_a_resume(self):
        curve = lr_curve(choice("schedule", "cosine"), 0.1, TIMING)
        again = np.concatenate([curve[:10], curve[:10]])
        assert "at step 11, and base lr x layer multiplier x schedule is" in str(
            audit(again[:, None], curve, (1.0,), (0,), ("all",))
        )

    @pytest.mark.parametrize("step", range(6))
    def test_a_group_has_an_lr_exactly_from_the_step_at_which_it_joins(self, step):
        curve = np.full(6, 0.1)
        lrs = np.full((6, 1), 0.1)
        lrs[:step] = np.nan
        assert (audit(lrs, curve, (1.0,), (3,), ("late",)) is None) == (step == 3)

    def test_a_run_that_ended_early_is_compared_as_far_as_it_got(self):
        curve = np.linspace(0.1, 0.0, 10)
        assert audit(curve[:4, None], curve, (1.0,), (0,), ("all",)) is None

    def test_a_run_that_never_stepped_has_used_no_wrong_lr(self):
        assert audit(np.zeros(0), np.full(5, 0.1), (1.0, 0.5, 0.1), (0, 0, 2), ("a", "b", "c")) is None

    @pytest.mark.parametrize(("error", "found"), [(1e-12, False), (1e-6, True)])
    def test_rounding_is_not_an_error(self, error, found):
        curve = np.full(5, 0.1)
        lrs = np.full((5, 2), 0.1) * [1.0, 0.01] * (1 + error)
        assert (audit(lrs, curve, (1.0, 0.01), (0, 0), NAMES) is not None) == found


def test_a_curve_that_needs_no_evaluation_ignores_them():
    with_some = lr_curve(choice("schedule", "cosine"), 0.1, TIMING, evaluations=[(1.0, 0.0)] * 20)
    np.testing.assert_array_equal(with_some, lr_curve(choice("schedule", "cosine"), 0.1, TIMING))


def test_a_stand_in_trains_nothing():
    optimizer = stand_in([0.1, 0.2])
    optimizer.step()
    assert all((p == 0).all() for group in optimizer.param_groups for p in group["params"])
