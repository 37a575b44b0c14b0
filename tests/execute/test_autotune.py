"""Every run is in one task, trained in the way that was measured to be the fastest."""

import gc
import sys
import weakref
from dataclasses import replace
from math import inf
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import a_run

from lrbench.config.outcome import Status
from lrbench.execute import autotune, work
from lrbench.execute import verify as module
from lrbench.execute.autotune import PopulationCost, StepTiming, StepTimings, Trial, cost, divide, kind
from lrbench.execute.executor import Task
from lrbench.execute.verify import table, verify
from lrbench.execute.work import Worker
from lrbench.plan import vocabulary
from lrbench.train import Population, faster, rule_of
from lrbench.train.rules import RULES, base
from lrbench.workloads import WORKLOADS

CPU = torch.device("cpu")
SLOW = StepTiming(300e-6, {"eager": (PopulationCost(32, 50e-6),)})
FAST = SLOW.tried("compiled", PopulationCost(128, 7e-6), PopulationCost(32, 9e-6))
ON_A_GPU = StepTiming(
    1e-3,
    {
        "eager": (PopulationCost(512, 9e-6),),
        "graph": (PopulationCost(512, 2e-6),),
        "compiled": (PopulationCost(2048, 0.7e-6), PopulationCost(512, 1.4e-6)),
    },
)


def some(n, optimizer="adam", **values):
    return [a_run(optimizer=optimizer, lr=1e-3 * (1 + i), **{"steps": 300, **values}) for i in range(n)]


def timings(runs, timing):
    return {kind(run): timing for run in runs}


@given(
    st.integers(0, 40),
    st.integers(0, 900),
    st.integers(0, 5),
    st.integers(1, 4),
    st.sampled_from([SLOW, FAST, ON_A_GPU, StepTiming(1e-3), StepTiming(0.0)]),
)
def test_every_run_is_in_one_unit_and_units_are_of_one_kind(adams, sgds, lbfgs, workers, timing):
    runs = some(adams) + some(sgds, "sgd") + some(lbfgs, "lbfgs")
    found = divide(runs, timings(runs, timing), workers)
    assert sorted(run.key for task in found for run in task.runs) == sorted(run.key for run in runs)
    assert [task.seconds for task in found] == sorted((task.seconds for task in found), reverse=True)
    for task in found:
        if task.is_single:
            assert len(task.runs) == 1
            assert task.why
        if task.mode != "eager":
            assert len({rule_of(run) for run in task.runs}) == 1
            assert task.width in [way.width for way in timing.costs[task.mode]]


@pytest.mark.parametrize(
    ("timing", "n", "mode"),
    [
        (FAST, 100, "eager"),
        (FAST, 1000, "compiled"),
        (ON_A_GPU, 10, "eager"),
        (ON_A_GPU, 1000, "graph"),
        (ON_A_GPU, 20_000, "compiled"),
    ],
)
def test_a_faster_mode_is_used_where_it_repays_its_making(timing, n, mode):
    runs = some(1) * n
    assert {task.mode for task in divide(runs, timings(runs, timing), 2)} == {mode}


@pytest.mark.parametrize(
    ("n", "mode", "width"),
    [(20_000, "compiled", 2048), (2000, "compiled", 2048), (500, "compiled", 512), (600, "graph", 512)],
)
def test_empty_slots_of_a_compiled_population_count(n, mode, width):
    found, way = ON_A_GPU.choose(n, 10**6)
    assert (found, way.width) == (mode, width)


@pytest.mark.parametrize(
    ("most", "tried"), [(1, [8]), (8, [8]), (9, [32, 8]), (100, [128, 32]), (128, [128, 32]), (5000, [128, 32])]
)
def test_faster_modes_are_tried_at_the_width_that_takes_the_runs_of_a_rule_and_the_next_narrower(most, tried):
    assert Trial(some(1)[0], 0, most, None, 2**30)._faster_widths(CPU) == tried


def test_a_wider_population_is_tried_when_more_runs_come(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    few, many = (some(1, steps=10**6) * n for n in (20, 200))
    known = StepTimings(CPU)
    known.note([(few[0], SLOW.tried("compiled", PopulationCost(32, 9e-6), PopulationCost(8, inf)))])
    assert known.unknown(few) == []
    [trial] = known.unknown(many)
    assert (trial.most, trial._faster_widths(CPU)) == (200, [128, 32])


def test_a_population_that_does_not_pay_is_trained_one_by_one_with_the_reason():
    runs = some(20)
    found = divide(runs, timings(runs, StepTiming(alone=1e-3)), 2)
    assert {(task.width, task.why) for task in found} == {(1, "stacking does not pay")}


def test_long_populations_are_cut_so_that_results_come_in():
    runs = some(2000, steps=3000)
    found = divide(runs, timings(runs, FAST), 2)
    assert len(found) > 3
    assert max(task.seconds for task in found) < 2 * autotune.TASK_SECONDS


def test_what_is_known_is_not_measured_again_until_faster_modes_may_pay(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    few, many = some(10), some(4000)
    first = StepTimings(CPU)
    assert [trial.run for trial in first.unknown(few)] == few[:1]
    first.note([(few[0], SLOW)])
    again = StepTimings(CPU)
    assert again.known[kind(few[0])] == SLOW
    assert again.unknown(few) == []
    assert [trial.known for trial in again.unknown(many)] == [SLOW]
    assert again.unknown(many, fast=False) == []
    again.note([(few[0], FAST)])
    assert StepTimings(CPU).unknown(many) == []


def test_a_file_of_paces_that_cannot_be_read_is_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    StepTimings(CPU).file.write_text('{"digits": {"another": "form"}}')
    assert StepTimings(CPU).known == {}


def test_widths_that_do_not_fit_the_memory_are_not_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(autotune, "cost", lambda make, *_: tried.append(make) or 1e-9 * len(tried))
    [run] = some(1)
    Trial(run, 0, 1, None, memory=2 * 10**6).measure(CPU)
    assert len(tried) == 2, "alone, and 8 at once: 32 members would take more than two megabytes"


def test_the_lrs_of_a_long_budget_count_as_memory():
    short, long = (Trial(a_run(optimizer="adam", steps=steps), 0, 1, None, memory=10**7) for steps in (100, 10**6))
    assert short._possible((8, 32)) == [8, 32]
    assert long._possible((8, 32)) == []


def test_small_models_are_measured_to_be_faster_together():
    [run] = some(1)
    _, timing = Trial(run, 0, 1, None, 2**30).measure(CPU)
    assert timing.why == ""
    assert list(timing.costs) == ["eager"]
    assert timing.cheapest("eager").width > 1
    assert 0 < timing.least < 0.85 * timing.alone


def test_a_model_that_cannot_be_stacked_is_measured_alone_and_the_plan_says_why(monkeypatch):
    monkeypatch.setattr(autotune, "Population", lambda *_, **__: 1 / 0)
    runs = some(20)
    _, timing = Trial(runs[0], 10**9, 1, None, 2**30).measure(CPU)
    assert timing.costs == {"compiled": (PopulationCost(8, inf),)}
    assert timing.alone > 0
    assert {task.why for task in divide(runs, timings(runs, timing), 2)} == {
        "measuring compiled mode failed: ZeroDivisionError: division by zero"
    }
    _, timing = Trial(runs[0], 0, 1, None, 2**30).measure(CPU)
    assert {task.why for task in divide(runs, timings(runs, timing), 2)} == {
        "measuring populations failed: ZeroDivisionError: division by zero"
    }


def test_a_faster_mode_that_was_given_up_is_told_beside_the_pace_without_it(monkeypatch):
    monkeypatch.setattr(faster, "Compiled", lambda *_: 1 / 0)
    monkeypatch.setattr(faster, "_made", {})
    runs = some(20)
    _, timing = Trial(runs[0], 10**9, 20, SLOW, 2**30).measure(CPU)
    assert {way.seconds for way in timing.costs["compiled"]} == {inf}
    [why] = {task.why for task in divide(runs, timings(runs, timing), 2)}
    assert why == "50 us per step of a run, one by one 300; compiled given up: ZeroDivisionError: division by zero"


def test_the_cost_of_a_step_counts_its_share_of_an_evaluation():
    [run] = some(1)
    workload = WORKLOADS["digits-mlp"]
    often, seldom = (cost(lambda: Population([run], workload, workload.data(), CPU), every) for every in (1, 10**9))
    assert often > seldom > 0


class Crowded(Population):
    """A population for which memory suffices up to a width."""

    fits = 2

    def __init__(self, runs, workload, data, device, *, width, mode):
        super().__init__(runs, workload, data, device, width=width, mode=mode)
        self.made.append((self.width, weakref.ref(self.slots.params["flat"])))

    def advance(self, steps=None):
        if self.width > self.fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        super().advance(steps)


@pytest.fixture
def crowded(monkeypatch):
    """The width of each population that a worker makes from here on, and a reference to weights of it."""
    monkeypatch.setattr(Crowded, "made", [], raising=False)
    monkeypatch.setattr(work, "Population", Crowded)
    return Crowded.made


@pytest.mark.parametrize(
    ("rules", "widths"),
    [
        (["sgd"] * 9, [8, 4, 2]),
        (["sgd"] * 3 + ["adam"] * 3 + ["lion"], [7, 4, 2, 2, 3, 2, 2]),
        (["sgd"] * 4 + ["adam"] * 4, [8, 4, 2, 4, 2]),
    ],
)
def test_out_of_memory_halves_the_width_and_loses_nothing(rules, widths, crowded, tmp_path):
    runs = [a_run("quadratic", rule, lr=0.01 * (i + 1), steps=20) for i, rule in enumerate(rules)]
    found = list(Worker(CPU, tmp_path).carry_out(Task(tuple(runs), width=8)))
    assert [width for width, _ in crowded] == widths
    assert sorted(run.key for run, _ in found) == sorted(run.key for run in runs)
    assert {(outcome.status, outcome.trainer) for _, outcome in found} == {(Status.MISSED, "population")}


def test_a_population_that_did_not_fit_is_gone_before_memory_is_given_back(crowded, monkeypatch, tmp_path):
    alive = []
    monkeypatch.setattr(work, "free_memory", lambda _: alive.append([weights() is not None for _, weights in crowded]))
    runs = [a_run("quadratic", lr=0.01 * (i + 1), steps=20) for i in range(8)]
    gc.collect()
    gc.disable()
    try:
        assert len(list(Worker(CPU, tmp_path).carry_out(Task(tuple(runs), width=8)))) == 8
    finally:
        gc.enable()
    assert alive == [[False], [False, False]]


@pytest.mark.parametrize(
    ("fits", "mode"), [(2, "eager"), (1, "eager: population given up: RuntimeError: DefaultCPUAllocator: can't")]
)
def test_a_run_that_ends_alone_for_want_of_memory_says_so(fits, mode, crowded, monkeypatch, tmp_path):
    monkeypatch.setattr(Crowded, "fits", fits)
    runs = [a_run("quadratic", lr=0.01 * (i + 1), steps=20) for i in range(4)]
    for _, outcome in Worker(CPU, tmp_path).carry_out(Task(tuple(runs), width=4)):
        assert outcome.mode.startswith(mode)
        assert outcome.width == (2 if fits == 2 else 1)
    assert crowded


def test_one_members_error_is_its_own_and_is_told(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ValueError("a fault\nin the population: " + 1000 * "x")

    monkeypatch.setattr(work, "Population", fail)
    runs = [a_run("quadratic", lr=0.01 * (i + 1), steps=20) for i in range(3)]
    for _, outcome in Worker(CPU, tmp_path).carry_out(Task(tuple(runs), width=3, mode="compiled")):
        assert (outcome.trainer, outcome.status) == ("reference", Status.MISSED)
        assert outcome.mode.startswith("eager: population given up: ValueError: a fault in the population: xxx")
        assert len(outcome.mode) < 250


def test_a_worker_computes_on_its_device_from_the_start(monkeypatch, tmp_path):
    used = []
    monkeypatch.setattr(work.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys.modules["lrbench.device.select"], "use", used.append)
    monkeypatch.setattr(work, "_worker", None, raising=False)
    work.start("cpu", 1, tmp_path, SimpleNamespace(is_set=lambda: False), ())
    assert used == [CPU]


def test_what_is_finished_when_work_is_stopped_is_kept(tmp_path):
    runs = [a_run("quadratic", lr=lr, steps=40) for lr in (1e4, 0.1, 0.11)]
    asked = iter([False, True])
    found = list(Worker(CPU, tmp_path, stop=lambda: next(asked)).carry_out(Task(tuple(runs), width=3)))
    assert [(run.lr, outcome.status) for run, outcome in found] == [(1e4, Status.DIVERGED)]


def test_verify_finds_agreement_and_says_where_there_is_none(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    [found] = verify(["quadratic"], CPU, ["adam"])
    assert found.holds
    assert "agrees" in table([found])[0]
    assert found.runs >= 10
    assert found.compared == found.runs


@pytest.mark.exhaustive
def test_verify_goes_through_every_rule(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    found = list(verify(["quadratic"], CPU))
    words = vocabulary()["optimizer"]
    rules = {name for name in RULES if not words[name].needs}
    assert {one.optimizer for one in found} == rules - {"muon"}, "which wants a matrix, and this workload has none"
    assert [one.optimizer for one in found if not one.compared] == ["lars"], "which diverges on it in every run"
    assert [one.optimizer for one in found if one.compared and not one.holds] == []


@pytest.mark.parametrize(
    ("mode", "numbers", "verdict"),
    [
        ("eager", (0.0, 0.0, 0.0, 2), "agrees"),
        ("compiled: without own kernels: no compiler", (0.0, 0.0, 0.0, 2), "agrees"),
        ("eager", (1e-3, 0.0, 0.0, 2), "DIFFERS by more than 1e-09"),
        ("eager", (0.0, float("inf"), 0.0, 0), "DIFFERS by more than 1e-09"),
        ("eager", (0.0, 0.0, 0.0, 0), "NOTHING TO COMPARE"),
        ("eager: compiled given up: no compiler", (0.0, 0.0, 0.0, 2), "NOT USED"),
    ],
)
def test_the_verdict_on_what_was_found(mode, numbers, verdict):
    *far, compared = numbers
    found = module.Finding("w", "adam", mode, 2, *far, compared)
    assert found.holds == (verdict == "agrees")
    assert verdict in table([found])[0]


def test_a_weight_that_is_missing_is_no_agreement(monkeypatch):
    assert module._far(torch.tensor([float("nan"), 1.0]), torch.tensor([1.0, 1.0])) == float("inf")
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    one_by_one = module._one_by_one

    def spoilt(run, device):
        weights, *rest = one_by_one(run, device)
        return ({name: value * float("nan") for name, value in weights.items()}, *rest)

    monkeypatch.setattr(module, "_one_by_one", spoilt)
    [found] = verify(["quadratic"], CPU, ["adam"])
    assert not found.holds


def test_of_runs_that_all_diverge_nothing_is_said(monkeypatch):
    workload = WORKLOADS["quadratic"]
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    monkeypatch.setattr(sys.modules["lrbench.train.membership"], "unlike_alone", lambda _: None)
    monkeypatch.setitem(
        WORKLOADS, "quadratic", replace(workload, loss=lambda *given: workload.loss(*given) * torch.nan)
    )
    [found] = verify(["quadratic"], CPU, ["adam"])
    assert (found.compared, found.weights, found.losses, found.holds) == (0, 0.0, 0.0, False)


def test_verify_goes_on_with_the_others_when_a_run_diverges(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    monkeypatch.setattr(
        module,
        "SCHEDULES",
        ("constant", {"name": "lambda", "points": [[0.0, 1.0], [0.25, 1.0], [0.3, 1e5], [1.0, 1e5]]}),
    )
    [found] = verify(["quadratic"], CPU, ["sgd"])
    assert 0 < found.compared < found.runs
    assert found.holds


def test_verify_notices_a_wrong_rule(monkeypatch):
    monkeypatch.setattr(module, "fast_modes", lambda _: ())
    right = RULES["adam"].update

    def wrong(p, g, s, lr, t, h, **flags):
        right(p, g, s, lr * 1.001, t, h, **flags)

    base._rule.cache_clear()
    monkeypatch.setitem(RULES, "adam", base.Entry(RULES["adam"].start, wrong, RULES["adam"].switches))
    try:
        [found] = verify(["quadratic"], CPU, ["adam"])
    finally:
        base._rule.cache_clear()
    assert not found.holds
    assert found.weights > 1e-6
