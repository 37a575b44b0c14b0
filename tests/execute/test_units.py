"""Every run is in one unit, trained in the way that was measured to be the fastest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import a_run

from lrbench.execute import units, work
from lrbench.execute import verify as module
from lrbench.execute.units import Pace, Paces, Trial, cost, divide, kind
from lrbench.execute.verify import table, verify
from lrbench.execute.work import Unit, Worker
from lrbench.spec.outcome import Status
from lrbench.train import Population, rule_of
from lrbench.train.rules import RULES, base
from lrbench.workloads import WORKLOADS

CPU = torch.device("cpu")
SLOW = Pace(alone=300e-6, width=32, seconds=50e-6)
FAST = Pace(alone=300e-6, width=32, seconds=50e-6, mode="compiled", fast_width=128, fast_seconds=7e-6, tried=True)


def some(n, optimizer="adam", **values):
    return [a_run(optimizer=optimizer, lr=1e-3 * (1 + i), steps=300, **values) for i in range(n)]


def paces(runs, pace):
    return {kind(run): pace for run in runs}


@given(st.integers(0, 40), st.integers(0, 900), st.integers(0, 5), st.integers(1, 4), st.sampled_from([SLOW, FAST, Pace(1e-3), Pace(0.0)]))
def test_every_run_is_in_one_unit_and_units_are_of_one_kind(adams, sgds, lbfgs, workers, pace):
    runs = some(adams) + some(sgds, "sgd") + some(lbfgs, "lbfgs")
    found = divide(runs, paces(runs, pace), workers)
    assert sorted(run.key for unit in found for run in unit.runs) == sorted(run.key for run in runs)
    assert [unit.seconds for unit in found] == sorted((unit.seconds for unit in found), reverse=True)
    for unit in found:
        if unit.is_single:
            assert len(unit.runs) == 1
            assert unit.why
        if unit.mode != "eager":
            assert len({rule_of(run) for run in unit.runs}) == 1
            assert unit.width == pace.fast_width


@pytest.mark.parametrize(("n", "mode"), [(100, "eager"), (1000, "compiled")])
def test_a_faster_mode_is_used_where_it_repays_its_making(n, mode):
    runs = some(n)
    assert {unit.mode for unit in divide(runs, paces(runs, FAST), 2)} == {mode}


def test_a_population_that_does_not_pay_is_trained_one_by_one_with_the_reason():
    runs = some(20)
    found = divide(runs, paces(runs, Pace(alone=1e-3)), 2)
    assert {(unit.width, unit.why) for unit in found} == {(1, "stacking does not pay")}


def test_long_populations_are_cut_so_that_results_come_in():
    runs = some(20_000)
    found = divide(runs, paces(runs, FAST), 2)
    assert len(found) > 3
    assert max(unit.seconds for unit in found) < 2 * units.UNIT_SECONDS


def test_what_is_known_is_not_measured_again_until_faster_modes_may_pay(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    few, many = some(10), some(4000)
    first = Paces(CPU)
    assert [trial.run for trial in first.unknown(few)] == few[:1]
    first.note([(few[0], SLOW)])
    again = Paces(CPU)
    assert again.known[kind(few[0])] == SLOW
    assert again.unknown(few) == []
    assert [trial.known for trial in again.unknown(many)] == [SLOW]
    assert again.unknown(many, fast=False) == []
    again.note([(few[0], FAST)])
    assert Paces(CPU).unknown(many) == []


def test_a_file_of_paces_that_cannot_be_read_is_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    Paces(CPU).file.write_text('{"digits": {"another": "form"}}')
    assert Paces(CPU).known == {}


def test_widths_that_do_not_fit_the_memory_are_not_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(units, "cost", lambda make, *_: tried.append(make) or 1e-9 * len(tried))
    [run] = some(1)
    Trial(run, 0, None, memory=10**6).measure(CPU)
    assert len(tried) == 2, "alone, and 8 at once: 32 members would take more than a megabyte"


def test_a_measured_pace_makes_populations_no_slower_than_one_by_one():
    [run] = some(1)
    _, pace = Trial(run, 0, None, 2**30).measure(CPU)
    assert pace.width == 1 or pace.seconds < pace.alone
    assert not pace.tried


def test_a_model_that_cannot_be_stacked_is_measured_alone(monkeypatch):
    monkeypatch.setattr(units, "Population", lambda *_, **__: 1 / 0)
    [run] = some(1)
    _, pace = Trial(run, 0, None, 2**30).measure(CPU)
    assert pace.width == 1
    assert pace.alone > 0


def test_the_cost_of_a_step_counts_its_share_of_an_evaluation():
    [run] = some(1)
    workload = WORKLOADS["digits-mlp"]
    often, seldom = (cost(lambda: Population([run], workload, workload.data(), CPU), every) for every in (1, 10**9))
    assert often > seldom > 0


class Crowded(Population):
    """A population for which memory suffices up to a width."""

    fits = 2
    asked = []  # noqa: RUF012 - a list for one test

    def __init__(self, runs, workload, data, device, *, width, mode):
        self.asked.append(width)
        super().__init__(runs, workload, data, device, width=width, mode=mode)

    def advance(self, steps=None):
        if self.width > self.fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        super().advance(steps)


def test_out_of_memory_halves_the_width_and_loses_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(work, "Population", Crowded)
    runs = [a_run("quadratic", lr=0.01 * (i + 1), steps=20) for i in range(9)]
    found = list(Worker(CPU, tmp_path).carry_out(Unit(tuple(runs), width=8)))
    assert Crowded.asked == [8, 4, 2]
    assert sorted(run.key for run, _ in found) == sorted(run.key for run in runs)
    assert {outcome.status for _, outcome in found} == {Status.MISSED}


def test_one_members_error_is_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(work, "Population", lambda *_, **__: 1 / 0)
    runs = [a_run("quadratic", lr=0.01 * (i + 1), steps=20) for i in range(3)]
    found = list(Worker(CPU, tmp_path).carry_out(Unit(tuple(runs), width=3)))
    assert [outcome.trainer for _, outcome in found] == ["reference"] * 3


def test_what_is_finished_when_work_is_stopped_is_kept(tmp_path):
    runs = [a_run("quadratic", lr=lr, steps=40) for lr in (1e4, 0.1, 0.11)]
    asked = iter([False, True])
    found = list(Worker(CPU, tmp_path, stop=lambda: next(asked)).carry_out(Unit(tuple(runs), width=3)))
    assert [(run.lr, outcome.status) for run, outcome in found] == [(1e4, Status.DIVERGED)]


def test_verify_finds_agreement_and_says_where_there_is_none(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    [found] = [one for one in verify(["quadratic"], CPU) if one.optimizer == "adam"]
    assert found.holds
    assert "agrees" in table([found])[0]
    assert found.runs >= 10
    wrong = module.Finding("w", "adam", "eager", 2, 1e-3, 0.0, 0.0)
    unused = module.Finding("w", "adam", "eager: compiled given up: no compiler", 2, 0.0, 0.0, 0.0)
    assert not wrong.holds
    assert "DIFFERS by more than 1e-09" in table([wrong])[0]
    assert not unused.holds
    assert "NOT USED" in table([unused])[0]


def test_verify_notices_a_wrong_rule(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    right = RULES["adam"].update

    def wrong(p, g, s, lr, t, h, **flags):
        right(p, g, s, lr * 1.001, t, h, **flags)

    base._rule.cache_clear()
    monkeypatch.setitem(RULES, "adam", base.Entry(RULES["adam"].start, wrong, RULES["adam"].switches))
    try:
        [found] = [one for one in verify(["quadratic"], CPU) if one.optimizer == "adam"]
    finally:
        base._rule.cache_clear()
    assert not found.holds
    assert found.weights > 1e-6
