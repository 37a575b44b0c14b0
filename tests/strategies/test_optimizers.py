"""Each optimizer is torch's own, with torch's defaults, and what a matrix sets reaches it."""

import inspect

import pytest
import torch

from lrbench.strategies import OPTIMIZERS
from lrbench.strategies.composite import Paired
from lrbench.strategies.layerwise import LAMB, LARS, Lion

OWN = {"lion": Lion, "lars": LARS, "lamb": LAMB}
PACKAGES = {
    "schedule-free-adamw": ("schedulefree", "AdamWScheduleFree"),
    "schedule-free-sgd": ("schedulefree", "SGDScheduleFree"),
}
PACKAGES |= {"prodigy": ("prodigyopt", "Prodigy")}
TORCH = {
    "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax, "adagrad": torch.optim.Adagrad, "adadelta": torch.optim.Adadelta, "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop, "asgd": torch.optim.ASGD, "adafactor": torch.optim.Adafactor, "lbfgs": torch.optim.LBFGS,
    "muon": torch.optim.Muon, "sparse-adam": torch.optim.SparseAdam,
}  # fmt: skip
OTHER_VALUES = {
    "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.125, "betas": (0.5, 0.75), "eps": 0.25, "amsgrad": True, "momentum_decay": 0.5,
    "decoupled_weight_decay": True, "lr_decay": 0.5, "initial_accumulator_value": 0.5, "rho": 0.5, "alpha": 0.5, "centered": True,
    "etas": (0.25, 3.0), "step_sizes": (1e-3, 2.0), "lambd": 0.5, "t0": 10.0, "beta2_decay": -0.5, "d": 2.0, "max_iter": 3,
    "tolerance_grad": 0.5, "tolerance_change": 0.5, "history_size": 3, "line_search_fn": "strong_wolfe", "ns_steps": 3, "nesterov": False,
    "warmup_steps": 3, "d_coef": 2.0, "trust_coefficient": 0.5, "exclude_1d": False,
}  # fmt: skip


def class_of(name):
    if name in TORCH | OWN:
        return (TORCH | OWN)[name]
    module, attribute = PACKAGES[name]
    return getattr(pytest.importorskip(module), attribute)


def built(name, lr=0.1, **options):
    entry = OPTIMIZERS[name]
    tensors = [torch.nn.Parameter(torch.ones(2, 2))]
    return entry.build([{"params": tensors, "lr": lr, "name": "all"}], lr, **entry.resolve(options))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_those_of_the_class(name):
    given = {n: p.default for n, p in inspect.signature(class_of(name)).parameters.items()}
    ours = OPTIMIZERS[name].defaults()
    if name == "muon":
        assert ours.pop("matrices") == "hidden"
        adamw = inspect.signature(torch.optim.AdamW).parameters
        assert (ours.pop("betas"), ours.pop("eps")) == (adamw["betas"].default, adamw["eps"].default)
    if name == "lbfgs":
        assert ours.pop("line_search_fn") == str(given["line_search_fn"]).lower()
    assert ours == {option: given[option] for option in ours}
    assert OPTIMIZERS[name].default_lr == given["lr"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_makes_the_class_that_it_is_named_for(name):
    made = built(name)
    assert type(made) is (Paired if name == "muon" else class_of(name))
    assert made.param_groups[0]["lr"] == 0.1
    assert made.param_groups[0]["name"] == "all"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, entry in OPTIMIZERS.items()
        for option in entry.settings.model_fields
        if option != "matrices"
    ],
)  # which decides on the groups that it is given
def test_each_setting_reaches_the_optimizer(name, option):
    value = True if name == "sgd" and option == "nesterov" else OTHER_VALUES[option]
    needed = {"momentum": 0.9} if (name, option) == ("sgd", "nesterov") else {}
    group = built(name, **(needed | {option: value})).param_groups[0]
    if name == "muon" and option in ("betas", "eps"):
        group = paired_with_vector(**{option: value}).param_groups[1]
    assert group[option] == value


def paired_with_vector(**options):
    entry = OPTIMIZERS["muon"]
    groups = [{"params": [torch.nn.Parameter(torch.ones(*shape))], "lr": 0.1} for shape in ((2, 2), (2,))]
    return entry.build(groups, 0.1, **entry.resolve(options))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_lr_of_a_group_goes_before_that_of_the_optimizer(name):
    entry = OPTIMIZERS[name]
    groups = [{"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": 0.25}]
    assert [g["lr"] for g in entry.build(groups, 0.1, **entry.resolve({})).param_groups] == [0.25]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_entry_is_documented(name):
    entry = OPTIMIZERS[name]
    assert entry.meaning.endswith(".")
    assert len(entry.source) > 10


def test_an_optimizer_must_say_its_default_lr():
    from lrbench import optimizer

    with pytest.raises(TypeError, match="default_lr"):
        optimizer("mine")


def test_every_dense_optimizer_of_torch_is_in_the_catalog():
    known = {
        cls for cls in vars(torch.optim).values() if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)
    }
    assert known - {torch.optim.Optimizer} == set(TORCH.values())
