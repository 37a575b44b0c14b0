"""Faster modes do what eager does, or are given up with the reason."""

import gc
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from runs import a_run

from lrbench.device import Compiled
from lrbench.device.compile import WARM_UP
from lrbench.train import Population, faster, train
from lrbench.workloads import WORKLOADS

CPU = torch.device("cpu")
CURVES = ("eval_step", "val_loss", "val_metric", "step_loss", "group_lr")


def population(runs, **options):
    workload = WORKLOADS[runs[0].workload.name]
    return Population(runs, workload, workload.data(), CPU, **options)


def outcomes(runs, **options):
    return {run.key: outcome for run, outcome in population(runs, **options).train()}


def members(n=6, workload="digits-mlp", optimizer="adam"):
    policies, schedules = ["uniform", "gradual-unfreezing", "head-only"], ["cosine", "plateau"]
    lrs = [1e-3, 1e-2, 3e-2, 1e9]
    return [
        a_run(workload, optimizer, policies[i % 3], schedules[i % 2], lr=lrs[i % 4], seed=i // 2, steps=40)
        for i in range(n)
    ]


def traced(monkeypatch):
    """No compiler: functions are traced as for it, and the trace is what runs. A few hundredths of the time, and as exact as eager."""
    monkeypatch.setattr("torch._inductor.compile", lambda graph, *_, **__: graph)
    monkeypatch.setattr(faster, "_made", {})


@pytest.fixture(params=["traced", pytest.param("inductor", marks=pytest.mark.exhaustive)])
def backend(request, monkeypatch):
    """What functions are made faster by: a stand-in, which costs little, or the compiler itself."""
    if request.param == "traced":
        traced(monkeypatch)


def assert_members_are_those_of_the_reference_trainer(runs):
    workload, found = WORKLOADS[runs[0].workload.name], outcomes(runs, width=4, mode="compiled")
    assert set(found) == {run.key for run in runs}
    for run in runs:
        expected, outcome = train(run, workload, workload.data(), CPU), found[run.key]
        assert (outcome.trainer, outcome.mode) == ("population", "compiled")
        assert outcome.status == expected.status
        assert outcome.diverged_at == expected.diverged_at
        if run.lr < 1:
            for name in CURVES:
                np.testing.assert_allclose(
                    getattr(outcome, name), getattr(expected, name), rtol=1e-3, atol=1e-6, err_msg=name
                )
            assert outcome.test_loss == pytest.approx(expected.test_loss, rel=1e-3)


@pytest.mark.usefixtures("backend")
def test_compiled_members_are_those_of_the_reference_trainer():
    assert_members_are_those_of_the_reference_trainer(members())


def test_members_of_a_small_model_are_those_of_the_reference_trainer_when_the_compiler_compiles_them():
    assert_members_are_those_of_the_reference_trainer(members(workload="quadratic", optimizer="sgd"))


@pytest.mark.usefixtures("backend")
def test_compiled_twice_gives_the_same_bits_in_any_order():
    runs = members()
    found = outcomes(runs, width=4, mode="compiled")
    for key, outcome in outcomes(runs[::-1], width=4, mode="compiled").items():
        assert outcome.mode == "compiled"
        for name in CURVES:
            np.testing.assert_array_equal(getattr(outcome, name), getattr(found[key], name), err_msg=name)


@pytest.mark.usefixtures("backend")
def test_frozen_parameters_do_not_move_by_a_bit_when_compiled():
    runs = [run for run in members() if run.layer_lr.name == "head-only"][:1]
    frozen = population(runs, width=4, mode="compiled")
    before = {name: value[0].clone() for name, value in frozen.slots.params.items()}
    frozen.advance()
    assert frozen.mode == "compiled"
    assert {name for name, value in frozen.slots.params.items() if not torch.equal(value[0], before[name])} == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("workload", ["mnist5k-cnn"])
def test_batchnorm_and_convolutions_agree_in_float64(workload):
    runs = [
        a_run(
            workload,
            ("sgd", {"momentum": 0.9}),
            lr=1e-2,
            seed=s,
            steps=4,
            eval_every=2,
            precision="fp64",
            batch_size=16,
        )
        for s in (0, 1)
    ]
    eager, fast = outcomes(runs), outcomes(runs, mode="compiled")
    for key, outcome in fast.items():
        assert outcome.mode == "compiled"
        np.testing.assert_allclose(outcome.step_loss, eager[key].step_loss, rtol=1e-6)
        assert outcome.test_loss == pytest.approx(eager[key].test_loss, rel=1e-9)


class Parts(Compiled):
    """A compiler that knows which of the three parts it was given: gradients, update or scores."""

    def __init__(self, function, *arguments):
        self.part = "update" if isinstance(function, partial) else function.__name__
        super().__init__(function, *arguments)


class WrongGradients(Parts):
    """Gradients are a tenth too large."""

    def __call__(self, *arguments):
        found = super().__call__(*arguments)
        return (
            ({name: value * 1.1 for name, value in found[0].items()}, found[1]) if self.part == "gradients" else found
        )


class WrongUpdate(Parts):
    """Steps of the first parameter are a tenth too large."""

    def __call__(self, *arguments):
        if self.part == "update":
            arguments[-1][0] *= 1.1
        return super().__call__(*arguments)


class WrongLoss(Parts):
    """Losses and metrics are a tenth too large where models are evaluated."""

    def __call__(self, *arguments):
        found = super().__call__(*arguments)
        return found * 1.1 if self.part == "scores" else found


class WrongMetric(Parts):
    """Metrics alone are."""

    def __call__(self, *arguments):
        found = super().__call__(*arguments)
        return found * torch.tensor([[1.0], [1.1]]) if self.part == "scores" else found


class Tired(Parts):
    """The last part is more than it can do."""

    def __init__(self, function, *arguments):
        super().__init__(function, *arguments)
        if self.part == "scores":
            raise RuntimeError("no more")


@pytest.fixture
def compiler(request, monkeypatch, backend):  # noqa: ARG001
    """A compiler in the place of PyTorch's, for functions that no other has compiled."""
    monkeypatch.setattr(faster, "Compiled", request.param)
    monkeypatch.setattr(faster, "_made", {})


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (WrongGradients, "gradient differs by 0.1 of its change"),
        (WrongUpdate, "weight differs by 0.1 of its change"),
        (WrongLoss, "validation loss differs by 0.1 of its change"),
        (WrongMetric, "validation metric differs by 0.1 of its change"),
        (Tired, "RuntimeError: no more"),
        (None, "TypeError: 'NoneType' object is not callable"),
    ],
    indirect=["compiler"],
)
def test_a_mode_that_differs_or_fails_is_given_up_as_a_whole_and_says_so(compiler, reason):  # noqa: ARG001
    runs = [a_run("cancer-logistic", lr=lr, steps=20) for lr in (0.01, 0.1)]
    given_up = population(runs, width=2, mode="compiled")
    assert given_up.mode.endswith(reason)
    assert given_up.slots.faster is None
    assert given_up.slots.scores == given_up.slots.model.scores
    found = {run.key: outcome for run, outcome in given_up.train()}
    for key, outcome in outcomes(runs).items():
        assert found[key].mode.startswith("eager: compiled given up: ")
        np.testing.assert_array_equal(found[key].step_loss, outcome.step_loss)
        np.testing.assert_array_equal(found[key].val_loss, outcome.val_loss)


@pytest.mark.parametrize("compiler", [WrongUpdate], indirect=True)
@pytest.mark.parametrize(
    "still",
    [
        {"layer_lr": ("freeze", {"layers": ["layer1", "layer2"]})},
        {"schedule": ("lambda", {"points": [[0.0, 0.0], [1.0, 1.0]]})},
    ],
)
def test_runs_that_would_not_move_show_nothing_by_that(compiler, still):  # noqa: ARG001
    """What is compiled for them serves the next population too, whose runs do move."""
    runs = [a_run("digits-mlp", lr=lr, steps=20, **still) for lr in (0.01, 0.1)]
    assert "differs by 0.1 of its change" in population(runs, width=2, mode="compiled").mode


@pytest.mark.parametrize("compiler", [Parts], indirect=True)
def test_models_that_are_not_finite_show_nothing(compiler):  # noqa: ARG001
    """A verdict on them is not kept for others."""
    base = WORKLOADS["quadratic"]
    runs = [a_run("quadratic", lr=lr, steps=20) for lr in (0.01, 0.1)]
    broken = replace(base, loss=lambda *given: base.loss(*given) * torch.nan)
    found = Population(runs, broken, base.data(), CPU, width=2, mode="compiled")
    assert found.mode == "eager: compiled given up: loss is finite in no run, so nothing can be compared"
    assert not [key for key in faster._made if key[-1] in ("step", "evaluation")]


@pytest.mark.usefixtures("backend")
def test_a_compiled_mode_without_own_kernels_says_so(monkeypatch):
    monkeypatch.setattr(faster, "without_kernels", lambda _: "there is no C++ compiler")
    runs = [a_run("quadratic", lr=lr, steps=20) for lr in (0.01, 0.1)]
    assert {one.mode for one in outcomes(runs, width=2, mode="compiled").values()} == {
        "compiled: without own kernels: there is no C++ compiler"
    }


@pytest.mark.usefixtures("backend")
def test_a_compiled_population_that_is_dropped_is_freed_at_once():
    runs = [a_run("quadratic", lr=lr, steps=20) for lr in (0.01, 0.1)]
    population(runs, width=2, mode="compiled")  # compiling leaves cycles of its own
    gc.collect()
    gc.disable()
    try:
        again = population(runs, width=2, mode="compiled")
        again.advance()
        left = weakref.ref(next(iter(again.slots.params.values())))
        del again
        assert left() is None
    finally:
        gc.enable()


class FakeReplay:
    """A CUDA graph on a CPU: warm-up calls that change everything, then replays from buffers of its own."""

    factor = 1.0

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, [argument.clone() for argument in arguments]
        for _ in range(WARM_UP):
            function(*self.arguments)

    def __call__(self, *arguments):
        for place, value in zip(self.arguments, arguments, strict=True):
            place.copy_(value)
        self.arguments[1] *= self.factor
        return self.function(*self.arguments)


def test_a_graph_replays_the_step_on_new_batches_and_lrs(monkeypatch):
    monkeypatch.setattr(faster, "Replayed", FakeReplay)
    runs = [run for run in members() if run.lr < 1]
    found = outcomes(runs, width=3, mode="graph")
    for key, outcome in outcomes(runs).items():
        assert found[key].mode == "graph"
        for name in CURVES:
            np.testing.assert_array_equal(getattr(outcome, name), getattr(found[key], name), err_msg=name)


def test_a_graph_that_does_something_else_is_given_up(monkeypatch):
    monkeypatch.setattr(faster, "Replayed", FakeReplay)
    monkeypatch.setattr(FakeReplay, "factor", 1.5)
    found = population([a_run("quadratic", lr=lr, steps=20) for lr in (0.01, 0.1)], mode="graph")
    assert found.mode.startswith("eager: graph given up: ")
    assert "differs by 0.5 of its change" in found.mode


def test_a_compiled_function_changes_what_the_function_changes():
    def function(state, x):
        state["sum"].add_(x)
        return {"twice": 2 * state["sum"], "parts": [x.sum()]}

    state, x = {"sum": torch.ones(3)}, torch.arange(3.0)
    fast = Compiled(function, state, x)
    assert torch.equal(state["sum"], torch.ones(3))
    found = fast(state, x)
    assert torch.equal(state["sum"], torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(found["twice"], 2 * state["sum"])
    twice, part = fast.bind(state)(x)
    assert torch.equal(twice, torch.tensor([2.0, 6.0, 10.0]))
    assert part == 3.0
