import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lrbench.config.faults import BadInput
from lrbench.config.matrix import Grid, parse_matrix, read_matrix
from lrbench.plan import expand, vocabulary

WORDS = vocabulary()


def runs(**matrix):
    return expand(parse_matrix({"name": "m", "workload": "quadratic", "seed": 0} | matrix, WORDS), WORDS)


def faults(**matrix):
    with pytest.raises(BadInput) as caught:
        runs(**matrix)
    return list(caught.value.faults)


def strategies(**matrix):
    return {run.strategy for run in runs(**matrix)}


class TestGrids:
    @given(st.floats(1e-6, 1e-3), st.floats(1e-2, 1e2), st.integers(2, 30))
    @settings(max_examples=50)
    def test_a_log_grid_has_equal_ratios_and_both_ends(self, low, high, count):
        lrs = np.array(Grid(log=(low, high), count=count).lrs(1.0))
        np.testing.assert_allclose(lrs[[0, -1]], [low, high], rtol=1e-5)
        np.testing.assert_allclose(lrs[1:] / lrs[:-1], (high / low) ** (1 / (count - 1)), rtol=1e-4)

    def test_grids_that_share_a_point_share_its_runs(self):
        coarse, fine = (set(Grid(log=(1e-4, 1e-1), count=n).lrs(1.0)) for n in (4, 7))
        assert coarse < fine
        assert coarse == {1e-4, 1e-3, 1e-2, 1e-1}

    def test_a_grid_may_fall(self):
        assert Grid(log=(1.0, 0.01), count=3).lrs(1.0) == (1.0, 0.1, 0.01)

    def test_multiples_are_of_each_optimizers_own_default(self):
        found = {(run.optimizer.name, run.lr) for run in runs(optimizer=["sgd", "adagrad"], lr={"multiples": [0.1, 3]})}
        assert found == {("sgd", 1e-4), ("sgd", 3e-3), ("adagrad", 1e-3), ("adagrad", 3e-2)}

    def test_values_keep_their_order_and_repeats_are_one(self):
        assert Grid(values=(0.3, 0.1, 0.3, 0.1000000001)).lrs(1.0) == (0.3, 0.1)

    def test_lrs_have_six_digits(self):
        assert Grid(values=(1 / 3,)).lrs(1.0) == (0.333333,)

    def test_an_optimizers_own_grid_goes_before_that_of_the_matrix(self):
        found = {
            (r.optimizer.name, r.lr) for r in runs(optimizer=[{"name": "sgd", "lr": [0.5, 0.6]}, "adam"], lr=[0.1])
        }
        assert found == {("sgd", 0.5), ("sgd", 0.6), ("adam", 0.1)}

    def test_without_a_grid_there_is_the_default(self):
        assert [run.lr for run in runs(optimizer="adadelta")] == [1.0]

    @pytest.mark.parametrize(
        "grid", [{"log": [0.1, 1]}, {"count": 3}, {"values": [1], "multiples": [1]}, {"log": [0.1, 1], "count": 1}, {}]
    )
    def test_a_grid_is_of_one_kind(self, grid):
        assert len(faults(lr=grid)) == 1

    @pytest.mark.parametrize("lr", [0.0, -1.0, 1e-31, 1e31, float("nan"), float("inf"), True, "0.1", [[0.1]], []])
    def test_an_lr_is_a_number_that_can_be_multiplied(self, lr):
        assert faults(lr=lr)
        assert faults(optimizer={"name": "sgd", "lr": lr})
        assert faults(lr={"multiples": lr if isinstance(lr, list) else [lr]})


class TestProducts:
    def test_axes_multiply_out(self):
        found = runs(
            optimizer=["sgd", {"name": "adam", "amsgrad": [True, False], "eps": [1e-8, 1e-6]}],
            schedule=["constant", "cosine"],
            lr=[0.1, 0.2, 0.3],
            seed={"count": 2},
            precision=["fp32", "fp64"],
            accumulate=[1, 2],
        )
        assert len(found) == len({run.key for run in found}) == (1 + 4) * 2 * 3 * 2 * 2 * 2

    def test_a_pair_is_one_value_and_a_list_of_pairs_are_several(self):
        assert strategies(optimizer={"name": "adam", "betas": [0.8, 0.9]}) == {
            "adam(betas=[0.8, 0.9]) / uniform / constant"
        }
        assert len(strategies(optimizer={"name": "adam", "betas": [[0.8, 0.9], [0.7, 0.9]]})) == 2

    def test_points_parts_and_milestones_multiply_out_too(self):
        ramp, drop = [[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]
        assert len(runs(schedule={"name": "lambda", "points": ramp})) == 1
        assert len(runs(schedule={"name": "lambda", "points": [ramp, drop]})) == 2
        assert len(runs(schedule={"name": "sequential", "parts": ["linear", "cosine"]})) == 1
        assert len(runs(schedule={"name": "sequential", "parts": [["linear", "cosine"], ["step", "cosine"]]})) == 2
        assert len(runs(schedule={"name": "multistep", "milestones": [[0.5], [0.2, 0.8]], "gamma": [0.1, 0.5]})) == 4

    def test_a_list_of_tables_of_patterns_is_an_axis(self):
        assert (
            len(runs(layer_lr={"name": "groups", "multipliers": [{"flat": 0.1}, {"steep": 0.1}], "rest": [1.0, 0.5]}))
            == 4
        )

    def test_repeats_are_one_run(self):
        assert len(runs(optimizer=["adam", {"name": "adam", "eps": [1e-8, 1e-8]}], seed=[0, 0])) == 1

    def test_an_exclude_that_leaves_out_nothing_or_everything_is_a_fault(self):
        with pytest.raises(BadInput) as caught:
            runs(optimizer="adam", exclude=[{"optimizer": "adam", "seed": [7]}, {"seed": [0]}, {"optimizer": "sgd"}])
        assert caught.value.faults == tuple(
            f"exclude[{i}]: matches no run of the matrix: correct it, or leave it out" for i in (0, 2)
        )
        with pytest.raises(BadInput, match="exclude: leaves out every run of the matrix"):
            runs(optimizer=["adam", "sgd"], exclude=[{"optimizer": "adam"}, {"optimizer": "sgd"}])

    def test_five_seeds_when_nothing_is_said(self):
        assert {run.seed for run in expand(parse_matrix({"name": "m", "workload": "quadratic"}, WORDS), WORDS)} == set(
            range(5)
        )


class TestIncludeAndExclude:
    def test_an_include_adds_runs_and_inherits_what_it_leaves_out(self):
        found = runs(
            optimizer=["sgd", "adam"], lr=[0.1], include=[{"schedule": "cosine"}, {"optimizer": "adagrad", "lr": [0.5]}]
        )
        assert {(r.optimizer.name, r.schedule.name, r.lr) for r in found} == {
            ("adagrad", "constant", 0.5),
            *((optimizer, schedule, 0.1) for optimizer in ("sgd", "adam") for schedule in ("constant", "cosine")),
        }

    def test_without_a_workload_at_the_top_only_the_includes_run(self):
        assert {r.workload.name for r in runs(workload=None, include=[{"workload": "cancer-logistic"}])} == {
            "cancer-logistic"
        }

    def test_an_include_without_any_workload_is_a_fault(self):
        assert faults(workload=None, include=[{"workload": "quadratic"}, {"optimizer": "sgd"}]) == [
            "matrix: must name a workload, at the top or in each [[include]] and [[cost]]"
        ]

    def test_an_exclude_leaves_out_the_runs_that_match_every_key(self):
        everything = runs(optimizer=["sgd", "adam"], schedule=["constant", "cosine"], lr=[0.1, 0.2], seed=[0, 1])
        found = runs(
            optimizer=["sgd", "adam"],
            schedule=["constant", "cosine"],
            lr=[0.1, 0.2],
            seed=[0, 1],
            exclude=[{"optimizer": "sgd", "schedule": "cosine"}, {"lr": 0.2, "seed": [1]}],
        )
        gone = {r.key for r in everything} - {r.key for r in found}
        assert gone == {
            r.key
            for r in everything
            if (r.optimizer.name, r.schedule.name) == ("sgd", "cosine") or (r.lr == 0.2 and r.seed == 1)
        }

    def test_an_exclude_with_a_table_matches_the_settings_that_it_names(self):
        optimizers = [{"name": "sgd", "momentum": [0.0, 0.9], "nesterov": [True, False]}, "adam"]
        found = runs(optimizer=optimizers, exclude=[{"optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": True}}])
        assert len(runs(optimizer=optimizers)) - len(found) == 1
        assert all(
            run.optimizer.settings.get("momentum") or not run.optimizer.settings.get("nesterov") for run in found
        )

    def test_an_exclude_applies_to_includes(self):
        assert {r.optimizer.name for r in runs(include=[{"optimizer": "sgd"}], exclude=[{"optimizer": "sgd"}])} == {
            "adam"
        }

    def test_an_empty_exclude_is_a_fault_and_not_everything(self):
        assert faults(exclude=[{}]) == [
            "matrix: exclude[0]: must name at least one key: as it is, it would leave out every run"
        ]


class TestBudget:
    def test_steps(self):
        [run] = runs(budget={"quadratic": {"steps": 70, "eval_every": 7, "target": 0.5}})
        assert (run.steps, run.eval_every, run.target) == (70, 7, 0.5)

    def test_epochs_count_the_examples_that_a_step_takes(self):
        found = runs(
            workload="digits-mlp", batch_size=[16, 32], accumulate=[1, 2], budget={"digits-mlp": {"epochs": 3}}
        )
        assert {(r.batch_size, r.accumulate): r.steps for r in found} == {
            (b, k): 3 * (1197 // (b * k)) for b in (16, 32) for k in (1, 2)
        }

    def test_another_length_is_evaluated_twenty_times(self):
        [run] = runs(budget={"quadratic": {"steps": 1000}})
        assert run.eval_every == 50

    def test_evaluations_are_never_further_apart_than_the_end(self):
        [run] = runs(budget={"quadratic": {"steps": 3, "eval_every": 100}})
        assert run.eval_every == 3

    def test_one_unit(self):
        assert faults(budget={"quadratic": {"steps": 3, "epochs": 1}}) == [
            "matrix: budget.quadratic: must be in steps or in epochs, not both"
        ]


class TestFaults:
    def test_all_are_told_at_once_each_with_its_path(self, tmp_path):
        (tmp_path / "reference.toml").write_text("""
workload = ["quadratic", "digits-mpl"]
optimizer = ["sgd", "admw", { name = "adam", betas = [0.9, 1.0] }]
layer_lr = { name = "depth-decay", gama = 0.5 }
schedule = { name = "cosine", eta_min = [0.0, 2.0], warmup = -1 }
lr = { log = [1e-3, 1e-1], cont = 5 }
seed = [0, 1.5]
batch_size = 0
precision = "fp8"
colour = "red"

[budget.quadratc]
steps = 0

[[exclude]]
optimizer = { name = "sgd", momentm = 0.9 }
""")
        with pytest.raises(BadInput) as caught:
            read_matrix(tmp_path / "reference.toml", WORDS)
        workloads = "Known: " + ", ".join(sorted(WORDS["workload"]))
        optimizers = "Known: " + ", ".join(sorted(WORDS["optimizer"]))
        assert set(caught.value.faults) == {
            f"reference.toml: workload[1]: no workload called 'digits-mpl'. Did you mean 'digits-mlp'? {workloads}.",
            f"reference.toml: optimizer[1]: no optimizer called 'admw'. Did you mean 'adamw'? {optimizers}.",
            "reference.toml: optimizer[2].betas: must lie in [0, 1), got 1.0",
            "reference.toml: layer_lr[0].gama: unknown key. Did you mean 'gamma'? Known: gamma.",
            "reference.toml: schedule[0].eta_min: must be <= 1.0, got 2.0",
            "reference.toml: schedule[0].warmup: must be at least 1 step, got -1",
            "reference.toml: lr.cont: unknown key. Did you mean 'count'? Known: count, log, multiples, values.",
            "reference.toml: seed[1]: must be a whole number, got 1.5",
            "reference.toml: batch_size[0]: must be >= 1, got 0",
            "reference.toml: precision[0]: must be 'fp64', 'fp32', 'tf32', 'bf16' or 'fp16', got 'fp8'",
            "reference.toml: colour: unknown key. Known: accumulate, batch_size, budget, cost, exclude, include, "
            "layer_lr, lr, name, "
            "optimizer, precision, schedule, seed, workload.",
            f"reference.toml: budget.quadratc: no workload called 'quadratc'. Did you mean 'quadratic'? {workloads}.",
            "reference.toml: budget.quadratc.steps: must be >= 1, got 0",
            "reference.toml: exclude[0].optimizer[0]: unknown key 'momentm'. Did you mean 'momentum'? Known: "
            "dampening, momentum, "
            "nesterov, weight_decay.",
        }

    def test_a_fault_of_a_list_is_told_once(self):
        assert faults(optimizer={"name": "sgd", "momentum": 1.5, "nesterov": [True, False]}) == [
            "matrix: optimizer[0].momentum: must lie in [0, 1), got 1.5"
        ]

    @pytest.mark.parametrize(
        ("matrix", "said"),
        [
            ({"optimizer": {"name": "sgd", "momentum": []}}, "optimizer[0].momentum: must not be empty"),
            ({"optimizer": []}, "optimizer: must not be empty"),
            ({"optimizer": {"nam": "sgd"}}, "optimizer[0]: must be a name, or a table with a name"),
            ({"optimizer": {"name": "sgd", "lr": {"log": [1, 2], "cont": 3}}}, "optimizer[0].lr.cont: unknown key"),
            ({"exclude": [{"optimizer": {"name": ["sgd"]}}]}, "exclude[0].optimizer[0]: must be a name"),
            ({"schedule": {"name": "sequential", "parts": [1, "cosine"]}}, "schedule[0].parts[0]: must name one of"),
            ({"schedule": {"name": "sequential", "parts": [{"name": ["a"]}, "cosine"]}}, "schedule[0].parts[0]: must "
            "name one of"),
            ({"schedule": {"name": "sequential", "parts": ["plateau", "cosine"]}}, "schedule[0].parts[0]: must name "
            "one of"),
            ({"schedule": {"name": "sequential", "parts": ["cosine"]}}, "schedule[0].parts: must be at least two"),
            ({"schedule": {"name": "sequential", "parts": [{"name": "cosine", "warmup": 3}, "step"]}}, "['warmup'] belong to the whole"),
            ({"schedule": {"name": "chained", "parts": ["cosine", "one-cycle"]}}, "one-cycle ignores the lr that other "
            "schedules leave"),
            ({"schedule": {"name": "chained", "parts": ["step", {"name": "cosine", "eta_min": 0.1}]}}, "cosine with an eta_min or a t_max"),
            ({"schedule": {"name": "sequential", "parts": ["step", {"name": "cyclic", "cycle_momentum": True}]}}, "must change nothing"),
            ({"schedule": {"name": "lambda", "points": [[1.0, 0.0], [0.0, 1.0]]}}, "schedule[0].points: must go from "
            "left to right"),
            ({"schedule": {"name": "multistep", "milestones": [0.5, 0.2]}}, "schedule[0].milestones: must ascend"),
            ({"schedule": {"name": "multistep", "milestones": [10, 0.2]}}, "schedule[0].milestones: must ascend, all "
            "as steps or all"),
            ({"schedule": {"name": "step", "step_size": 1.5}}, "schedule[0].step_size: as a share of the budget must "
            "lie in (0, 1]"),
            ({"schedule": {"name": "step", "step_size": True}}, "schedule[0].step_size: must be a whole number of "
            "steps or a share"),
            ({"optimizer": {"name": "rprop", "etas": [1.2, 0.5]}}, "optimizer[0].etas: must be (shrink, grow)"),
            ({"optimizer": {"name": "schedule-free-sgd", "momentum": 0.0}}, "optimizer[0].momentum: must be > 0.0, got "
            "0.0"),
            ({"layer_lr": {"name": "groups"}}, "layer_lr[0].multipliers: is required"),
            ({"layer_lr": "groups"}, "layer_lr[0].multipliers: is required"),
            ({"layer_lr": {"name": "groups", "multipliers": {"flat": -1.0}}}, "layer_lr[0].multipliers.flat: must be "
            ">= 0.0, got -1.0"),
            ({"layer_lr": "unifrom"}, "layer_lr[0]: no layer-lr policy called 'unifrom'. Did you mean 'uniform'?"),
            ({"seed": {"count": 10**12}}, "seed: count must be a whole number from 1 to 10,000, got 1000000000000"),
            ({"seed": {"cnt": 3}}, "seed: must be a whole number, a list of them, or {count = n}, got {'cnt': 3}"),
            ({"lr": {"log": [0.1, 1.0], "count": 10**12}}, "lr.count: must be <= 10000"),
            ({"seed": {"count": 0}}, "seed: count must be a whole number from 1 to 10,000, got 0"),
            ({"seed": 2**63}, "seed[0]: must be < 9223372036854775808"),
            ({"seed": True}, "seed[0]: must be a whole number, got True"),
            ({"batch_size": 2**31}, "batch_size[0]: must be < 2147483648"),
            ({"name": "a/b"}, "name: names a folder, so it must begin with a letter or digit and have up to 100 of "
            "these"),
            ({"name": "x" * 101}, "name: names a folder"),
            ({"name": "..", "workload": 3}, "workload[0]: must be a text, got 3"),
            ({"include": 3}, "include: must be a list, got 3"),
            ({"include": [3]}, "include[0]: must be a table, got 3"),
            ({"budget": 3}, "budget: must be a table, got 3"),
            ({"budget": {"quadratic": {"target": float("nan")}}}, "budget.quadratic.target: must be finite, got nan"),
            ({"workload": None}, "must name a workload, at the top or in each [[include]] and [[cost]]"),
        ],
        ids=str,
    )  # fmt: skip
    def test_each_is_a_sentence_for_who_typed_it(self, matrix, said):
        found = faults(**matrix)
        assert any(said in line for line in found), found
        assert all("\n" not in line and "pydantic" not in line and "validation" not in line for line in found)


class TestFiles:
    def fault(self, path):
        with pytest.raises(BadInput) as caught:
            read_matrix(path, WORDS)
        [line] = caught.value.faults
        assert "\n" not in line
        return line

    def test_the_name_of_a_matrix_is_that_of_its_file(self, tmp_path):
        (tmp_path / "mine.toml").write_text('workload = "quadratic"')
        assert read_matrix(tmp_path / "mine.toml", WORDS).name == "mine"

    def test_a_missing_file(self, tmp_path):
        assert "No such file or directory. Give the path of a matrix file (TOML)." in self.fault(tmp_path / "none.toml")

    def test_a_folder(self, tmp_path):
        assert "Is a directory" in self.fault(tmp_path)

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "empty.toml").touch()
        assert (
            self.fault(tmp_path / "empty.toml")
            == "empty.toml: must name a workload, at the top or in each [[include]] and [[cost]]"
        )

    def test_an_editors_byte_order_mark_is_no_fault(self, tmp_path):
        path = tmp_path / "m.toml"
        path.write_bytes(b'\xef\xbb\xbfworkload = "quadratic"')
        assert read_matrix(path, WORDS).workload == ("quadratic",)

    def test_a_binary_file(self, tmp_path):
        (tmp_path / "picture.toml").write_bytes(bytes(range(256)))
        assert "is not a text file in UTF-8" in self.fault(tmp_path / "picture.toml")

    @pytest.mark.parametrize("text", ["seed = ", "= 3", "[a", "a = 1\na = 2", 'workload = "x', "seed = 0\x00"])
    def test_broken_toml_is_told_with_its_line(self, text, tmp_path):
        (tmp_path / "broken.toml").write_text(text)
        assert self.fault(tmp_path / "broken.toml").startswith("broken.toml: is not TOML: ")


NAMES = [
    "workload",
    "optimizer",
    "schedule",
    "layer_lr",
    "lr",
    "seed",
    "name",
    "log",
    "count",
    "multiples",
    "parts",
    "points",
    "betas",
    "groups",
    "multipliers",
    "others",
    "sequential",
    "adam",
    "cosine",
    "quadratic",
    "steps",
    "warmup",
    "milestones",
    "flat",
]
SCALARS = (
    st.sampled_from(NAMES)
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.just(datetime.date(2026, 1, 1))
)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), v, max_size=3),
    max_leaves=6,
)


def picks(axis):
    """Tables of an entry with some of its own settings, at anything."""

    def of(name):
        fields = st.sampled_from([*WORDS[axis][name].settings.model_fields, "nonsense"])
        return st.dictionaries(fields, VALUES, max_size=3).map(lambda settings: {"name": name} | settings)

    return st.sampled_from(sorted(WORDS[axis])).flatmap(of)


MATRICES = st.fixed_dictionaries(
    {},
    optional={
        axis: VALUES | picks(axis) | st.lists(picks(axis), max_size=2) for axis in ("optimizer", "layer_lr", "schedule")
    }
    | {"workload": VALUES | st.just("quadratic"), "budget": VALUES | st.dictionaries(st.just("quadratic"), VALUES)}
    | dict.fromkeys(("lr", "seed", "batch_size", "accumulate", "precision", "name", "nonsense"), VALUES)
    | {
        name: VALUES | st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), max_size=2)
        for name in ("include", "exclude")
    },
)


@given(MATRICES)
@settings(max_examples=4 * settings.default.max_examples)
@example({"optimizer": {"name": "sgd", "momentum": [[[]]]}})
@example({"budget": {"two\nlines": 3}})
@example({"schedule": {"name": "sequential", "parts": [[]]}})
@example({"exclude": [{"schedule": {"name": {}}}]})
def test_whatever_is_in_the_file_the_only_error_is_bad_input(values):
    try:
        matrix = parse_matrix({"name": "m"} | values, WORDS)
    except BadInput as error:
        wrong = [line for line in error.faults if not line.startswith("matrix: ") or "\n" in line]
        assert error.faults  # noqa: PT017 - both ways to end are right
        assert not wrong
    else:
        assert all(run.key for run in expand(matrix, WORDS))


@pytest.mark.parametrize(
    ("axes", "plain"),
    [
        ({"lr": np.geomspace(1e-3, 1e-1, 3)}, {"lr": [0.001, 0.01, 0.1]}),
        ({"lr": list(np.float32([1e-3, 1e-2]))}, {"lr": [0.001, 0.01]}),
        ({"lr": torch.tensor([0.5, 0.25])}, {"lr": [0.5, 0.25]}),
        ({"lr": pd.Series([0.5, 0.25])}, {"lr": [0.5, 0.25]}),
        ({"lr": (0.5, np.float64(0.25))}, {"lr": [0.5, 0.25]}),
        ({"seed": range(3)}, {"seed": [0, 1, 2]}),
        ({"seed": list(np.random.default_rng(0).integers(0, 2**40, 1))}, {"seed": [700_346_781_657]}),
        ({"batch_size": np.int64(1)}, {"batch_size": 1}),
        (
            {"optimizer": {"name": "adam", "betas": np.array([0.9, 0.99])}},
            {"optimizer": {"name": "adam", "betas": [0.9, 0.99]}},
        ),
    ],
    ids=str,
)
def test_values_of_numpy_torch_pandas_and_range_are_the_numbers_they_hold(axes, plain):
    rest = {"name": "m", "workload": "quadratic", "seed": [0]}
    found, expected = (expand(parse_matrix(rest | given, vocabulary()), vocabulary()) for given in (axes, plain))
    assert [run.key for run in found] == [run.key for run in expected]
