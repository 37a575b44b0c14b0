"""What cannot be combined is known beforehand, with the reason."""

import pytest
from runs import a_run

from lrbench.config.catalog import Catalog
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES, impossible
from lrbench.workloads import WORKLOADS, describe

DIGITS = describe(WORKLOADS["digits-mlp"], WORKLOADS["digits-mlp"].model())
QUADRATIC = describe(WORKLOADS["quadratic"], WORKLOADS["quadratic"].model())
MOMENTUM = {"cycle_momentum": True}


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"optimizer": "sparse-adam"}, "sparse-adam accepts sparse gradients only, and those of 'layer1.linear.weight' "
        "are dense"),
        ({"optimizer": "lbfgs", "layer_lr": "bias-norm"}, "lbfgs accepts one parameter group, and bias-norm makes 2"),
        ({"optimizer": "prodigy", "layer_lr": "depth-decay"}, "prodigy accepts one lr for all groups, and depth-decay "
        "makes several"),
        (
            {"optimizer": "schedule-free-adamw", "schedule": "cosine"},
            "schedule-free-adamw sets its lr over time itself: only the constant schedule applies",
        ),
        ({"optimizer": "lbfgs", "precision": "fp16"}, "lbfgs steps on a closure, which gradient scaling (fp16) does "
        "not support"),
        (
            {"optimizer": "adagrad", "schedule": ("one-cycle", MOMENTUM)},
            "one-cycle(cycle_momentum=True) cycles the momentum, and adagrad has none",
        ),
        ({"optimizer": "sgd", "schedule": ("cyclic", MOMENTUM)}, "cyclic(cycle_momentum=True) cycles the momentum, and "
        "sgd has none"),
        (
            {"optimizer": "muon", "schedule": ("cyclic", MOMENTUM)},
            "cyclic(cycle_momentum=True) cycles one kind of momentum, and muon(matrices=hidden) is of two optimizers "
            "that have different "
            "ones",
        ),
        (
            {"optimizer": "rprop", "schedule": ("by-hand", {"others": {"weight_decay": 0.5}})},
            "by-hand(others={weight_decay=0.5}) changes weight_decay, and rprop has no such number in every group",
        ),
        (
            {"optimizer": "muon", "schedule": ("by-hand", {"others": {"momentum": 0.5}})},
            "by-hand(others={momentum=0.5}) changes momentum, and muon(matrices=hidden) has no such number in every "
            "group",
        ),
        (
            {"schedule": ("sequential", {"parts": ["constant", "step", "cosine"]})},
            "sequential(parts=[constant, step(step_size=0.3, gamma=0.1), cosine(t_max=1, eta_min=0)]) needs one "
            "milestone fewer than parts",
        ),
        (
            {"optimizer": ("sgd", {"nesterov": True})},
            "sgd(nesterov=True): Nesterov momentum requires a momentum and zero dampening",
        ),
        (
            {"layer_lr": ("freeze", {"layers": ["conv1"]})},
            "layer-lr policy freeze(layers=[conv1]): pattern 'conv1' matches no parameter. The layers are layer1, "
            "layer2, head.",
        ),
        (
            {"layer_lr": ("groups", {"multipliers": {"*": 0.0}})},
            "layer-lr policy groups(multipliers={*=0}): trains no parameter at the start: at least one must join at "
            "step 0 with a "
            "multiplier above 0.",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_each_impossible_combination_has_its_reason(choices, reason):
    assert impossible(a_run("digits-mlp", **choices), DIGITS) == reason


def test_an_optimizer_for_matrices_needs_one():
    hidden = "muon needs a hidden matrix, neither an embedding nor the head's, to train"
    assert (
        impossible(a_run("quadratic", "muon"), QUADRATIC)
        == impossible(a_run("digits-mlp", "muon", "head-only"), DIGITS)
        == hidden
    )
    assert (
        impossible(a_run("quadratic", ("muon", {"matrices": "all"})), QUADRATIC) == "muon needs a 2-D weight to train"
    )
    assert impossible(a_run("digits-mlp", ("muon", {"matrices": "all"}), "head-only"), DIGITS) is None


def test_a_missing_package_is_the_reason_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr("lrbench.strategies.combine.find_spec", lambda _: None)
    reason = impossible(a_run("digits-mlp", "prodigy"), DIGITS)
    assert reason == "prodigy needs the package prodigyopt: pip install prodigyopt"
    assert impossible(a_run("digits-mlp", "adam"), DIGITS) is None


@pytest.mark.parametrize(
    "choices",
    [
        {
            "optimizer": ("sgd", {"momentum": 0.9}),
            "layer_lr": "gradual-unfreezing",
            "schedule": ("one-cycle", MOMENTUM),
        },
        {"optimizer": "adam", "layer_lr": "depth-decay", "schedule": ("cyclic", MOMENTUM)},
        {"optimizer": "prodigy", "layer_lr": "head-only", "schedule": "cosine"},
        {"optimizer": "lbfgs", "layer_lr": "head-only", "schedule": "plateau"},
        {"optimizer": "muon", "layer_lr": "bias-norm", "schedule": ("by-hand", {"others": {"weight_decay": 0.5}})},
        {"optimizer": "schedule-free-sgd", "layer_lr": "depth-decay"},
    ],
    ids=str,
)
def test_what_can_be_combined_is(choices):
    assert impossible(a_run("digits-mlp", **choices), DIGITS) is None


@pytest.mark.parametrize("catalog", [OPTIMIZERS, LAYER_LRS, SCHEDULES], ids=lambda c: c.kind)
def test_settings_can_be_stored_and_read_back(catalog: Catalog):
    for name, entry in catalog.items():
        given = {"groups": {"multipliers": {"a": 0.5, "*": 1}}, "freeze": {"layers": ["a"]}}.get(name, {})
        resolved = dict(entry.settings.model_validate(given))
        stored = entry.settings.model_validate(given).model_dump(mode="json")
        assert entry.resolve(stored) == resolved


@pytest.mark.parametrize("catalog", [OPTIMIZERS, LAYER_LRS, SCHEDULES], ids=lambda c: c.kind)
def test_a_missing_name_is_told_the_nearest(catalog: Catalog):
    name = next(iter(catalog))
    with pytest.raises(LookupError, match=f"no {catalog.kind} called '{name}x'. Did you mean '{name}'"):
        catalog[f"{name}x"]


def test_flags_are_those_that_the_catalog_explains():
    for catalog in (OPTIMIZERS, SCHEDULES):
        assert {flag for entry in catalog.values() for flag in entry.flags} == set(catalog.flags)
