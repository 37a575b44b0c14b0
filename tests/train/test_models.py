"""Models as people build them: what they freeze, share, leave open or keep to themselves is respected, alone and in populations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import a_run
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from lrbench.config.faults import BadInput
from lrbench.config.matrix import parse_matrix
from lrbench.plan import make_plan, vocabulary
from lrbench.plan.plan import params_of
from lrbench.strategies import OPTIMIZERS, groups_of, impossible
from lrbench.train import Checkpoint, Interrupted, Population, Training, alone, train
from lrbench.train.rules import RULES
from lrbench.workloads import ACCURACY, WORKLOADS, Data, Metric, Split, Workload, describe, make_model, place

CPU = torch.device("cpu")
INPUTS, CLASSES = 6, 3


def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(96, INPUTS, generator=g)
    y = (x @ torch.randn(INPUTS, CLASSES, generator=g)).argmax(-1)
    return Data(*(Split(x[part], y[part]) for part in (slice(48), slice(48, 72), slice(72, 96))))


def tokens():
    x = torch.randint(0, 12, (96, 4), generator=torch.Generator().manual_seed(0))
    return Data(*(Split(x[part], x[part, 0]) for part in (slice(48), slice(48, 72), slice(72, 96))))


@pytest.fixture
def enter(monkeypatch):
    """A function that enters a workload with a model, for one test."""

    def enter(model, layers, **facts):
        usual = {
            "name": model.__name__, "meaning": "a test", "source": "a test", "licence": "none", "data": data, "loss": cross_entropy,
            "lowest_loss": 0.0, "metric": ACCURACY, "examples": (48, 24, 24), "target": 0.9, "target_reason": "none", "steps": 8,
            "batch_size": 8, "eval_every": 4, "revision": "of a test",
        }  # fmt: skip
        made = Workload(model=model, layers=layers, **(usual | facts))
        monkeypatch.setitem(WORKLOADS, made.name, made)
        return made

    return enter


class Odd(nn.Module):
    """Of every kind a parameter: frozen, of integers, unused, without dimensions, tied in shape to nothing."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(INPUTS, 5)
        self.fixed = nn.Linear(5, 5).requires_grad_(False)
        self.unused = nn.Linear(5, 2)
        self.gain = nn.ParameterDict({"scale": nn.Parameter(torch.tensor(1.5))})
        self.order = nn.ParameterDict({"index": nn.Parameter(torch.randperm(INPUTS), requires_grad=False)})
        self.register_buffer("offset", torch.rand(5), persistent=False)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        inside = self.fixed(self.body(x[:, self.order["index"]]).tanh() + self.offset)
        return self.head(inside * self.gain["scale"])


ODD = ("order", "body", "fixed", "unused", "gain", "head")
STAY = {"fixed.weight", "fixed.bias", "order.index", "unused.weight", "unused.bias"}


def after(run, workload):
    """The weights of a run before and after its steps, by the reference trainer."""
    training = Training(run, workload, workload.data(), CPU)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.evaluate()
    training.advance(run.steps)
    return before, training.model.state_dict()


@pytest.mark.parametrize("optimizer", [name for name, entry in OPTIMIZERS.items() if "sparse" not in entry.flags])
def test_what_the_model_froze_or_does_not_use_stays_as_it_is(optimizer, enter):
    workload = enter(Odd, ODD)
    run = a_run("Odd", optimizer, steps=6, eval_every=6)
    if impossible(run, params_of(workload)):
        pytest.skip("its package is not installed")
    before, then = after(run, workload)
    for name, value in before.items():
        assert torch.equal(value, then[name]) == (name in STAY), name


@pytest.mark.parametrize("optimizer", RULES)
def test_a_population_leaves_it_as_it_is_too(optimizer, enter):
    workload = enter(Odd, ODD)
    runs = [a_run("Odd", optimizer, "bias-norm", seed=seed, steps=6, eval_every=6, precision="fp64") for seed in (0, 1)]
    assert alone(runs[0]) is None
    population = Population(runs, workload, workload.data(), CPU)
    population.advance(6)
    for row, member in enumerate(population.members):
        _, expected = after(member.run, workload)
        held = {
            name: value[row]
            for some in (population.slots.params, population.slots.buffers)
            for name, value in some.items()
        }
        for name, value in expected.items():
            torch.testing.assert_close(held[name], value, rtol=0.05 if optimizer == "muon" else 1e-9, atol=1e-12)


def test_a_policy_that_names_only_what_the_model_froze_is_refused_in_words(enter):
    workload = enter(Odd, ODD)
    run = a_run("Odd", layer_lr=("freeze", {"layers": ["fixed"]}))
    assert "pattern 'fixed' matches no parameter that trains: the model itself froze 'fixed.weight'." in impossible(
        run, params_of(workload)
    )
    whole = enter(lambda: Odd().requires_grad_(False), ODD, name="whole")
    assert "the model has no parameter that it does not freeze itself" in impossible(a_run("whole"), params_of(whole))


def test_the_plan_says_what_the_model_itself_decides(enter):
    from lrbench.execute.preview import models

    enter(Odd, ODD)
    enter(Tied, ("embed", "body", "head"), data=tokens)
    plan = make_plan(parse_matrix({"name": "m", "workload": ["Odd", "Tied"], "seed": 0}, vocabulary()))
    assert sorted(models(plan)) == [
        "Odd: the model itself freezes fixed.weight, fixed.bias, order.index: no strategy moves it",
        "Tied: embed.weight = head.weight is one parameter, and learns as the last of its layers",
    ]
    facts = plan.facts()["workloads"]
    assert facts["Odd"]["parameters"] == sum(p.numel() for p in Odd().parameters())


class Tied(nn.Module):
    """A language model's head, tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 5)
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.body(self.embed(x).mean(1)).relu())


@pytest.mark.parametrize(
    ("policy", "multiplier"), [("uniform", 1.0), ("head-only", 1.0), ("depth-decay", 1.0), ("discriminative", 1.0)]
)
def test_a_tied_parameter_learns_as_the_last_of_its_layers(policy, multiplier, enter):
    workload = enter(Tied, ("embed", "body", "head"), data=tokens)
    [group] = [g for g in groups_of(a_run("Tied", "adamw", policy), params_of(workload)) if "embed.weight" in g.params]
    assert group.multiplier == multiplier


def test_every_name_of_a_tied_parameter_must_lie_in_a_layer(enter):
    workload = enter(Tied, ("embed", "body"), data=tokens)
    with pytest.raises(
        BadInput, match=r"'head.weight' lies in 0 of its layers, must be 1 \(it is tied to 'embed.weight'"
    ):
        params_of(workload)


def test_tied_parameters_stay_tied_in_a_population(enter):
    workload = enter(Tied, ("embed", "body", "head"), data=tokens)
    runs = [a_run("Tied", "adam", seed=seed, steps=8, eval_every=4, precision="fp64") for seed in (0, 1)]
    assert alone(runs[0]) is None
    together = {run.key: outcome for run, outcome in Population(runs, workload, workload.data(), CPU).train()}
    for run in runs:
        np.testing.assert_allclose(
            together[run.key].val_loss, train(run, workload, workload.data(), CPU).val_loss, rtol=1e-6
        )


def lazy():
    return nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(CLASSES))


def eager():
    return nn.Sequential(nn.Linear(INPUTS, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, CLASSES))


def test_lazy_modules_are_those_that_their_inputs_make_them(enter):
    layers = ("0", "1", "3")
    open_, closed = enter(lazy, layers), enter(eager, layers)
    assert params_of(open_) == params_of(closed)
    found, expected = (train(a_run(w.name, steps=8, eval_every=4), w, data(), CPU) for w in (open_, closed))
    np.testing.assert_array_equal(found.step_loss, expected.step_loss)
    np.testing.assert_array_equal(found.val_loss, expected.val_loss)


class ReadsValues(nn.Sequential):
    """A constructor that reads values, and one that loads weights."""

    def __init__(self):
        rates = [rate.item() for rate in torch.linspace(0.0, 0.5, 3)]
        super().__init__(nn.Linear(INPUTS, 5), nn.LeakyReLU(rates[-1]), nn.Linear(5, CLASSES))
        self.load_state_dict({name: torch.full_like(value, 0.1) for name, value in self.state_dict().items()})


@pytest.mark.filterwarnings("error")
def test_a_constructor_may_read_values_and_load_weights(enter):
    workload = enter(ReadsValues, ("0", "2"))
    assert len(params_of(workload)) == 4
    assert train(a_run("ReadsValues"), workload, data(), CPU).status in ("missed", "reached")


def test_a_model_that_cannot_be_built_takes_no_other_workload_with_it(enter):
    def broken():
        raise FileNotFoundError("no weights.pt")

    enter(broken, ("0",))
    plan = make_plan(parse_matrix({"name": "m", "workload": ["broken", "quadratic"], "seed": 0}, vocabulary()))
    assert [run.workload.name for run in plan.possible] == ["quadratic"]
    assert [skip.reason for skip in plan.skips] == ["its model cannot be built: FileNotFoundError: no weights.pt"]
    assert plan.facts()["workloads"]["broken"]["name"] == "broken"


# ---- what a model keeps beside its parameters


class Counting(nn.Sequential):
    """Its outputs shrink with every training pass, which it counts in a number and in a table."""

    def __init__(self):
        super().__init__(nn.Linear(INPUTS, CLASSES))
        self.passes, self.seen = 0, {"rows": 0}

    def forward(self, x):
        if self.training:
            self.passes += 1
            self.seen["rows"] += len(x)
        return super().forward(x) / (1.0 + 0.1 * self.passes + 0.001 * self.seen["rows"])


class Assigns(nn.Sequential):
    """Replaces a buffer, which is not saved with its weights, in each training pass."""

    def __init__(self):
        super().__init__(nn.Linear(INPUTS, CLASSES))
        self.register_buffer("mean", torch.zeros(INPUTS), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return super().forward(x - self.mean)


class InPlace(Assigns):
    """The same, changing the buffer in place."""

    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        return nn.Sequential.forward(self, x - self.mean)


def normed():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(INPUTS, 5)), nn.ReLU(), nn.Linear(5, CLASSES))


def spectral():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(INPUTS, 5)), nn.ReLU(), nn.Linear(5, CLASSES))


def noisy():
    return nn.Sequential(nn.Linear(INPUTS, 5), nn.Dropout(), nn.Linear(5, CLASSES))


KEEPS = {
    Counting: (("0",), "keeps a state outside of its parameters and buffers"),
    Assigns: (("0",), "trains otherwise when stacked"),
    InPlace: (("0",), None),
    normed: (("0", "2"), None),
    spectral: (("0", "2"), "cannot be stacked"),
    noisy: (("0", "2"), "cannot be stacked"),
}


@pytest.mark.parametrize("model", KEEPS, ids=lambda model: model.__name__)
def test_it_is_resumed_bit_for_bit(model, enter, tmp_path):
    workload = enter(model, KEEPS[model][0])
    run = a_run(workload.name, "adam", steps=12, eval_every=4)
    asked = iter([False])
    with pytest.raises(Interrupted):
        train(run, workload, data(), CPU, Checkpoint(tmp_path / "c.pt", stop=lambda: next(asked, True)))
    found, expected = (
        train(run, workload, data(), CPU, Checkpoint(tmp_path / "c.pt")),
        train(run, workload, data(), CPU),
    )
    np.testing.assert_array_equal(found.step_loss, expected.step_loss)
    assert found.test_loss == expected.test_loss


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # weight norm has no batching rule of its own
@pytest.mark.parametrize("model", KEEPS, ids=lambda model: model.__name__)
def test_a_model_that_would_train_otherwise_in_a_population_is_trained_alone(model, enter):
    layers, why = KEEPS[model]
    workload = enter(model, layers)
    reason = alone(a_run(workload.name, steps=12, eval_every=4))
    assert reason is why is None or f"{workload.name} {why}" in str(reason), reason
    if why is None:
        runs = [a_run(workload.name, "adam", seed=seed, steps=12, eval_every=4, precision="fp64") for seed in (0, 1)]
        together = {run.key: outcome for run, outcome in Population(runs, workload, data(), CPU).train()}
        for run in runs:
            np.testing.assert_allclose(
                together[run.key].val_loss, train(run, workload, data(), CPU).val_loss, rtol=1e-6
            )


# ---- numbers of other kinds


class Waves(nn.Module):
    """Complex weights, whose squared size is put out."""

    def __init__(self):
        super().__init__()
        self.mix = nn.ParameterDict({"wave": nn.Parameter(torch.randn(INPUTS, CLASSES, dtype=torch.complex64))})

    def forward(self, x):
        return (x.to(self.mix["wave"].dtype) @ self.mix["wave"]).abs()


def test_complex_parameters_stay_complex_and_train_as_in_a_plain_loop(enter):
    workload = enter(Waves, ("mix",))
    run = a_run("Waves", "adam", lr=0.1, steps=6, eval_every=6)
    training = Training(run, workload, data(), CPU)
    plain = make_model(workload, lambda: data().train.x)
    plain.load_state_dict(training.model.state_dict())
    optimizer = torch.optim.Adam(plain.parameters(), 0.1)
    for step in range(6):
        (rows,) = training.order(step)
        optimizer.zero_grad()
        cross_entropy(plain(data().train.x[rows]), data().train.y[rows]).backward()
        optimizer.step()
    training.advance(6)
    assert torch.equal(training.model.mix["wave"], plain.mix["wave"])
    assert training.model.mix["wave"].imag.abs().sum() > 0.0
    assert place(Waves(), CPU, torch.float64).mix["wave"].dtype is torch.complex128
    assert "are sparse or complex" in alone(run)


class Rows(nn.Module):
    """An embedding with sparse gradients."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 12, sparse=True)

    def forward(self, x):
        return self.embed(x).mean(1)


def test_sparse_gradients_are_trained_alone(enter):
    workload = enter(Rows, ("embed",), data=tokens)
    assert [p.is_sparse for p in describe(workload, Rows())] == [True]
    assert "are sparse or complex" in alone(a_run("Rows"))
    assert train(a_run("Rows", lr=1.0), workload, tokens(), CPU).val_loss[-1] < math.log(12)


# ---- metrics that are no mean


def rmse(outputs, y):
    return (outputs[:, 0] - y).square().mean().sqrt()


def uneven():
    """Examples of which the second thousand is far harder than the first."""
    x = torch.randn(2548, INPUTS, generator=torch.Generator().manual_seed(0))
    y = torch.where(torch.arange(2548) < 1500, 0.0, 8.0)
    return Data(Split(x[2500:], y[2500:]), Split(x[:2500], y[:2500]), Split(x[:24], y[:24]))


def regression():
    return nn.Sequential(nn.Linear(INPUTS, 5), nn.ReLU(), nn.Linear(5, 1))


METRICS = {
    "a tensor": rmse,
    "of Python": lambda outputs, y: float(rmse(outputs, y)),
    "of NumPy": lambda outputs, y: np.sqrt(np.square(outputs[:, 0].numpy() - y.numpy()).mean()),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_that_of_the_whole_part_alone_and_in_populations(metric, enter):
    of = Metric("rmse", higher_is_better=False, of=METRICS[metric])
    mean = {"loss": lambda outputs, y: rmse(outputs, y).square(), "metric": of, "examples": (48, 2500, 24)}
    workload = enter(regression, ("0", "2"), data=uneven, **mean)
    runs = [a_run("regression", seed=seed, steps=4, eval_every=4, precision="fp64") for seed in (0, 1)]
    together = {run.key: outcome for run, outcome in Population(runs, workload, uneven(), CPU).train()}
    for run in runs:
        training = Training(run, workload, uneven(), CPU)
        training.advance(4)
        part = uneven().validation.to(CPU, torch.float64)
        with torch.no_grad():
            expected = rmse(training.model(part.x), part.y).item()
        assert together[run.key].val_metric[-1] == pytest.approx(expected, rel=1e-6)
        assert training.record.evaluations[0, 0, 1] == pytest.approx(expected, rel=1e-12)


def test_a_metric_of_several_numbers_is_refused_in_words(enter):
    of = Metric("each", higher_is_better=True, of=lambda outputs, y: outputs.argmax(-1) == y)
    workload = enter(eager, ("0", "1", "3"), metric=of)
    with pytest.raises(
        ValueError, match=r"the metric 'each' must be one number, and has the shape \(8,\): take a mean or a sum."
    ):
        train(a_run("eager"), workload, data(), CPU)


def test_a_metric_that_is_no_number_is_no_divergence(enter):
    def precision(outputs, y):
        chosen = outputs[:, 0] > 1e3
        return (y[chosen] == 0).float().mean()

    workload = enter(eager, ("0", "1", "3"), metric=replace(ACCURACY, name="precision", of=precision, is_mean=False))
    outcome = train(a_run("eager", target=0.5), workload, data(), CPU)
    assert outcome.status == "missed"
    assert np.isnan(outcome.val_metric).all()
    assert np.isfinite(outcome.val_loss).all()


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        ("sparse-adam", None),
        ("sgd", None),
        ("adagrad", None),
        ("adam", "adam: Adam does not support sparse gradients"),
        ("lion", "lion: "),
        ("schedule-free-adamw", "schedule-free-adamw: "),
        (("sgd", {"weight_decay": 0.1}), "sgd(weight_decay=0.1): add(sparse, dense) is not supported"),
        (("sgd", {"momentum": 0.9}), None),
    ],
)
def test_sparse_gradients_go_to_the_optimizers_that_take_them(optimizer, reason, enter):
    if optimizer == "schedule-free-adamw":
        pytest.importorskip("schedulefree")
    workload = enter(Rows, ("embed",), data=tokens)
    run = a_run("Rows", optimizer)
    found = impossible(run, params_of(workload))
    if reason is None:
        assert found is None
        assert train(run, workload, tokens(), CPU).val_loss[-1] < 3.0
    else:
        assert found.startswith(reason)
        assert found.endswith("the gradients of 'embed.weight' are sparse")


def test_an_optimizer_for_sparse_gradients_says_which_are_dense(enter):
    enter(Tied, ("embed", "body", "head"), data=tokens)
    reason = impossible(a_run("Tied", "sparse-adam"), params_of(WORKLOADS["Tied"]))
    assert reason == "sparse-adam accepts sparse gradients only, and those of 'embed.weight' are dense"


def test_a_pattern_finds_a_tied_parameter_by_any_of_its_names(enter):
    workload = enter(Tied, ("embed", "body", "head"), data=tokens)
    for pattern in ("embed", "head", "head.weight", "embed.weight"):
        groups = groups_of(a_run("Tied", layer_lr=("groups", {"multipliers": {pattern: 0.5}})), params_of(workload))
        assert [g.params for g in groups if g.multiplier == 0.5] == [("embed.weight",)]
