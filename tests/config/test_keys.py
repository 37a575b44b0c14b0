"""A run's key is the hash of what it means: every value that decides the training, and nothing else."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model
from runs import a_run

from lrbench.config.matrix import parse_matrix, read_matrix
from lrbench.config.run import Choice, Run
from lrbench.config.types import Added
from lrbench.plan import expand, vocabulary
from lrbench.store.table import read_parquet

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "results" / "published"

VALUES = {
    "workload": Choice(name="digits-mlp", revision=1, label="digits-mlp"),
    "optimizer": Choice(
        name="adam", revision=1, settings={"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False}, label="adam"
    ),
    "layer_lr": Choice(
        name="groups", revision=1, settings={"multipliers": {"layer1*": 0.1, "*": 0.5}, "rest": 1.0}, label="groups"
    ),
    "schedule": Choice(name="cosine", revision=1, settings={"t_max": 1.0, "eta_min": 0.0}, label="cosine"),
    "lr": 0.01,
    "batch_size": 32,
    "accumulate": 1,
    "precision": "fp32",
    "steps": 300,
    "eval_every": 15,
    "target": 0.95,
    "seed": 0,
}
OTHERS = {
    "lr": 0.010001, "batch_size": 33, "accumulate": 2, "precision": "bf16", "steps": 301, "eval_every": 16, "target": 0.951, "seed": 1,
}  # fmt: skip
AXES = ("workload", "optimizer", "layer_lr", "schedule")


def keys(**matrix):
    return {
        run.key
        for run in expand(
            parse_matrix({"name": "m", "workload": "digits-mlp", "seed": 0} | matrix, vocabulary()), vocabulary()
        )
    }


def changed(choice, **values):
    return Choice(**(dict(choice) | values))


def test_the_hash_is_what_it_was():
    """A change here orphans every stored result: only a new meaning of the same values is a reason for one."""
    assert Run(**VALUES).key == "4a0675f937d0079c"


def test_every_field_of_a_run_is_among_those_tried_here():
    assert set(VALUES) == set(Run.model_fields) == set(AXES) | set(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_every_plain_value_changes_the_key(name):
    assert Run(**(VALUES | {name: OTHERS[name]})).key != Run(**VALUES).key


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(
    "change", [{"name": "another"}, {"revision": 2}, {"revision": "1"}, {"settings": {"new": 1}}], ids=str
)
def test_name_revision_and_settings_of_every_choice_change_the_key(axis, change):
    assert Run(**(VALUES | {axis: changed(VALUES[axis], **change)})).key != Run(**VALUES).key


@pytest.mark.parametrize("axis", AXES)
def test_labels_do_not_change_the_key(axis):
    assert Run(**(VALUES | {axis: changed(VALUES[axis], label="for people")})).key == Run(**VALUES).key


@given(
    st.dictionaries(
        st.text(max_size=3), st.floats(0.0, 1.0) | st.booleans() | st.lists(st.integers(), max_size=2), max_size=4
    ),
    st.randoms(),
)
@settings(max_examples=settings.default.max_examples // 2)
def test_the_order_of_settings_does_not_change_the_key(values, random):
    shuffled = list(values.items())
    random.shuffle(shuffled)
    one, other = (
        Run(**(VALUES | {"optimizer": changed(VALUES["optimizer"], settings=s)})) for s in (values, dict(shuffled))
    )
    assert one.key == other.key


def test_the_order_of_patterns_changes_the_key_because_the_first_match_counts():
    first, second = {"layer1*": 0.1, "*": 0.5}, {"*": 0.5, "layer1*": 0.1}
    assert (
        len(keys(layer_lr=[{"name": "groups", "multipliers": first}, {"name": "groups", "multipliers": second}])) == 2
    )


def test_the_order_of_properties_changed_by_hand_does_not_change_the_key():
    one, other = (
        {"name": "by-hand", "others": dict(o)} for o in ([("eps", 0.5), ("lambd", 0.5)], [("lambd", 0.5), ("eps", 0.5)])
    )
    assert len(keys(schedule=[one, other])) == 1


def test_an_explicit_default_is_the_default_left_out():
    plain = keys(optimizer="adam", schedule="cosine", layer_lr="depth-decay")
    assert plain == keys(
        optimizer={"name": "adam", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0, "amsgrad": False},
        schedule={"name": "cosine", "eta_min": 0, "warmup": 0, "per": "step"},
        layer_lr={"name": "depth-decay", "gamma": 0.75},
        accumulate=1,
        precision="fp32",
        batch_size=32,
        lr=1e-3,
        budget={"digits-mlp": {"steps": 300, "eval_every": 30, "target": 0.95}},
    )


def test_an_axis_left_out_is_its_default_written_out():
    assert keys() == keys(optimizer="adam", layer_lr="uniform", schedule="constant")


def test_a_part_by_name_is_the_part_written_out():
    short = {"name": "sequential", "parts": ["constant", "cosine"]}
    long = {
        "name": "sequential",
        "parts": [{"name": "constant"}, {"eta_min": 0.0, "t_max": 1.0, "name": "cosine"}],
        "milestones": [0.5],
    }
    assert keys(schedule=short) == keys(schedule=long)


def test_a_whole_number_and_a_share_are_different_spans():
    assert keys(schedule={"name": "cosine", "t_max": 1}) != keys(schedule={"name": "cosine", "t_max": 1.0})


def test_neither_the_file_nor_its_name_nor_its_order_changes_a_key(tmp_path):
    lines = [
        'workload = "digits-mlp"',
        'optimizer = ["sgd", {name = "adam", eps = 1e-7}]',
        "seed = [0, 1]",
        "lr = [0.1, 0.01]",
    ]
    (tmp_path / "one.toml").write_text("\n".join(lines))
    (tmp_path / "two.toml").write_text(
        "\n".join(['name = "mine"', *reversed(lines)]).replace("[0.1, 0.01]", "[0.01, 0.1]")
    )
    one, two = (
        {run.key for run in expand(read_matrix(tmp_path / f, vocabulary()), vocabulary())}
        for f in ("one.toml", "two.toml")
    )
    assert len(one) == 8
    assert one == two


def test_a_key_is_sixteen_digits_of_plain_json():
    run = a_run(schedule="sequential", layer_lr="groups")
    assert len(run.key) == 16
    assert int(run.key, 16) >= 0
    assert json.loads(json.dumps(run.identity(), allow_nan=False))["lr"] == run.lr


def test_a_stored_run_has_the_same_key_when_it_is_read_again():
    run = a_run(schedule="sequential", layer_lr=("groups", {"multipliers": {"layer2*": 0.1, "*": 1.0}}))
    assert Run.model_validate_json(run.model_dump_json()).key == run.key


class TestPublished:
    """Stored results are found by their keys: those of the record are what its matrices mean today."""

    @pytest.mark.parametrize("matrix", sorted(path.name for path in RECORD.iterdir()))
    def test_a_published_matrix_still_means_the_runs_on_record(self, matrix):
        meant = {
            run.key for run in expand(read_matrix(ROOT / "benchmarks" / f"{matrix}.toml", vocabulary()), vocabulary())
        }
        for place in sorted((RECORD / matrix).glob("*/study.toml")):
            stored = read_parquet(sorted((place.parent / "runs").glob("*.parquet")), ["key"])["key"].to_pylist()
            skipped = pd.read_csv(place.parent / "skipped.csv", dtype=str).key
            assert set(stored) | set(skipped) <= meant
            complete = tomllib.loads(place.read_text())["matrix"]["runs"] == len(stored)
            assert not complete or set(stored) | set(skipped) == meant
            assert not set(stored) & set(skipped)

    def test_make_bench_trains_runs_of_the_record(self):
        """But for those of two entries whose defaults are others since."""
        light, whole = (
            expand(read_matrix(ROOT / "benchmarks" / name, vocabulary()), vocabulary())
            for name in ("reference.toml", "reference-1.toml")
        )
        others = {run.key for run in light} - {run.key for run in whole}
        assert others == {
            run.key for run in light if run.optimizer.name == "muon" or run.layer_lr.name == "width-scaled"
        }
        assert len(others) < len(light) / 10


class Wider(Run):
    """A run with an axis of tomorrow."""

    clip: Annotated[float, Added(0.0)] = 0.0


def sequential(name, **settings):
    """The settings of a schedule made of two parts, of which the first has some settings."""
    entry = vocabulary()["schedule"]["sequential"]
    return entry.settings.model_validate({"parts": [{"name": name, **settings}, "constant"]}).resolved()


class TestAnAddedField:
    def test_leaves_the_key_at_its_neutral_value_and_changes_it_elsewhere(self):
        assert Wider(**VALUES).key == Wider(**VALUES, clip=0.0).key == Run(**VALUES).key
        assert Wider(**VALUES, clip=1.0).key != Run(**VALUES).key

    def test_a_setting_does_likewise_wherever_it_is_resolved(self, monkeypatch):
        plain = keys(schedule="linear")
        inside = sequential("linear")
        words = vocabulary()
        entry = words["schedule"]["linear"]
        settings = create_model("linear", __base__=entry.settings, accent=(Annotated[float, Added(0.0)], 0.0))
        monkeypatch.setitem(words["schedule"], "linear", replace(entry, settings=settings))
        assert keys(schedule="linear") == keys(schedule={"name": "linear", "accent": 0.0}) == plain
        assert keys(schedule={"name": "linear", "accent": 0.5}) != plain
        assert sequential("linear") == sequential("linear", accent=0.0) == inside
        assert sequential("linear", accent=0.5) != inside
        pattern = [{"schedule": {"name": "linear", "accent": 0.0}}]
        left = keys(schedule=[{"name": "linear", "accent": [0.0, 0.5]}], exclude=pattern)
        assert left == keys(schedule={"name": "linear", "accent": 0.5})
