"""Costs are settled by visits that agree; what does not settle, or cannot be measured, says why."""

from dataclasses import fields, replace

import pytest
from runs import a_run

import lrbench.execute.costs
from lrbench.config.cost import Case, StepCost
from lrbench.config.matrix import parse_matrix
from lrbench.cost import Bench, Wanted, measure, measure_study
from lrbench.cost.measure import REPEATS, VISITS, Turn, Visit, _still, doubts, settled
from lrbench.cost.study import to_time
from lrbench.device import Telemetry
from lrbench.plan import make_plan, vocabulary
from lrbench.workloads import WORKLOADS, Unavailable


def visit(seconds, noise=()):
    return Visit([seconds * f for f in (0.99, 1.0, 1.02)], 10, {}, "", None, "no counter", tuple(noise))


class TestSettled:
    def test_two_visits_that_agree_are_both_kept(self):
        assert settled([visit(1.0), visit(1.025)]) == [visit(1.0), visit(1.025)]

    def test_two_that_do_not_are_none(self):
        assert settled([visit(1.0), visit(1.06)]) == []

    def test_a_slow_spell_is_left_out_once_two_others_agree(self):
        assert [one.median for one in settled([visit(1.0), visit(1.5), visit(1.01)])] == [1.0, 1.01]

    def test_a_noisy_visit_does_not_count_even_if_it_is_the_fastest(self):
        assert [one.median for one in settled([visit(0.9, ["throttled"]), visit(1.0), visit(1.01)])] == [1.0, 1.01]

    def test_doubts_tell_the_noise_and_the_spread(self):
        assert doubts([visit(1.0, ["busy"]), visit(1.5, ["busy"])]) == ("busy", "2 visits differ by up to 50 %")


class Script:
    """Turns whose visits see what a script says."""

    def __init__(self, *medians):
        self.medians, self.turns = medians, 0

    def __call__(self, cases, first):
        assert first is (self.turns == 0)
        self.turns += 1
        return Turn(
            [visit(self.medians[self.turns - 1]) for _ in cases], {_still(case): (1000, 5000) for case in cases}
        )


@pytest.mark.parametrize(
    ("medians", "visited", "doubtful"),
    [([1.0, 1.0], VISITS, False), ([2.0, 1.0, 1.0], 3, False), ([2.0**i for i in range(9)], VISITS + REPEATS, True)],
)
def test_visits_are_repeated_until_two_agree_and_no_longer(medians, visited, doubtful, cpu):
    script, told = Script(*medians), []
    [cost] = measure([Wanted(Case(run=a_run()))], cpu, {}, script, told.append)
    assert script.turns == len(told) == visited
    assert bool(cost.noise) is doubtful
    if not doubtful:
        assert cost.seconds == pytest.approx(1.0)
        assert cost.seconds_low < cost.seconds < cost.seconds_high
        assert cost.samples_per_second == pytest.approx(32.0)
        assert cost.flops_per_second == pytest.approx(1000.0)


def test_a_case_that_fails_is_a_reason_and_the_others_go_on(cpu):
    cases = [Case(run=a_run(optimizer="rmsprop"), implementation="fused"), Case(run=a_run())]
    lost, found = Bench(cpu, Telemetry(cpu)).turn(cases, True).visits
    assert lost == "rmsprop has no fused implementation"
    assert found.median > 0.0


def test_what_others_do_is_held_against_the_visits_meanwhile(cpu, monkeypatch):
    bench = Bench(cpu, Telemetry(cpu))
    answers = iter([None, 0.7, None, 0.1])
    monkeypatch.setattr(bench.telemetry, "busy_with_others", lambda _: next(answers))
    visits = [bench._beside_others(visit(1.0)) for _ in range(4)]
    assert [one.noise for one in visits] == [("other processes used 0.7 cores",)] * 2 + [()] * 2


def plan(**values):
    budget = {"digits-mlp": {"steps": 30, "eval_every": 10}}
    return make_plan(
        parse_matrix({"name": "m", "workload": "digits-mlp", "seed": [0, 1], "budget": budget} | values, vocabulary())
    )


@pytest.mark.exhaustive
def test_a_turn_in_a_process_of_its_own_visits_every_case(cpu):
    cases = [Case(run=a_run(optimizer="rmsprop"), implementation="fused"), Case(run=a_run())]
    lost, found = lrbench.execute.costs.turns_on(cpu, ())(cases, False).visits
    assert lost == "rmsprop has no fused implementation"
    assert found.median > 0.0


@pytest.mark.parametrize("turns", ["in this process", pytest.param("in processes", marks=pytest.mark.exhaustive)])
@pytest.mark.usefixtures("two_visits")
def test_a_study_has_costs_whole_runs_peaks_and_conditions(turns, cpu, request):
    if turns == "in this process":
        request.getfixturevalue("quick_turns")
    told = []
    planned = plan(optimizer=["sgd", "lbfgs"], lr=1e-3, cost=[{"optimizer": "rmsprop", "implementation": "fused"}])
    found = measure_study(
        planned, [cpu], told.append, lambda device: lrbench.execute.costs.turns_on(device, plugins=())
    )
    by_name = {cost.optimizer: cost for cost in found.costs}
    sgd, lbfgs, rmsprop = by_name["sgd"], by_name["lbfgs"], by_name["rmsprop"]
    assert sgd.measured
    assert sgd.strategies == (("sgd", "uniform", "constant"),)
    assert 0.5 < sgd.forward_share + sgd.backward_share + sgd.optimizer_share + sgd.scheduler_share < 1.0
    assert 0.0 < sgd.peak_share < 1.0
    assert sgd.peak_bytes > 4 * (3466 * 2 + 1197 * 64)
    assert sgd.joules is not None or sgd.joules_reason
    assert lbfgs.optimizer_share is None
    assert "inside optimizer.step()" in lbfgs.shares_reason
    assert rmsprop.reason == "rmsprop has no fused implementation"
    assert not rmsprop.measured
    assert rmsprop.strategies == ()
    assert (sgd.varies, lbfgs.varies) == (False, True)
    assert {run.optimizer for run in found.timed} == {"sgd"}
    assert all(run.seconds > 0.0 and run.steps == 30 for run in found.timed)
    assert [peak.precision for peak in found.peaks] == ["fp32"]
    assert found.conditions["threads"] == 1
    assert "energy_reason" in found.conditions
    assert told


def test_data_that_cannot_be_had_are_the_reason(cpu, monkeypatch):
    def unavailable():
        raise Unavailable("the server is down")

    monkeypatch.setitem(WORKLOADS, "digits-mlp", replace(WORKLOADS["digits-mlp"], data=unavailable))
    found = measure_study(
        plan(), [cpu], lambda _: None, lambda device: lrbench.execute.costs.turns_on(device, plugins=())
    )
    assert [cost.reason for cost in found.costs] == ["the server is down"]
    assert found.timed == ()


def test_runs_to_time_are_short_and_of_different_optimizers():
    runs = plan(optimizer=["sgd", "adam", "rmsprop"], lr=[1e-3, 1e-2]).possible
    strategies = [(name, "uniform", "constant") for name in ("sgd", "adam", "rmsprop")]
    what = {name.name: None for name in fields(StepCost)} | {
        "workload": "digits-mlp",
        "strategies": strategies,
        "reason": "",
    }
    chosen = to_time(runs, [StepCost(**what | {"seconds": 1e-3})])
    assert len(chosen) == len({run.optimizer.name for run in chosen}) == 2
    assert chosen == to_time(reversed(runs), [StepCost(**what | {"seconds": 1e-3})])
    assert to_time(runs, [StepCost(**what | {"seconds": 1.0})]) == []
