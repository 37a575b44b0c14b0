"""Two studies whose difference is known."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scipy import stats
from synthetic import MACHINE, STEPS, crash, delayed, diverge, fake, step_costs, study

from lrbench.analyse import STRATEGY
from lrbench.analyse.changes import (
    BETTER,
    BOTH,
    CRASHED,
    CRASHES,
    DIVERGENCE,
    DOUBTFUL,
    GONE,
    MENDED,
    NEW,
    STEP_COST,
    TIED,
    UNCHANGED,
    VALIDATION,
    WORSE,
    changes,
)
from lrbench.analyse.changes import STEPS as TO_TARGET
from lrbench.analyse.pairs import Pair, match
from lrbench.config.faults import BadInput

ONE = {"workloads": ["digits_mlp"], "schedules": ["constant"]}
OPPOSITE = {BETTER: WORSE, WORSE: BETTER, CRASHES: MENDED, MENDED: CRASHES, NEW: GONE, GONE: NEW}


def shifted(by, optimizer="adam", spread=1e-4, salt=0):
    """Validation metrics of an optimizer ``by`` higher after the first step, give or take ``spread`` by run."""

    def change(run, outcome):
        if optimizer not in ("*", run.optimizer.label) or len(outcome.val_metric) < 2:
            return outcome
        moved = by + spread * np.random.default_rng([int(run.key, 16), salt]).normal()
        return replace(
            outcome, val_metric=outcome.val_metric + np.float32(moved) * (outcome.eval_step > 0).astype(np.float32)
        )

    return change


def only(test, then):
    """A change of the runs that pass a test."""
    return lambda run, outcome: then(run, outcome) if test(run) else outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("changes")


@pytest.fixture(scope="module")
def base(folder):
    return study(folder / "base", costs=step_costs(**ONE), **ONE)


@pytest.fixture
def against(base, tmp_path):
    def compare(**more):
        return changes(Pair(base, study(tmp_path / "head", **({"costs": base.costs} | ONE | more))))

    return compare


def verdicts(found, measure):
    part = found.measures[found.measures.measure == measure]
    return dict(zip(part.optimizer, part.verdict, strict=True))


def row(found, measure, optimizer="adam"):
    [one] = found.measures[(found.measures.measure == measure) & (found.measures.optimizer == optimizer)].itertuples()
    return one


class TestKnownAnswers:
    def test_the_same_results_are_unchanged(self, against):
        found = against()
        assert set(found.measures.verdict) == set(found.cells.verdict) == {UNCHANGED}
        assert (found.strategies.identical == found.strategies.base_runs).all()

    @pytest.mark.parametrize(("by", "verdict"), [(-0.05, WORSE), (0.05, BETTER), (-0.0005, TIED)])
    def test_one_optimizer_by_a_given_amount(self, by, verdict, against):
        found = against(change=shifted(by))
        assert verdicts(found, VALIDATION) == {"adam": verdict, "rmsprop": UNCHANGED, "sgd(momentum=0.9)": UNCHANGED}
        assert row(found, VALIDATION).difference == pytest.approx(by, abs=2e-4)
        assert found.cells[found.cells.verdict.isin([WORSE, BETTER])].optimizer.isin(["adam"]).all()

    def test_what_lies_within_noise_is_not_separated(self, against):
        found = against(change=shifted(0.0, "*", spread=0.02))
        assert set(found.measures.verdict) <= {TIED, UNCHANGED}
        assert set(verdicts(found, VALIDATION).values()) == {TIED}

    def test_of_a_loss_less_is_better(self, folder):
        loss = {"higher_is_better": False, "target": 0.5} | ONE
        pair = Pair(study(folder / "loss", **loss), study(folder / "less", change=shifted(-0.1), **loss))
        found = changes(pair)
        assert verdicts(found, VALIDATION)["adam"] == BETTER
        assert row(found, VALIDATION).difference == pytest.approx(-0.1, abs=2e-4)

    def test_later_evaluations_are_steps_more(self, against):
        found = row(against(change=delayed(9, "adam")), TO_TARGET)
        assert (found.difference, found.low, found.high, found.verdict) == (9.0, 9.0, 9.0, WORSE)

    def test_less_than_an_evaluation_interval_is_not_seen(self, against):
        assert row(against(change=delayed(3, "adam")), TO_TARGET).verdict == TIED

    def test_a_target_never_met_counts_with_the_budget(self, against):
        found = row(against(change=shifted(-0.4)), TO_TARGET)
        assert (found.head, found.head_hits, found.base_hits, found.verdict) == (STEPS, 0, 5, WORSE)

    def test_divergence_at_one_lr_more(self, against):
        found = against(change=only(lambda run: run.lr == 1e-4 and run.optimizer.label == "adam", diverge))
        told = row(found, DIVERGENCE)
        assert (told.base, told.head) == pytest.approx((0.2, 0.4))
        assert (told.base_hits, told.head_hits, told.verdict) == (5, 10, WORSE)

    def test_divergence_of_one_seed_is_not_separated(self, against):
        found = against(
            change=only(lambda run: run.lr == 1e-4 and run.optimizer.label == "adam" and run.seed == 0, diverge)
        )
        assert row(found, DIVERGENCE).verdict == TIED

    def test_divergence_everywhere_is_the_untrained_model(self, against):
        found = against(change=only(lambda run: run.optimizer.label == "adam", diverge))
        assert (row(found, VALIDATION).verdict, row(found, DIVERGENCE).head) == (WORSE, 1.0)
        [lrs] = found.strategies[found.strategies.optimizer == "adam"].itertuples()
        assert lrs.base_lr == 1e-2
        assert math.isnan(lrs.head_lr)

    def test_the_best_lr_that_moved(self, against):
        found = against(change=only(lambda run: run.lr == 1e-3, shifted(0.3)))
        [adam] = found.strategies[found.strategies.optimizer == "adam"].itertuples()
        assert (adam.base_lr, adam.head_lr) == (1e-2, 1e-3)
        assert row(found, VALIDATION).verdict == BETTER


class TestPresence:
    def test_new_and_gone(self, against):
        found = against(
            optimizers=["adam", "sgd(momentum=0.9)", "adamw(weight_decay=0.1)"], skipped=[("rmsprop", "cannot be")]
        )
        told = {(s.optimizer, s.state, s.reason) for s in found.strategies.itertuples() if s.state != BOTH}
        assert told == {("adamw(weight_decay=0.1)", NEW, ""), ("rmsprop", GONE, "cannot be")}
        assert "rmsprop" not in verdicts(found, VALIDATION)

    def test_more_seeds_leave_the_shared_ones_unchanged(self, against):
        found = against(seeds=range(10))
        assert set(found.measures.verdict) == {UNCHANGED}

    def test_other_seeds_are_compared_as_samples(self, against):
        found = against(seeds=range(100, 105), change=shifted(-0.2))
        assert not found.measures[found.measures.measure == VALIDATION].paired.any()
        assert verdicts(found, VALIDATION) == {
            "adam": WORSE,
            "rmsprop": TIED,
            "sgd(momentum=0.9)": TIED,
        }

    def test_crashes_are_counted_and_the_rest_is_compared(self, against):
        found = against(change=only(lambda run: run.optimizer.label == "adam" and run.seed == 0, crash))
        told = row(found, CRASHED)
        assert (told.base_hits, told.head_hits, told.head_runs, told.verdict) == (0, 5, 25, CRASHES)
        assert (row(found, VALIDATION).verdict, row(found, VALIDATION).seeds) == (UNCHANGED, 4)

    def test_as_large_a_share_of_more_runs_crashes_no_more(self, folder):
        """Of the seeds that both have, one crashes on both sides; five more of the other side crash too."""
        fails = only(lambda run: run.optimizer.label == "adam" and run.seed % 5 == 0, crash)
        base = study(folder / "one of five", change=fails, **ONE)
        found = changes(Pair(base, study(folder / "two of ten", seeds=range(10), change=fails, **ONE)))
        assert CRASHED not in set(found.measures.measure)
        other = changes(Pair(base, study(folder / "others", seeds=range(100, 110), change=fails, **ONE)))
        assert CRASHED not in set(other.measures.measure)

    def test_crashes_at_an_lr_or_a_seed_that_is_new_count(self, folder):
        fails = only(lambda run: run.optimizer.label == "adam" and (run.lr == 1.0 or run.seed > 4), crash)
        base = study(folder / "fewer lrs", lrs=[1e-3, 1e-2], **ONE)
        for more in ({}, {"lrs": [1e-3, 1e-2], "seeds": range(8)}):
            head = study(folder / f"more {sorted(more)}", change=fails, **ONE | more)
            one, other = changes(Pair(base, head)), changes(Pair(head, base))
            assert (row(one, CRASHED).verdict, row(other, CRASHED).verdict) == (CRASHES, MENDED)

    @pytest.mark.parametrize(("shared", "paired"), [(2, False), (3, True)])
    def test_divergence_is_paired_from_three_shared_seeds_on(self, shared, paired, against):
        found = against(
            seeds=range(5 - shared, 10 - shared), change=only(lambda run: run.optimizer.label == "adam", diverge)
        )
        told = row(found, DIVERGENCE)
        assert (bool(told.paired), told.seeds) == (paired, shared if paired else 5)

    def test_a_strategy_whose_runs_all_crash(self, against):
        found = against(change=only(lambda run: run.optimizer.label == "adam", crash))
        assert row(found, CRASHED).head_hits == 25
        assert "adam" not in verdicts(found, VALIDATION)

    def test_another_batch_size_beside_the_first_is_new_alone(self, against):
        found = against(batch_sizes=[32, 64])
        assert dict(found.strategies.groupby(["workload", "state"]).size()) == {
            ("digits_mlp [batch_size=32]", BOTH): 3,
            ("digits_mlp [batch_size=64]", NEW): 3,
        }
        assert set(found.measures[found.measures.measure != STEP_COST].verdict) == {UNCHANGED}

    def test_another_target_is_another_workload(self, against):
        assert set(against(target=0.7).strategies.state) == {NEW, GONE}

    def test_nothing_trained_yet(self, base):
        found = changes(Pair(base, replace(base, runs=base.runs[:0])))
        assert set(found.strategies.state) == {GONE}
        assert set(found.measures.measure) == {STEP_COST}


class TestStepCost:
    @pytest.mark.parametrize(("factor", "verdict"), [(1.5, WORSE), (0.5, BETTER), (1.09, TIED), (1.0, UNCHANGED)])
    def test_it_is_told_from_a_tenth_on(self, factor, verdict, against):
        found = against(costs=step_costs(factor * 1e-3, **ONE))
        assert set(verdicts(found, STEP_COST).values()) == {verdict}
        assert row(found, STEP_COST).head == pytest.approx(factor * 1.5e-3)

    def test_quartiles_that_overlap(self, against):
        wide = {"seconds_low": 1e-4, "seconds_high": 1.0}
        found = against(costs=step_costs(2e-3, **ONE, **wide))
        assert set(verdicts(found, STEP_COST).values()) == {TIED}

    def test_a_doubtful_measurement_does_not_count(self, against):
        found = against(costs=step_costs(2e-3, **ONE, noise=("busy",)))
        assert set(verdicts(found, STEP_COST).values()) == {DOUBTFUL}

    def test_another_machine_has_other_costs(self, base, tmp_path):
        head = study(tmp_path, machine=fake("a"), costs=step_costs(9.0), **ONE)
        assert STEP_COST not in set(changes(Pair(base, head)).measures.measure)


CHANGED = {
    "worse": {"change": shifted(-0.05)},
    "noisy": {"change": shifted(0.0, "*", spread=0.05)},
    "other seeds": {"seeds": range(3, 8), "change": shifted(0.1)},
    "crashed": {"change": only(lambda run: run.seed < 2, crash)},
    "diverged": {"change": only(lambda run: run.lr > 1e-3, diverge)},
    "optimizers": {"optimizers": ["adam", "adamw(weight_decay=0.1)"]},
    "later": {"change": delayed(6, "rmsprop"), "costs": step_costs(2e-3, **ONE)},
}


@pytest.mark.parametrize(
    "name",
    [name if name in ("worse", "later") else pytest.param(name, marks=pytest.mark.exhaustive) for name in CHANGED],
)
def test_exchanging_the_studies_exchanges_better_and_worse(name, base, tmp_path):
    head = study(tmp_path, **(ONE | CHANGED[name]))
    there, back = changes(Pair(base, head)), changes(Pair(head, base))
    for table, names in (("measures", [*STRATEGY, "measure"]), ("cells", [*STRATEGY, "lr"])):
        one, other = (getattr(found, table).set_index(names) for found in (there, back))
        assert_frame_equal(
            one[["base", "head", "p", "base_hits", "head_hits"]],
            other[["head", "base", "p", "head_hits", "base_hits"]].set_axis(
                ["base", "head", "p", "base_hits", "head_hits"], axis=1
            ),
            check_dtype=False,
        )
        assert (one.verdict.map(lambda v: OPPOSITE.get(v, v)) == other.verdict).all()
        assert np.allclose(
            one[["difference", "low", "high"]], -other[["difference", "high", "low"]].to_numpy(float), equal_nan=True
        )
    assert (there.strategies.state.map(lambda s: OPPOSITE.get(s, s)) == back.strategies.state).all()


def test_the_order_of_rows_changes_nothing(base, tmp_path):
    head = study(tmp_path, **(ONE | CHANGED["noisy"]))
    mixed = [replace(s, runs=s.runs.sample(frac=1.0, random_state=7)) for s in (base, head)]
    for one, other in zip(vars(changes(Pair(base, head))).values(), vars(changes(Pair(*mixed))).values(), strict=True):
        assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize(("workloads", "many"), [(6, 4), pytest.param(24, 8, marks=pytest.mark.exhaustive)])
def test_equal_distributions_are_rarely_told_apart(workloads, many, folder):
    """Twice so many workloads, drawn anew on each side, of shared seeds and of others.

    Anything should be claimed in 5 % of them at the most: 4 of 12 lie beyond the 99.7 % quantile of
    Binomial(12, 0.05), 8 of 48 beyond that of Binomial(48, 0.05).
    """
    assert stats.binom.cdf(many - 1, 2 * workloads, 0.05) > 0.997
    claims, names = 0, [f"w{i}" for i in range(workloads)]
    for first in (0, 100):
        base, head = (
            study(
                folder / f"null{workloads}{first}{side}", workloads=names, schedules=["constant"], lrs=[1e-2, 3e-2],
                seeds=range(first * side, first * side + 5), change=shifted(0.0, "*", spread=0.03, salt=side),
            )
            for side in (0, 1)
        )  # fmt: skip
        measures = changes(Pair(base, head)).measures
        assert (measures.measure == VALIDATION).sum() == 3 * workloads
        assert not (measures.verdict == UNCHANGED).any()
        claims += measures[measures.verdict.isin([WORSE, BETTER])].workload.nunique()
    assert claims < many


class TestPairs:
    def named(self, base, slug, matrix="synthetic", folder="f"):
        facts = base.facts | {"matrix": base.facts["matrix"] | {"name": matrix}}
        return replace(base, facts=facts, machine=MACHINE | {"slug": slug}, folder=base.folder / folder / matrix / slug)

    def test_matrix_and_machine_must_agree(self, base):
        one = [self.named(base, s, m) for s, m in (("a", "x"), ("b", "x"), ("a", "y"))]
        other = [self.named(base, s, m) for s, m in (("c", "x"), ("a", "x"), ("a", "z"))]
        found = match(one, other)
        assert [(p.head.name, p.head.machine["slug"], p.one_machine) for p in found.pairs] == [("x", "a", True)]
        assert (found.base_only, found.head_only) == ((("x", "b"), ("y", "a")), (("x", "c"), ("z", "a")))

    def test_one_machine_each_is_compared_across(self, base):
        found = match([self.named(base, "a")], [self.named(base, "b")])
        assert [p.one_machine for p in found.pairs] == [False]

    def test_several_machines_and_none_in_common(self, base):
        with pytest.raises(
            BadInput, match=r"nothing in common\. BASE has synthetic on a, synthetic on b; HEAD has synthetic on c"
        ):
            match([self.named(base, "a"), self.named(base, "b")], [self.named(base, "c")])

    def test_two_of_a_kind_are_one_too_many(self, base):
        with pytest.raises(BadInput, match=r"is matrix synthetic on a, as .* is"):
            match([self.named(base, "a"), self.named(base, "a", folder="g")], [self.named(base, "a")])

    @pytest.mark.parametrize("by", [1, -1])
    def test_the_order_of_studies_changes_nothing(self, by, base):
        several = [self.named(base, s) for s in "abc"]
        assert [p.base.machine["slug"] for p in match(several[::by], several).pairs] == ["a", "b", "c"]


def test_tables_have_their_columns_when_nothing_is_shared(base, tmp_path):
    found = changes(Pair(base, study(tmp_path, workloads=["other"], schedules=["constant"])))
    assert isinstance(found.measures, pd.DataFrame)
    assert (len(found.measures), len(found.cells)) == (0, 0)
    assert {"verdict", "p", "difference"} <= set(found.measures)
