"""Roles of parameters, by hand for every kind of module."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lrbench.strategies import LAYER_LRS
from lrbench.workloads import WORKLOADS, describe
from lrbench.workloads.roles import role_of


class RMS(nn.Module):
    """A norm of one's own, called otherwise."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(6))


class T5LayerNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.strength, self.bias = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))


class Narrow(nn.Linear):
    """A layer of one's own with a single output: its weight is no vector."""

    def __init__(self):
        super().__init__(6, 1)


class Patches(nn.Module):
    """What a vision transformer adds to its patches and puts before them."""

    def __init__(self):
        super().__init__()
        self.cls_token, self.pos_embed = nn.Parameter(torch.rand(1, 1, 6)), nn.Parameter(torch.rand(5, 6))
        self.proj = nn.Conv2d(3, 6, 2)


class Gated(nn.Module):
    """A module with a matrix: its vectors are not those of a norm."""

    def __init__(self):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.ones(6, 6)), nn.Parameter(torch.ones(6))


def roles(module):
    model = nn.ModuleDict({"of": module})
    return {name.removeprefix("of."): role_of(model, name, value) for name, value in model.named_parameters()}


BIASES = [
    (nn.LSTM(4, 6, bidirectional=True), 4), (nn.GRU(4, 6), 2), (nn.RNN(4, 6), 2), (nn.Linear(4, 6), 1), (nn.Bilinear(2, 3, 6), 1),
    (nn.MultiheadAttention(4, 2), 2), (nn.MultiheadAttention(4, 2, add_bias_kv=True), 4), (nn.Conv2d(4, 6, 3), 1), (nn.LSTMCell(4, 6), 2),
    (parametrizations.weight_norm(nn.Linear(4, 6)), 1), (T5LayerNorm(), 1),
]  # fmt: skip


@pytest.mark.parametrize(("module", "number"), BIASES, ids=lambda of: type(of).__name__)
def test_biases_are_found_whatever_they_are_called(module, number):
    assert [name for name, role in roles(module).items() if role.is_bias] == [
        n for n, _ in module.named_parameters() if "bias" in n
    ]
    assert sum(role.is_bias for role in roles(module).values()) == number


NORMED = [
    nn.BatchNorm2d(6),
    nn.LayerNorm(6),
    nn.GroupNorm(2, 6),
    nn.RMSNorm(6),
    nn.InstanceNorm1d(6, affine=True),
    RMS(),
    T5LayerNorm(),
]


@pytest.mark.parametrize("module", NORMED, ids=lambda of: type(of).__name__)
def test_norms_are_found_those_of_ones_own_too(module):
    assert all(role.is_norm or role.is_bias for role in roles(module).values())


@pytest.mark.parametrize(
    "module",
    [Gated(), Narrow(), Patches(), nn.Linear(6, 1), nn.Conv1d(6, 1, 1), nn.PReLU(6)],
    ids=lambda of: type(of).__name__,
)
def test_other_vectors_are_no_norms(module):
    assert not any(role.is_norm for role in roles(module).values())


def test_the_vectors_of_a_workload_itself_are_its_weights():
    assert not any(p.is_norm or p.is_bias for p in describe(WORKLOADS["quadratic"], WORKLOADS["quadratic"].model()))


WIDTHS = [
    (nn.Linear(5, 7), "weight", (5, 7, 1)),
    (nn.Conv2d(8, 12, 3), "weight", (8, 12, 9)),
    (nn.Conv2d(8, 12, 3, groups=4), "weight", (2, 12, 9)),
    (nn.Conv2d(8, 8, 3, groups=8), "weight", (1, 8, 9)),
    (nn.ConvTranspose2d(8, 12, 3), "weight", (8, 12, 9)),
    (nn.ConvTranspose1d(8, 12, 4, groups=4), "weight", (2, 12, 4)),
    (nn.Bilinear(2, 3, 7), "weight", (6, 7, 1)),
    (nn.Embedding(50, 7), "weight", (1, 7, 1)),
    (nn.LSTM(5, 7), "weight_ih_l0", (5, 7, 1)),
    (nn.LSTM(5, 7), "weight_hh_l0", (7, 7, 1)),
    (nn.LSTM(5, 7, proj_size=3), "weight_hr_l0", (7, 3, 1)),
    (nn.LSTM(5, 7), "bias_hh_l0", (1, 7, 1)),
    (nn.GRUCell(5, 7), "weight_ih", (5, 7, 1)),
    (nn.GRUCell(5, 7), "bias_ih", (1, 7, 1)),
    (nn.MultiheadAttention(8, 2), "in_proj_weight", (8, 8, 1)),
    (nn.MultiheadAttention(8, 2), "in_proj_bias", (1, 8, 1)),
    (nn.MultiheadAttention(8, 2, kdim=5, vdim=6), "k_proj_weight", (5, 8, 1)),
    (parametrizations.weight_norm(nn.Linear(5, 7)), "parametrizations.weight.original1", (5, 7, 1)),
    (parametrizations.spectral_norm(nn.Conv1d(5, 7, 3)), "parametrizations.weight.original", (5, 7, 3)),
]


@pytest.mark.parametrize(
    ("module", "name", "expected"), WIDTHS, ids=lambda of: type(of).__name__ if isinstance(of, nn.Module) else str(of)
)
def test_widths_and_taps_are_those_of_the_module(module, name, expected):
    role = roles(module)[name]
    assert (role.width_in, role.width_out, role.taps) == expected


@pytest.mark.parametrize(
    ("module", "name", "expected"), [case for case in WIDTHS if "Conv" in type(case[0]).__name__], ids=str
)
def test_fan_in_is_the_number_of_inputs_that_an_output_sums(module, name, expected):
    """By counting: of ones, through a kernel of ones, the largest output is the number of inputs that it sums."""
    if name != "weight":
        return
    nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)
    spatial = (9,) * (module.weight.ndim - 2)
    with torch.no_grad():
        assert module(torch.ones(1, module.in_channels, *spatial)).max().item() == expected[0] * expected[2]


class Wide(nn.Module):
    """An embedding, a block with layers of other widths, depthwise and transposed kernels, a head; all grow with ``width``."""

    def __init__(self, width=32):
        super().__init__()
        self.embed = nn.Embedding(12, width)
        self.block = nn.ModuleDict(
            {
                "up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width), "norm": nn.LayerNorm(width),
                "attention": nn.MultiheadAttention(width, 2), "lstm": nn.LSTM(width, width),
                "depthwise": nn.Conv1d(width, width, 3, groups=width), "transposed": nn.ConvTranspose1d(width, 2 * width, 3),
            }
        )  # fmt: skip
        self.head = nn.Linear(width, 12)


def described(width):
    return describe(replace(WORKLOADS["quadratic"], layers=("embed", "block", "head")), Wide(width))


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("width", [16, 32, 128])
def test_a_width_rule_is_one_at_its_base_width_and_scales_whole_families(rule, width):
    def multipliers(base):
        policy = LAYER_LRS["width-scaled"].build(base_width=base, rule=rule, width="model")
        return {name: rate.multiplier for name, rate in policy(described(width)).items()}

    assert set(multipliers(width).values()) == {1.0}
    found, kinds = multipliers(width // 4), {p.name: p for p in described(width)}
    for name, multiplier in found.items():
        p = kinds[name]
        summing = not (p.is_vector or p.is_embedding or "depthwise" in name)
        if rule == "adam" or p.is_head:
            assert multiplier == (0.25 if summing else 1.0), name
        else:
            assert multiplier == (1.0 if summing else 4.0), name


def test_by_layer_a_depthwise_kernel_is_not_blown_up():
    policy = LAYER_LRS["width-scaled"].build(base_width=64, rule="adam", width="layer")
    assert policy(described(64))["block.depthwise.weight"].multiplier == 1.0


def test_the_hidden_matrices_are_those_between_units():
    found = [p.name for p in described(32) if p.is_hidden_matrix]
    assert found == [
        "block.up.weight", "block.down.weight", "block.attention.in_proj_weight", "block.attention.out_proj.weight",
        "block.lstm.weight_ih_l0", "block.lstm.weight_hh_l0",
    ]  # fmt: skip


def of(model, *layers):
    return {p.name: p for p in describe(replace(WORKLOADS["quadratic"], layers=layers), model)}


def names(params, flag):
    return [name for name, p in params.items() if getattr(p, flag)]


def test_bare_embeddings_are_told_by_their_names():
    params = of(nn.Sequential(Patches(), nn.Linear(6, 6), nn.Linear(6, 3)), "0", "1", "2")
    assert names(params, "is_embedding") == ["0.cls_token", "0.pos_embed"]
    assert [params[name].width_out for name in names(params, "is_embedding")] == [6, 6]
    assert names(params, "is_hidden_matrix") == ["1.weight"]


def test_the_first_weight_that_the_data_meets_is_an_input():
    assert names(of(nn.Sequential(Patches(), nn.Linear(6, 3)), "0", "1"), "is_input") == [
        "0.cls_token",
        "0.pos_embed",
        "0.proj.weight",
    ]
    assert names(of(nn.Sequential(nn.Linear(1, 6), nn.Linear(6, 6), nn.Linear(6, 3)), "0", "1", "2"), "is_input") == [
        "0.weight"
    ]
    assert names({p.name: p for p in described(32)}, "is_input") == ["embed.weight"]
    by_layers = nn.ModuleDict({"head": nn.Linear(6, 3), "second": nn.Linear(6, 6), "first": nn.Linear(4, 6)})
    assert names(of(by_layers, "first", "second", "head"), "is_input") == ["first.weight"]


class Tied(nn.Module):
    """A table that is the head's weight, too."""

    def __init__(self, *, tied, sparse=True):
        super().__init__()
        self.embed, self.body, self.head = (
            nn.Embedding(9, 6, sparse=sparse),
            nn.Linear(6, 6),
            nn.Linear(6, 9, bias=False),
        )
        if tied:
            self.head.weight = self.embed.weight


def test_a_tied_table_is_an_embedding_with_the_widths_of_the_head():
    table = of(Tied(tied=True), "embed", "body", "head")["embed.weight"]
    assert (table.is_embedding, table.is_head, table.is_hidden_matrix) == (True, True, False)
    assert (table.width_in, table.width_out) == (6, 9)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_sparse_where_every_use_is_of_a_sparse_table(tied):
    model = Tied(tied=tied)
    model.head(model.body(model.embed(torch.tensor([1, 2])))).sum().backward()
    table = of(model, "embed", "body", "head")["embed.weight"]
    assert table.is_sparse == model.embed.weight.grad.is_sparse == (not tied)


def test_a_complex_matrix_is_not_orthogonalised():
    params = of(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6, dtype=torch.complex64), nn.Linear(6, 3)), "0", "1", "2")
    assert names(params, "is_hidden_matrix") == ["0.weight"]
