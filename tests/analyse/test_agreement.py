"""Two records of a run are told apart where they differ, and not where they do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrbench.analyse.agreement import (
    BITWISE,
    CONSISTENT,
    DIFFERENT,
    MEASURES,
    PARTED,
    TOLERANCE,
    TRAJECTORY,
    UNDECIDED,
    Pair,
    Parting,
    compare_runs,
    judge,
    parting,
    relative,
    same_bits,
    suspicious,
    worst,
)
from lrbench.config.run import Run
from lrbench.stats import curves
from lrbench.store.table import row, table_of


def a_run(seed=0, lr=1e-2):
    axes = {axis: synthetic.choice(label) for axis, label in
            {"workload": "w", "optimizer": "adam", "layer_lr": "uniform", "schedule": "constant"}.items()}  # fmt: skip
    return Run(
        **axes, lr=lr, batch_size=32, accumulate=1, precision="fp32", steps=60, eval_every=3, target=0.8, seed=seed
    )


def values(seed=0, lr=1e-2, **changes):
    outcome = replace(synthetic.train(a_run(seed, lr)), **changes)
    [found] = table_of([row(a_run(seed, lr), outcome)]).to_pandas().to_dict("records")
    return found | {"whole": outcome.step_loss}


def learning(curve):
    """The columns of a run with these training curves."""
    curve = np.asarray(curve, np.float32)
    return curves.summary(curve) | {"whole": curve}


def pair(recorded, found, **more):
    return Pair("cell", recorded, found, higher_is_better=True, **({"examples": (300, 300)} | more))


def noisy(run, start, size, rng):
    """A training that parts at a step: everything from there on is off by about ``size``, up or down; its end likewise."""

    def factor():
        return 1 + size * rng.choice([-1, 1]) * rng.uniform(0.8, 1.2)

    def off(name, every):
        return np.where(np.arange(len(run[name])) * every >= start, run[name] * factor(), run[name]).astype(np.float32)

    curves = {name: off(name, 3) for name in ("val_loss", "val_metric")}
    return (
        run
        | learning(off("whole", 1))
        | curves
        | {name: run[name] * factor() for name in ("train_loss", "test_loss", "test_metric")}
    )


def verdict_of(p):
    return worst([m.verdict for m in judge([p], {p.key: compare_runs(p)})[0][p.key].values()])


class TestOneRun:
    def test_itself_is_equal_to_the_bit_in_everything(self):
        found = compare_runs(pair(values(), values()))
        assert list(found) == list(MEASURES)
        assert {m.verdict for m in found.values()} == {BITWISE}

    def test_a_diverged_run_is_itself_too(self):
        assert {m.verdict for m in compare_runs(pair(values(lr=1.0), values(lr=1.0))).values()} == {BITWISE}

    @pytest.mark.parametrize("name", ["test_metric", "test_loss", "train_loss"])
    def test_an_edited_end_is_different(self, name):
        one = values()
        found = compare_runs(pair(one | {name: one[name] * 1.001}, one))
        assert found[name].verdict == DIFFERENT
        assert {m.verdict for n, m in found.items() if n != name} == {BITWISE}

    @pytest.mark.parametrize("name", ["val_metric", "val_loss"])
    @pytest.mark.parametrize("at", [0, 7, -1])
    def test_one_edited_evaluation_is_different(self, name, at):
        one = values()
        curve = one[name].copy()
        curve[at] *= np.float32(1.001)
        assert compare_runs(pair(one | {name: curve}, one))[name].verdict == DIFFERENT

    def test_an_edited_status_lr_or_number_of_steps_is_different(self):
        one = values()
        for change in ({"status": "missed"}, {"status": "diverged", "diverged_at": 7.0}, {"group_lr": [[0.5]] * len(one["group_lr"])},
                       {"groups": ["other"]}, {"val_loss": one["val_loss"][:-1]}):  # fmt: skip
            assert DIFFERENT in {m.verdict for m in compare_runs(pair(one | change, one)).values()}, change

    def test_a_record_that_ends_where_its_training_does_not_is_different(self):
        one = values()
        found = compare_runs(pair(one | learning(one["whole"][:-5]), one, goes_on=True))
        assert (found["step_loss"].verdict, found["step_loss"].why) == (
            DIFFERENT,
            "the same to the bit for 55 steps, where the record ends and training does not",
        )

    def test_a_curve_of_ones_own_making_is_different_from_the_first_step(self):
        one = values()
        found = compare_runs(pair(one | learning(one["whole"] * np.float32(0.9)), one))
        assert found["step_loss"].verdict == DIFFERENT
        assert "first step" in found["step_loss"].why

    def test_rounding_is_within_tolerance(self):
        one = values()
        rng = np.random.default_rng(0)
        curves = {
            n: (one[n] * (1 + 1e-6 * rng.normal(size=len(one[n])))).astype(np.float32) for n in ("whole", "val_loss")
        }
        found = compare_runs(pair(one, one | learning(curves["whole"]) | {"val_loss": curves["val_loss"]}))
        assert (found["step_loss"].verdict, found["val_loss"].verdict) == (TOLERANCE, TOLERANCE)

    @pytest.mark.parametrize(("flips", "verdict"), [(3, TOLERANCE), (4, DIFFERENT)])
    def test_while_the_losses_stay_together_three_examples_of_300_may_change_its_class(self, flips, verdict):
        one = values()
        curves = learning(one["whole"] * (1 + 1e-6)) | {"val_metric": one["val_metric"] + np.float32(flips / 300)}
        assert compare_runs(pair(one, one | curves))["val_metric"].verdict == verdict

    def test_what_comes_before_the_parting_is_held(self):
        one = values()
        two = one | learning(np.where(np.arange(60) >= 30, one["whole"] * 1.01, one["whole"]))
        early, late = one["val_loss"].copy(), one["val_loss"].copy()
        early[3] *= 1.02
        late[-1] *= 1.02
        assert compare_runs(pair(one | {"val_loss": early}, two))["val_loss"].verdict == DIFFERENT
        assert compare_runs(pair(one | {"val_loss": late}, two))["val_loss"].verdict == PARTED

    def test_computed_alike_there_is_no_parting(self):
        one = values()
        two = noisy(one, 20, 0.01, np.random.default_rng(0))
        assert verdict_of(pair(one, two)) == UNDECIDED
        assert verdict_of(pair(one, two, alike=True)) == DIFFERENT

    def test_lrs_may_part_only_if_they_depend_on_the_losses(self):
        one = values()
        two = noisy(one, 20, 0.01, np.random.default_rng(0)) | {"group_lr": [[0.5]] * len(one["group_lr"])}
        assert compare_runs(pair(one, two))["lrs"].verdict == DIFFERENT
        assert compare_runs(pair(one, two, closed_loop=True))["lrs"].verdict == PARTED


class TestPieces:
    @given(st.lists(st.floats(width=32), max_size=8))
    def test_an_array_is_itself_and_no_other(self, numbers):
        a = np.array(numbers, np.float32)
        assert same_bits(a, a.copy())
        assert not same_bits(a, np.append(a, np.float32(1)))
        assert parting(learning(a), learning(a)) is None
        if len(a) and np.isfinite(a[-1]):
            b = a.copy()
            b[-1] = np.nextafter(b[-1], np.float32(-np.inf if b[-1] > 0 else np.inf))
            assert not same_bits(a, b)

    @given(st.integers(1, 60), st.floats(2 * TRAJECTORY, 1.0))
    def test_the_parting_is_between_the_kept_steps_around_the_first_beyond_the_tolerance(self, step, size):
        one = np.full(60, 2.0, np.float32)
        two = one.copy()
        two[step - 1 :] *= 1 + size
        kept = [0, *curves.kept_steps(60).tolist()]
        found = parting(learning(one), learning(two))
        assert (found.after, found.by) == (max(k for k in kept if k < step), min(k for k in kept if k >= step))

    def test_losses_that_come_together_again_at_the_very_end_are_told_by_their_late_mean(self):
        one = np.full(200, 2.0, np.float32)
        two = one.copy()
        two[185:195] = 3.0
        assert parting(learning(one), learning(two)) == Parting(181, 200)

    def test_one_that_ends_earlier_parts_there(self):
        assert parting(learning(np.ones(60)), learning(np.ones(40))) == Parting(32, 41)
        assert str(Parting(40, 41)) == "the training losses part at step 41"
        assert str(Parting(32, 41)) == "the training losses part between steps 32 and 41"

    def test_relative_differences(self):
        np.testing.assert_allclose(relative([2.0, 1.0, 0.0], [1.0, 1.0, 1e-9]), [0.5, 0.0, 1e-9 / 2e-6])
        assert relative([1.0, math.nan, math.inf], [math.nan, math.nan, math.inf]).tolist() == [math.inf, 0.0, 0.0]

    def test_the_worst_counts(self):
        assert worst([BITWISE, CONSISTENT, TOLERANCE]) == CONSISTENT
        assert worst([DIFFERENT, UNDECIDED]) == DIFFERENT


class TestOverSeeds:
    def cell(self, shift=0.0, size=0.01, seeds=10, others=True):
        rng = np.random.default_rng(1)
        runs = [values(seed) for seed in range(seeds)]
        pairs = []
        for run in runs:
            found = noisy(run, 20, size, rng)
            for name in ("val_metric", "test_metric"):
                found[name] = found[name] + np.float32(shift) * (
                    np.arange(len(found[name])) >= 7 if name == "val_metric" else 1
                )
            rest = tuple(other for other in runs if other is not run) if others else ()
            pairs.append(pair(run, found, others=rest))
        return pairs, {p.key: compare_runs(p) for p in pairs}

    def test_small_differences_of_both_signs_are_consistent(self):
        pairs, compared = self.cell()
        judged, tests = judge(pairs, compared)
        assert {m.verdict for run in judged.values() for m in run.values()} <= {BITWISE, TOLERANCE, CONSISTENT}
        assert {t.seeds for t in tests} == {10}

    def test_a_shift_of_all_seeds_is_different(self):
        pairs, compared = self.cell(shift=0.2)
        judged, _ = judge(pairs, compared)
        assert {run["val_metric"].verdict for run in judged.values()} == {DIFFERENT}
        assert {run["val_loss"].verdict for run in judged.values()} <= {TOLERANCE, CONSISTENT}

    def test_one_seed_says_little(self):
        pairs, compared = self.cell(size=0.05, seeds=1)
        assert {t.verdict for t in judge(pairs, compared)[1]} == {UNDECIDED}

    @pytest.mark.parametrize(("name", "by"), [("test_metric", 0.3), ("test_loss", -0.5), ("train_loss", -0.5)])
    def test_one_edited_record_is_suspicious_and_its_cell_is_judged_by_all_its_seeds(self, name, by):
        pairs, compared = self.cell()
        assert suspicious(pairs) == {}
        run = pairs[4]
        edited = replace(run, recorded=dict(run.recorded) | {name: run.recorded[name] + by})
        pairs[4] = edited
        assert list(suspicious(pairs)) == [run.key]
        judged, _ = judge(pairs, compared | {run.key: compare_runs(edited)})
        assert DIFFERENT not in {measures[name].verdict for measures in judged.values()}

    def test_a_seed_that_is_the_only_one_to_learn_is_not_suspicious_where_its_re_run_learns_too(self):
        pairs, _ = self.cell()
        run = pairs[4]
        edited = replace(run, recorded=dict(run.recorded) | {"test_metric": run.recorded["test_metric"] + 0.5})
        assert suspicious([edited])
        assert not suspicious(
            [replace(edited, found=dict(run.found) | {"test_metric": run.found["test_metric"] + 0.5})]
        )

    def test_the_p_values_are_those_of_scipy(self):
        pairs, compared = self.cell()
        [test] = [t for t in judge(pairs, compared)[1] if t.measure == "test_loss"]
        d = np.array([p.found["test_loss"] - p.recorded["test_loss"] for p in pairs])
        assert test.difference == pytest.approx(d.mean())
        both = [
            stats.ttest_1samp(d, -test.margin, alternative="greater"),
            stats.ttest_1samp(d, test.margin, alternative="less"),
        ]
        assert test.p_equivalent == pytest.approx(max(t.pvalue for t in both), rel=1e-6)

    def test_holm_is_over_the_cells_of_a_measure_and_not_over_measures(self):
        alone, _ = self.cell()
        twice = alone + [replace(p, cell="other", recorded=dict(p.recorded) | {"key": f"{p.key}-2"}) for p in alone]
        one, two = (
            {(t.cell, t.measure): t for t in judge(pairs, {p.key: compare_runs(p) for p in pairs})[1]}
            for pairs in (alone, twice)
        )
        assert len({measure for _, measure in one}) > 2
        for (_, measure), test in one.items():
            here, there = two["cell", measure], two["other", measure]
            for name in ("p_equivalent", "p_different"):
                assert getattr(here, name) == getattr(there, name) == pytest.approx(min(1.0, 2 * getattr(test, name)))

    @settings(max_examples=10)
    @given(st.permutations(range(6)))
    def test_order_changes_nothing(self, order):
        pairs, compared = self.cell(seeds=6)
        assert judge([pairs[i] for i in order], compared) == judge(pairs, compared)

    def test_a_status_that_changed_is_not_consistent_because_the_metrics_are(self):
        pairs, _ = self.cell()
        pairs = [replace(p, found=dict(p.found) | {"status": "missed"}) for p in pairs]
        judged, _ = judge(pairs, {p.key: compare_runs(p) for p in pairs})
        assert {run["status"].verdict for run in judged.values()} == {UNDECIDED}
        assert {run["val_metric"].verdict for run in judged.values()} <= {TOLERANCE, CONSISTENT}
        gone = [replace(p, found=dict(p.found) | {"status": "diverged", "diverged_at": 59.0}) for p in pairs]
        judged, _ = judge(gone, {p.key: compare_runs(p) for p in gone})
        assert {run["status"].verdict for run in judged.values()} == {UNDECIDED}

    def test_a_status_shares_the_verdict_of_metrics_that_differ(self):
        pairs, _ = self.cell(shift=-0.4)
        pairs = [replace(p, found=dict(p.found) | {"status": "missed"}) for p in pairs]
        judged, _ = judge(pairs, {p.key: compare_runs(p) for p in pairs})
        assert {run["status"].verdict for run in judged.values()} == {DIFFERENT}

    @pytest.mark.parametrize("side", [0, 1])
    def test_a_run_that_reached_on_one_side_only_is_undecided_however_the_others_agree(self, side):
        """Nine seeds reach at the same step in both trainings, so that their test is certain of it; the tenth only in one."""
        pairs, _ = self.cell(size=0.003)
        run = pairs[4]
        never = {"val_metric": np.minimum(run.found["val_metric"], np.float32(0.79)), "status": "missed"}
        sides = [dict(run.recorded), dict(run.found)]
        sides[side] |= never
        pairs[4] = replace(run, recorded=sides[0], found=sides[1])
        pairs = [
            p if p.key == run.key else replace(p, found=dict(p.found) | {"val_metric": p.recorded["val_metric"]})
            for p in pairs
        ]
        judged, tests = judge(pairs, {p.key: compare_runs(p) for p in pairs})
        [test] = [t for t in tests if t.measure == "steps_to_target"]
        assert (test.seeds, test.verdict) == (9, CONSISTENT)
        assert judged[run.key]["steps_to_target"].verdict == UNDECIDED
        assert "not in the test over seeds" in judged[run.key]["steps_to_target"].why
        assert judged[run.key]["status"].verdict == UNDECIDED

    @pytest.mark.parametrize("side", ["recorded", "found"])
    def test_a_run_that_diverged_on_one_side_only_is_consistent_in_nothing(self, side):
        pairs, _ = self.cell()
        pairs[4] = replace(
            pairs[4], **{side: dict(getattr(pairs[4], side)) | {"status": "diverged", "diverged_at": 59.0}}
        )
        judged, tests = judge(pairs, {p.key: compare_runs(p) for p in pairs})
        assert CONSISTENT not in {m.verdict for m in judged[pairs[4].key].values()}
        assert judged[pairs[4].key]["test_loss"].verdict == UNDECIDED
        assert CONSISTENT in {m.verdict for m in judged[pairs[0].key].values()}
        assert {t.seeds for t in tests if t.measure == "test_loss"} == {9}


class TestSuspicious:
    def test_a_record_that_is_too_fast_or_too_good_is_listed(self):
        one = values()
        fast, good = one["val_metric"].copy(), one["val_metric"].copy()
        fast[1:] = np.maximum(fast[1:], 0.81)
        good[-1] = 0.99
        assert "at step 3 on record" in suspicious([pair(one | {"val_metric": fast}, one)])[one["key"]]
        assert "ends at 0.99 on record" in suspicious([pair(one | {"val_metric": good}, one)])[one["key"]]

    def test_rounding_is_not(self):
        one = values()
        overfit = one | {"val_loss": np.concatenate([one["val_loss"][:-1], one["val_loss"][:1]]), "train_loss": 0.1}
        assert suspicious([pair(overfit, overfit | {"train_loss": 0.1000001})]) == {}
        easy = one | {"target": float(one["val_metric"][0])}
        less = np.append(one["val_metric"][:-1], one["val_metric"][-1] - np.float32(1e-4))
        assert suspicious([pair(easy, easy | {"val_metric": less})]) == {}

    def test_the_same_and_the_worse_are_not(self):
        one = values()
        assert suspicious([pair(one, one), pair(one | {"val_metric": one["val_metric"] * np.float32(0.5)}, one)]) == {}

    def test_for_a_metric_where_lower_is_better(self):
        one = values()
        loss = {"val_metric": one["val_loss"], "target": 0.5}
        good = one | loss | {"val_metric": np.where(np.arange(21) == 20, 0.0, one["val_loss"]).astype(np.float32)}
        found = suspicious([replace(pair(good, one | loss, examples=(0, 0)), higher_is_better=False)])
        assert "ends at 0 on record" in found[one["key"]]
