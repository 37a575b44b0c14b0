"""Layer-lr policies: closed forms, and every parameter exactly once."""

import operator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import NEEDED

from lrbench.config.param import Param
from lrbench.strategies import FROZEN, LAYER_LRS, Rate
from lrbench.strategies.layer_lr import param_groups
from lrbench.workloads import WORKLOADS, describe


def params(*widths):
    """A perceptron of these widths, each layer with a weight, a bias and a norm but the head, which has no norm."""
    found = []
    last = len(widths) - 2
    for i, (before, after) in enumerate(pairwise(widths)):
        name = "head" if i == last else f"layer{i + 1}"
        shapes = {"weight": (after, before), "bias": (after,)} | ({} if i == last else {"norm.weight": (after,)})
        found += [
            Param(
                f"{name}.{leaf}",
                i,
                name,
                s,
                leaf == "bias",
                "norm" in leaf,
                i == last,
                is_input=i == 0 and leaf == "weight",
            )
            for leaf, s in shapes.items()
        ]
    return found


def multipliers(name, of, **options):
    entry = LAYER_LRS[name]
    return {n: rate.multiplier for n, rate in entry.build(**entry.resolve(options))(of).items()}


def by_layer(name, of, **options):
    rates = multipliers(name, of, **options)
    return [rates[next(p.name for p in of if p.layer == layer)] for layer in range(max(p.layer for p in of) + 1)]


class TestClosedForms:
    @given(st.integers(2, 12), st.floats(1.0, 1e4))
    @settings(max_examples=40)
    def test_discriminative_is_geometric_from_lr_over_ratio_to_lr(self, depth, ratio):
        rates = by_layer("discriminative", params(*[4] * (depth + 1)), ratio=ratio)
        assert rates[0] == pytest.approx(1 / ratio)
        assert rates[-1] == 1.0
        steps = [b / a for a, b in pairwise(rates)]
        assert steps == pytest.approx([ratio ** (1 / (depth - 1))] * (depth - 1))

    def test_discriminative_of_a_single_layer_is_the_base_lr(self):
        assert by_layer("discriminative", params(4, 3)) == [1.0]

    @given(st.integers(1, 12), st.floats(0.01, 1.0))
    @settings(max_examples=40)
    def test_depth_decay_is_a_power_of_the_distance_to_the_head(self, depth, gamma):
        rates = by_layer("depth-decay", params(*[4] * (depth + 1)), gamma=gamma)
        assert rates == pytest.approx([gamma ** (depth - 1 - layer) for layer in range(depth)])

    def test_uniform_is_one(self):
        assert set(multipliers("uniform", params(4, 5, 3)).values()) == {1.0}

    def test_head_only(self):
        assert by_layer("head-only", params(4, 5, 5, 3)) == [0.0, 0.0, 1.0]

    def test_bias_and_norm_have_a_rate_and_a_decay_of_their_own(self):
        of = params(4, 5, 3)
        entry = LAYER_LRS["bias-norm"]
        rates = entry.build(**entry.resolve({"multiplier": 3.0, "weight_decay": 0.25}))(of)
        for p in of:
            assert rates[p.name] == (Rate(3.0, weight_decay=0.25) if p.is_bias or p.is_norm else Rate())

    def test_gradual_unfreezing_goes_down_from_the_head(self):
        of = params(4, 5, 5, 3)
        entry = LAYER_LRS["gradual-unfreezing"]
        groups = param_groups(entry.build(**entry.resolve({"every": 7})), of, 100)
        assert [(g.name, g.joins) for g in groups] == [("head", 0), ("layer2", 7), ("layer1", 14)]
        groups = param_groups(entry.build(**entry.resolve({"every": 0.25})), of, 100)
        assert [g.joins for g in groups] == [0, 25, 50]

    def test_a_layer_that_would_join_after_the_end_never_does(self):
        entry = LAYER_LRS["gradual-unfreezing"]
        groups = param_groups(entry.build(**entry.resolve({"every": 60})), params(4, 5, 5, 3), 100)
        assert [g.name for g in groups] == ["head", "layer2"]

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ("adam", {"layer1": (1, 1, 1), "layer2": (64 / 256, 1, 1), "head": (64 / 128, 1)}),
            ("sgd", {"layer1": (256 / 64,) * 3, "layer2": (1, 128 / 64, 128 / 64), "head": (64 / 128, 1)}),
        ],
    )
    def test_width_scaled_is_table_3_of_the_mup_paper(self, rule, expected):
        """Adam: hidden and output weights by 1 / fan-in. SGD: output weights by 1 / fan-in, input weights and vectors by fan-out."""
        of = params(32, 256, 128, 10)
        rates = multipliers("width-scaled", of, base_width=64, rule=rule, width="layer")
        assert {name: tuple(rates[p.name] for p in of if p.layer_name == name) for name in expected} == expected

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ("adam", {"layer1": (1, 1, 1), "layer2": (1 / 4, 1, 1), "head": (1 / 4, 1)}),
            ("sgd", {"layer1": (4,) * 3, "layer2": (1, 4, 4), "head": (1 / 4, 1)}),
        ],
    )
    def test_width_scaled_goes_by_the_width_of_the_model(self, rule, expected):
        of = params(32, 256, 1024, 10)
        rates = multipliers("width-scaled", of, base_width=64, rule=rule, width="model")
        assert {name: tuple(rates[p.name] for p in of if p.layer_name == name) for name in expected} == expected

    @pytest.mark.parametrize("rule", ["adam", "sgd"])
    @given(st.lists(st.sampled_from([16, 64, 256]), min_size=2, max_size=5))
    @settings(max_examples=20)
    def test_width_scaled_changes_nothing_at_the_base_width(self, rule, widths):
        """Whatever other widths a model has: the layers of a family of models grow together."""
        found = multipliers("width-scaled", params(*widths, 10), base_width=widths[1], rule=rule, width="model")
        assert set(found.values()) == {1.0}


class TestPatterns:
    OF = params(4, 5, 5, 3)

    def test_a_pattern_is_of_a_name_or_of_a_layer(self):
        rates = multipliers("groups", self.OF, multipliers={"layer1": 0.5, "*.bias": 0.25}, rest=2.0)
        assert rates == {p.name: 0.5 if p.layer_name == "layer1" else 0.25 if p.is_bias else 2.0 for p in self.OF}

    def test_the_first_match_counts(self):
        assert by_layer("groups", self.OF, multipliers={"layer1": 0.5, "*": 0.1}) == [0.5, 0.1, 0.1]
        assert by_layer("groups", self.OF, multipliers={"*": 0.1, "layer1": 0.5}) == [0.1, 0.1, 0.1]

    def test_freeze(self):
        assert by_layer("freeze", self.OF, layers=["layer?"]) == [0.0, 0.0, 1.0]

    @pytest.mark.parametrize(
        ("name", "options"),
        [("groups", {"multipliers": {"layer*": 1.0, "layr2": 0.1}}), ("freeze", {"layers": ["layr2"]})],
    )
    def test_a_pattern_that_matches_nothing_is_an_error(self, name, options):
        with pytest.raises(
            ValueError, match=r"pattern 'layr2' matches no parameter\. The layers are layer1, layer2, head\."
        ):
            multipliers(name, self.OF, **options)

    def test_case_matters_on_every_system(self):
        with pytest.raises(ValueError, match="matches no parameter"):
            multipliers("freeze", self.OF, layers=["LAYER1"])


OF = params(4, 5, 3)
ALL = {p.name: Rate() for p in OF}


MATRIX = operator.attrgetter("is_hidden_matrix")


class TestCoverage:
    @pytest.mark.parametrize(
        ("rates", "said"),
        [
            (
                {n: r for n, r in ALL.items() if n != "head.bias"},
                r"missing \['head.bias'\]\. Use multiplier 0\.0 to freeze",
            ),
            (ALL | {"tail.bias": Rate()}, r"names parameters that the model does not have: \['tail.bias'\]"),
            (ALL | {"head.bias": Rate(-0.1)}, r"gives \['head.bias'\] a multiplier or a time to join that is negative"),
            (ALL | {"head.bias": Rate(float("nan"))}, r"gives \['head.bias'\] a multiplier"),
            (ALL | {"head.bias": Rate(joins=-1)}, r"gives \['head.bias'\] a multiplier or a time to join"),
            (dict.fromkeys(ALL, FROZEN), "trains no parameter at the start"),
            (dict.fromkeys(ALL, Rate(joins=5)), "trains no parameter at the start"),
        ],
        ids=["missing", "unknown", "negative", "no number", "negative joins", "all frozen", "all late"],
    )
    def test_is_checked(self, rates, said):
        with pytest.raises(ValueError, match=said):
            param_groups(lambda _: rates, OF, 100)

    @pytest.mark.parametrize("policy", LAYER_LRS)
    @pytest.mark.parametrize("workload", WORKLOADS)
    @pytest.mark.parametrize("is_matrix", [None, MATRIX], ids=["one kind", "two kinds"])
    def test_every_policy_covers_each_parameter_of_every_workload_once(self, policy, workload, is_matrix):
        known = WORKLOADS[workload]
        with torch.device("meta"):
            of = describe(known, known.model())
        layers = {"groups": {"multipliers": {of[0].layer_name: 0.1}}, "freeze": {"layers": [of[0].layer_name]}}
        entry = LAYER_LRS[policy]
        made = entry.build(**entry.resolve({n: layers[policy][n] for n in NEEDED.get(policy, {})}))
        if len(known.layers) == 1 and policy == "freeze":
            with pytest.raises(ValueError, match="trains no parameter"):
                param_groups(made, of, 1000)
            return
        trained = [name for group in param_groups(made, of, 1000, is_matrix=is_matrix) for name in group.params]
        frozen = [name for name, rate in made(of).items() if rate.multiplier == 0.0]
        assert sorted(trained + frozen) == sorted(p.name for p in of)

    def test_groups_come_in_the_order_in_which_they_join(self):
        rates = ALL | {"layer1.weight": Rate(joins=50), "layer1.bias": Rate(joins=20)}
        assert [g.joins for g in param_groups(lambda _: rates, OF, 100)] == [0, 20, 50]

    def test_hidden_matrices_and_the_rest_are_kept_apart(self):
        of = {p.name: p for p in params(4, 5, 5, 3)}
        groups = param_groups(lambda _: dict.fromkeys(of, Rate()), list(of.values()), 100, is_matrix=MATRIX)
        assert [(group.use_muon, group.params) for group in groups if group.use_muon] == [
            (True, ("layer1.weight", "layer2.weight"))
        ]
        assert sorted(name for group in groups for name in group.params) == sorted(of)

    def test_parameters_of_one_rate_share_a_group(self):
        assert len(param_groups(lambda _: ALL, OF, 100)) == 1

    def test_a_group_becomes_what_torch_takes(self):
        [group] = param_groups(lambda _: {"w": Rate(0.5, weight_decay=0.1)}, [replace(OF[0], name="w")], 100)
        tensor = torch.ones(5, 4)
        options = group.options({"w": tensor}, 0.2)
        assert options.pop("params")[0] is tensor
        assert options == {"lr": 0.1, "weight_decay": 0.1}


@pytest.mark.parametrize("name", LAYER_LRS)
def test_every_entry_is_documented(name):
    assert LAYER_LRS[name].meaning.endswith(".")
    assert len(LAYER_LRS[name].source) > 10
