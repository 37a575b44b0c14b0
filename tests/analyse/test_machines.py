"""Imaginary machines whose differences are known."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from pandas.testing import assert_frame_equal
from synthetic import crash, delayed, fake, step_cost, step_costs, study

from lrbench.analyse import (
    at_best_lr,
    case_costs,
    cost_ratios,
    money,
    parity,
    per_run,
    rank_changes,
    responses,
    shared_runs,
    side_by_side,
    slowest,
    times_on,
)
from lrbench.config.cost import Costs

ONE = {"workloads": ["digits_mlp"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def three(folder):
    """``b`` is four times as fast as ``a``, and on it adam is faster than sgd; ``c`` is the slowest and needs 9 steps more with rmsprop."""
    a = study(folder / "a", machine=fake("a"), costs=step_costs(1e-3, workloads=["digits_mlp"]), **ONE)
    b = study(
        folder / "b",
        machine=fake("b"),
        costs=step_costs(2.5e-4, workloads=["digits_mlp"], slowness={"adam": 0.7}),
        **ONE,
    )
    c = study(
        folder / "c",
        machine=fake("c"),
        costs=step_costs(4e-3, workloads=["digits_mlp"]),
        change=delayed(9, "rmsprop"),
        **ONE,
    )
    return side_by_side([b, c, a])


def best_on(studies, reference="fake-gpu-a"):
    runs = {name: per_run(made) for name, made in studies.items()}
    return {name: at_best_lr(table, responses(runs[reference])) for name, table in runs.items()}


def without_runs(made):
    return replace(made, runs=made.runs[:0])


class TestSideBySide:
    def test_machines_come_in_the_order_of_their_names(self, three):
        for order in itertools.permutations(three.values()):
            assert list(side_by_side(order)) == ["fake-gpu-a", "fake-gpu-b", "fake-gpu-c"]

    def test_folders_tell_apart_what_has_one_slug(self, three):
        twice = [three["fake-gpu-a"], replace(three["fake-gpu-b"], machine=three["fake-gpu-a"].machine)]
        assert list(side_by_side(twice)) == ["a", "b"]

    def test_only_runs_that_all_trained_are_shared(self, three, tmp_path):
        some = study(
            tmp_path, seeds=[0, 1, 2], change=lambda run, out: crash(run, out) if run.seed == 2 else out, **ONE
        )
        shared = shared_runs(three | {"some": some, "none": without_runs(some)})
        assert {len(made.runs) for name, made in shared.items() if name != "none"} == {2 * 3 * 2 * 5}
        assert shared["none"].runs.empty
        assert len({tuple(sorted(made.runs.key)) for name, made in shared.items() if name != "none"}) == 1


class TestCosts:
    def test_the_speed_up_is_the_geometric_mean_over_shared_cases(self, three):
        found = cost_ratios(three, "fake-gpu-a").set_index("machine")
        assert set(found.index) == {"fake-gpu-b", "fake-gpu-c"}
        assert found.ratio["fake-gpu-c"] == pytest.approx(0.25)
        assert found.loc["fake-gpu-c", ["low", "high"]].tolist() == pytest.approx([0.25, 0.25])
        assert found.ratio["fake-gpu-b"] == pytest.approx((4.0**6 * 4.0 * 1.5 / 0.7) ** (1 / 7))
        assert found.low["fake-gpu-b"] < found.ratio["fake-gpu-b"] < found.high["fake-gpu-b"]
        assert set(found.cases) == {7}

    def test_joules_are_compared_alike(self, three):
        assert cost_ratios(three, "fake-gpu-a", "joules").set_index("machine").ratio["fake-gpu-c"] == pytest.approx(
            0.25
        )

    def test_cases_that_one_machine_alone_measured_do_not_count(self, three):
        more = three["fake-gpu-c"].costs
        alone = replace(
            three["fake-gpu-c"],
            costs=replace(more, costs=(*more.costs, step_cost("digits_mlp", "adam", 9.0, precision="bf16"))),
        )
        assert_frame_equal(cost_ratios(three | {"fake-gpu-c": alone}, "fake-gpu-a"), cost_ratios(three, "fake-gpu-a"))

    def test_the_slowest_is_the_baseline(self, three):
        assert slowest(three) == "fake-gpu-c"
        assert slowest({name: three[name] for name in ("fake-gpu-a", "fake-gpu-b")}) == "fake-gpu-a"
        assert slowest({"none": replace(three["fake-gpu-a"], costs=Costs())}) is None

    def test_of_several_devices_the_median_counts(self, three):
        costs = three["fake-gpu-a"].costs.costs
        several = [
            replace(c, device=f"fake:{i}", seconds=c.seconds and i * c.seconds) for c in costs for i in (1, 2, 9)
        ]
        found = case_costs(replace(three["fake-gpu-a"], costs=Costs(tuple(several))))
        assert (found / case_costs(three["fake-gpu-a"])).to_numpy() == pytest.approx(2.0)


class TestRanking:
    def test_a_flip_is_found_with_both_values(self, three):
        changes = rank_changes(times_on(three, best_on(three)))
        between = changes[(changes.machine == "fake-gpu-a") & (changes.other_machine == "fake-gpu-b")]
        pair = between[
            (between.faster == "sgd(momentum=0.9) / uniform / cosine") & (between.slower == "adam / uniform / cosine")
        ].iloc[0]
        assert pair.slower_seconds / pair.faster_seconds == pytest.approx(1.5)
        assert pair.other_faster_seconds / pair.other_slower_seconds == pytest.approx(1 / 0.7)
        assert pair.apart_on == "both"

    def test_every_pair_is_one_whose_medians_flip_and_whose_intervals_are_apart_somewhere(self, three):
        times = times_on(three, best_on(three))
        known = {(t.machine, t.strategy): t for t in times.itertuples()}
        changes = list(rank_changes(times).itertuples())
        assert changes
        for c in changes:
            i, j = known[c.machine, c.faster], known[c.machine, c.slower]
            k, m = known[c.other_machine, c.faster], known[c.other_machine, c.slower]
            assert i.seconds < j.seconds
            assert k.seconds > m.seconds
            assert {"both": 2, c.machine: 1, c.other_machine: 1}[c.apart_on] == (i.seconds_high < j.seconds_low) + (
                m.seconds_high < k.seconds_low
            )

    def test_what_the_intervals_cannot_tell_is_no_change(self, three):
        wide = times_on(three, best_on(three)).assign(seconds_low=0.0, seconds_high=math.inf)
        assert rank_changes(wide).empty

    def test_machines_that_differ_by_a_factor_rank_alike(self, three):
        two = {name: three[name] for name in ("fake-gpu-a", "fake-gpu-c")}
        plain = {name: runs[runs.optimizer != "rmsprop"] for name, runs in best_on(two).items()}
        assert rank_changes(times_on(two, plain)).empty


class TestParity:
    def test_a_machine_that_needs_other_steps_is_flagged(self, three):
        found = parity(best_on(three), "fake-gpu-a")
        verdicts = found.groupby(["machine", "optimizer"]).verdict.unique().map(list).to_dict()
        assert verdicts.pop(("fake-gpu-c", "rmsprop")) == ["different"]
        assert set(map(tuple, verdicts.values())) == {("equivalent",)}
        assert len(found) == 2 * 3 * 2

    def test_the_ratio_is_that_of_the_steps(self, three):
        found = parity(best_on(three), "fake-gpu-a")
        late = found[
            (found.machine == "fake-gpu-c") & (found.optimizer == "rmsprop") & (found.schedule == "cosine")
        ].iloc[0]
        assert late.reference_steps == 15
        assert late.steps == 24
        assert late.ratio == pytest.approx(24 / 15)

    def test_noise_within_the_margin_is_equivalent_and_beyond_it_undecided(self, three):
        best = best_on(three)
        rng = np.random.default_rng(0)
        for spread, verdict in ((0.01, "equivalent"), (0.4, "undecided")):
            noisy = best["fake-gpu-a"].assign(
                steps_to_target=best["fake-gpu-a"].steps_to_target * np.exp(rng.normal(0, spread, 30))
            )
            assert set(parity({"a": best["fake-gpu-a"], "b": noisy}, "a").verdict) == {verdict}

    @pytest.mark.parametrize(("seeds", "verdict"), [(1, "undecided"), (5, "different")])
    def test_seeds_that_reach_the_target_on_one_machine_only_are_at_least_the_rest_of_the_budget_apart(
        self, three, seeds, verdict
    ):
        best = best_on(three)["fake-gpu-a"]
        lost = best.assign(
            steps_to_target=best.steps_to_target.where((best.seed >= seeds) | (best.optimizer != "adam"))
        )
        for pair in ({"a": best, "b": lost}, {"a": lost, "b": best}):
            found = parity(pair, "a").set_index(["optimizer", "schedule"])
            assert found.verdict["adam"].tolist() == [verdict] * 2
            assert found.one_only["adam"].tolist() == [seeds] * 2
            assert set(found.verdict["rmsprop"]) == {"equivalent"}
        adam = best[best.optimizer == "adam"]
        apart = np.log((adam.budget + 1) / adam.steps_to_target).where(adam.seed < seeds, 0.0)
        assert np.log(1 / found.ratio["adam"]).tolist() == pytest.approx(apart.groupby(adam.schedule).mean().tolist())

    def test_what_is_never_reached_is_undecided(self, three):
        best = best_on(three)["fake-gpu-a"].assign(steps_to_target=np.nan)
        found = parity({"a": best, "b": best}, "a")
        assert set(found.verdict) == {"undecided"}
        assert (found.neither == 5).all()

    def test_one_seed_decides_nothing(self, three):
        best = best_on(three)["fake-gpu-a"]
        assert set(parity({"a": best[best.seed == 0], "b": best[best.seed == 0]}, "a").verdict) == {"undecided"}

    def test_verdicts_are_the_same_the_other_way_round(self, three):
        best = best_on({name: three[name] for name in ("fake-gpu-a", "fake-gpu-c")})
        one, other = (parity(best, name).verdict.tolist() for name in best)
        assert one == other

    def test_the_order_of_runs_changes_nothing(self, three):
        best = best_on(three)
        turned = {name: runs.sample(frac=1.0, random_state=1) for name, runs in best.items()}
        assert_frame_equal(parity(best, "fake-gpu-a"), parity(turned, "fake-gpu-a"), check_exact=True)
        assert_frame_equal(times_on(three, best), times_on(three, turned), check_exact=True)


def test_money_is_time_at_a_price():
    assert money(1800.0, 2.5) == pytest.approx(1.25)
    assert math.isinf(money(math.inf, 2.5))
