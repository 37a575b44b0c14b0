"""The width rule on real architectures, held to the comparison of two models that muP is defined by."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

from lrbench.strategies import LAYER_LRS
from lrbench.workloads import WORKLOADS, describe

IN, OUT, BASE = 6, 5, 8


class OwnNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))


class Pair(nn.Module):
    """A layer with a norm before it, as in residual networks."""

    def __init__(self, norm, layer):
        super().__init__()
        self.norm, self.layer = norm, layer


def chain(**layers):
    return nn.Sequential(OrderedDict(layers))


def uneven(w):
    return chain(
        first=nn.Linear(IN, w), wide=nn.Linear(w, 4 * w), narrow=nn.Linear(4 * w, w // 2), head=nn.Linear(w // 2, OUT)
    )


def convolutional(w):
    return chain(
        stem=nn.Conv2d(3, w, 3),
        norm=nn.BatchNorm2d(w),
        depthwise=nn.Conv2d(w, w, 3, groups=w),
        pointwise=nn.Conv2d(w, 2 * w, 1),
        grouped=nn.Conv2d(2 * w, 2 * w, 3, groups=2),
        up=nn.ConvTranspose2d(2 * w, w, 2),
        up_depthwise=nn.ConvTranspose2d(w, w, 2, groups=w),
        head=nn.Linear(w * 4, OUT),
    )


def recurrent(w):
    return chain(
        first=nn.LSTM(IN, w, num_layers=2), own=OwnNorm(w), second=nn.GRU(w, 2 * w), head=nn.Linear(2 * w, OUT)
    )


def transformer(w):
    return chain(
        embed=nn.Embedding(50, w),
        attention=Pair(nn.LayerNorm(w), nn.MultiheadAttention(w, 2)),
        up=Pair(nn.RMSNorm(w), nn.Linear(w, 4 * w)),
        down=nn.Linear(4 * w, w),
        head=Pair(nn.LayerNorm(w), nn.Linear(w, OUT)),
    )


FAMILIES = [uneven, convolutional, recurrent, transformer]


def described(model):
    layers = tuple(name for name, _ in model.named_children())
    return describe(replace(WORKLOADS["quadratic"], layers=layers), model)


def multipliers(model, rule, **options):
    entry = LAYER_LRS["width-scaled"]
    settings = entry.settings.model_validate({"base_width": BASE, "rule": rule} | options)
    return {name: rate.multiplier for name, rate in entry.build(**dict(settings))(described(model)).items()}


def by_two_models(model, base, rule):
    """Table 3 from its definition: dimensions that differ between two widths are those that grow; a kernel has its fan-in next to last."""
    found = {}
    for (name, p), small in zip(model.named_parameters(), base.parameters(), strict=True):
        grows = [i for i, (n, m) in enumerate(zip(p.shape, small.shape, strict=True)) if n != m]
        times = {p.shape[i] / small.shape[i] for i in grows}
        is_output = name.startswith("head") and p.ndim > 1
        assert len(times) <= 1
        r = times.pop() if times else 1.0
        if len(grows) == 2:
            found[name] = 1 / r if rule == "adam" else 1.0
        elif is_output:
            found[name] = 1 / r
        else:
            found[name] = 1.0 if rule == "adam" else r
    return found


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_base_width_every_multiplier_is_one(family, rule):
    assert set(multipliers(family(BASE), rule).values()) == {1.0}


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("times", [0.5, 2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_at_other_widths_they_are_those_of_two_models_compared(family, times, rule):
    wide = family(int(BASE * times))
    assert multipliers(wide, rule) == by_two_models(wide, family(BASE), rule)


def test_of_each_kind_by_hand():
    """Twice the base width, as in table 3 of the muP paper: Adam by 1 / fan-in, SGD's vectors by fan-out and its head by 1 / fan-in."""
    adam, sgd = multipliers(convolutional(2 * BASE), "adam"), multipliers(convolutional(2 * BASE), "sgd")
    of = (
        "stem.weight",
        "stem.bias",
        "norm.weight",
        "depthwise.weight",
        "pointwise.weight",
        "up.weight",
        "head.weight",
        "head.bias",
    )
    assert [adam[name] for name in of] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 1.0]
    assert [sgd[name] for name in of] == [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.5, 1.0]


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("workload", ["quadratic", "cancer-logistic"])
def test_what_has_no_hidden_width_is_left_alone(workload, rule):
    known = WORKLOADS[workload]
    entry = LAYER_LRS["width-scaled"]
    rates = entry.build(**dict(entry.settings(rule=rule)))(describe(known, known.model()))
    assert {rate.multiplier for rate in rates.values()} == {1.0}


def test_a_tied_table_learns_as_the_head():
    def tied(w):
        model = chain(embed=nn.Embedding(50, w), body=nn.Linear(w, w), head=nn.Linear(w, 50, bias=False))
        model.head.weight = model.embed.weight
        return model

    assert multipliers(tied(2 * BASE), "adam") == {"embed.weight": 0.5, "body.weight": 0.5, "body.bias": 1.0}
    assert multipliers(tied(2 * BASE), "sgd") == {"embed.weight": 0.5, "body.weight": 1.0, "body.bias": 2.0}
