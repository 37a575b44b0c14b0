"""A plan says what would be done, what cannot be and why, and writes nothing."""

import dataclasses
import os

import pytest

from lrbench.config.faults import BadInput
from lrbench.config.matrix import parse_matrix
from lrbench.execute import make_plan
from lrbench.plan import listing, vocabulary
from lrbench.plan import make_plan as sort_out
from lrbench.store import Store
from lrbench.workloads import WORKLOADS, describe, fetch

SMALL = {"workload": "quadratic", "optimizer": "sgd", "seed": [0, 1], "lr": [0.1, 0.2]}


def plan(stored=(), **matrix):
    return sort_out(parse_matrix({"name": "m", "workload": "digits-mlp", "seed": 0} | matrix, vocabulary()), stored)


@pytest.fixture
def away(tmp_path, monkeypatch):
    """An empty working directory and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("workload", ["quadratic", "mnist-transfer", "digits-mlp"])
def test_making_a_plan_writes_nothing(workload, away):
    (away / "m.toml").write_text(f'workload = "{workload}"')
    assert make_plan("m.toml").missing
    assert os.listdir(away) == ["m.toml"]  # noqa: PTH208 - hidden files too


def test_making_a_plan_loads_no_data(monkeypatch):
    for name, workload in WORKLOADS.items():
        monkeypatch.setitem(
            WORKLOADS,
            name,
            dataclasses.replace(workload, data=lambda: pytest.fail("loaded data"), missing=lambda: None),
        )
    assert len(plan(workload=list(WORKLOADS)).possible) == len(WORKLOADS)


def test_stored_runs_are_counted_and_not_missing():
    everything = plan(seed=[0, 1, 2])
    some = plan([run.key for run in everything.possible[:2]], seed=[0, 1, 2])
    assert [run.seed for run in some.missing] == [2]
    assert len(some.possible) == 3


def test_each_skip_has_a_reason_and_the_others_go_on():
    found = plan(
        optimizer=["adam", "sparse-adam", "prodigy"], layer_lr=["uniform", "depth-decay"], batch_size=[32, 5000]
    )
    reasons = {(s.run.optimizer.name, s.run.layer_lr.name, s.run.batch_size): s.reason for s in found.skips}
    assert {run.optimizer.name for run in found.possible} == {"adam", "prodigy"}
    assert len(found.possible) == 3
    assert reasons["sparse-adam", "uniform", 32].startswith("sparse-adam accepts sparse gradients only")
    assert reasons["prodigy", "depth-decay", 32].startswith("prodigy accepts one lr for all groups")
    assert reasons["adam", "uniform", 5000] == "batch_size 5000 x accumulate 1 exceeds the 1197 training examples"


def test_a_workload_without_data_is_skipped_and_the_others_go_on(monkeypatch):
    reason = "the images are not here"
    monkeypatch.setitem(WORKLOADS, "digits-mlp", dataclasses.replace(WORKLOADS["digits-mlp"], missing=lambda: reason))
    found = plan(workload=["digits-mlp", "quadratic"])
    assert [s.reason for s in found.skips] == [reason]
    assert [run.workload.name for run in found.possible] == ["quadratic"]


@pytest.mark.parametrize(
    ("target", "said"), [(95, "Did you mean 0.95?"), (1.5, "Did you mean 0.015?"), (-0.5, None), (950.0, None)]
)
def test_a_target_that_is_no_value_of_the_metric_is_a_fault(target, said):
    with pytest.raises(BadInput) as caught:
        plan(budget={"digits-mlp": {"target": target}})
    [line] = caught.value.faults
    told = f"budget.digits-mlp.target: accuracy lies from 0 to 1, got {target:g}."
    assert line == (f"{told} {said}" if said else told)
    assert plan(workload="quadratic", budget={"quadratic": {"target": abs(target)}}).possible


FREEZE_CONV = {"name": "freeze", "layers": ["conv1"]}


class TestPatterns:
    def test_one_that_matches_no_workload_is_a_fault(self):
        with pytest.raises(BadInput) as caught:
            plan(workload=["digits-mlp", "quadratic"], layer_lr=["uniform", {"name": "freeze", "layers": ["layr1"]}])
        [line] = caught.value.faults
        assert "pattern 'layr1' matches no parameter. The layers are " in line
        assert line.endswith("No workload of the matrix fits.")

    def test_one_that_matches_some_workload_skips_the_others(self):
        found = plan(workload=["digits-mlp", "mnist5k-cnn"], layer_lr=FREEZE_CONV)
        assert [run.workload.name for run in found.possible] == ["mnist5k-cnn"]
        assert "matches no parameter" in found.skips[0].reason

    def test_one_that_fits_a_workload_whose_data_are_missing_is_no_fault(self, monkeypatch):
        monkeypatch.setitem(
            WORKLOADS, "mnist5k-cnn", dataclasses.replace(WORKLOADS["mnist5k-cnn"], missing=lambda: "not here")
        )
        found = plan(workload=["digits-mlp", "mnist5k-cnn"], layer_lr=FREEZE_CONV)
        assert not found.possible
        assert len(found.skips) == 2


def test_a_workload_whose_layers_and_model_disagree_is_bad_input(monkeypatch):
    monkeypatch.setitem(WORKLOADS, "quadratic", dataclasses.replace(WORKLOADS["quadratic"], layers=("flat", "steep")))
    with pytest.raises(BadInput, match=r"workload 'quadratic': parameter 'medium' lies in 0 of its layers, must be 1"):
        plan(workload="quadratic")


def test_facts_and_skips_can_be_stored(tmp_path):
    found = plan(workload=["digits-mlp", "quadratic"], optimizer=["adam", "muon"], schedule=["cosine", "sequential"])
    Store(tmp_path).describe(found.facts(), {"slug": "cpu"}, found.skipped())
    facts = found.facts()
    assert facts["matrix"] == {"name": "m", "runs": 6, "seeds": [0]}
    assert facts["optimizers"]["adam"]["default_lr"] == 1e-3
    assert facts["workloads"]["digits-mlp"]["parameters"] == sum(
        p.numel() for p in WORKLOADS["digits-mlp"].model().parameters()
    )
    assert facts["workloads"]["digits-mlp"]["train_examples"] == 1197
    assert len(found.skipped()) == len(found.skips) == 2


def test_skips_of_nothing_are_a_table_all_the_same():
    assert list(plan().skipped().columns) == [
        "key",
        "workload",
        "optimizer",
        "layer_lr",
        "schedule",
        "lr",
        "seed",
        "reason",
    ]


def test_a_plan_is_in_the_order_of_the_matrix():
    found = plan(optimizer=["sgd", "adam"], lr=[0.2, 0.1], seed=[1, 0])
    assert [(r.optimizer.name, r.lr, r.seed) for r in found.possible] == [
        (o, lr, s) for o in ("sgd", "adam") for lr in (0.2, 0.1) for s in (1, 0)
    ]


@pytest.mark.parametrize("axis", ["workload", "optimizer", "layer_lr", "schedule"])
def test_the_listing_has_every_entry_with_its_meaning_and_source(axis):
    [found] = listing.entries(axis).values()
    assert [entry["name"] for entry in found] == list(vocabulary()[axis])
    assert all(entry["meaning"] and entry["source"] for entry in found)
    text = listing.text({axis: found})
    assert all(f"\n  {entry['name']}\n" in text for entry in found)


@pytest.mark.parametrize(
    ("name", "axis"), [("adam", "optimizer"), ("digits-mlp", "workload"), ("one-cycle", "schedule")]
)
def test_one_entry_is_listed_by_its_name(name, axis):
    assert listing.entries(name) == {axis: [entry for entry in listing.entries(axis)[axis] if entry["name"] == name]}


def test_every_parameter_described_on_the_meta_device_is_as_it_will_be():
    import torch

    for workload in WORKLOADS.values():
        if workload.pretrained is None:
            with torch.device("meta"):
                on_meta = describe(workload, workload.model())
            assert on_meta == describe(workload, workload.model())


def test_a_workload_that_declares_other_numbers_of_examples_than_it_has_is_bad_input(monkeypatch):
    wrong = dataclasses.replace(WORKLOADS["quadratic"], examples=(2, 1, 1))
    monkeypatch.setitem(WORKLOADS, "quadratic", wrong)
    with pytest.raises(
        BadInput, match=r"workload 'quadratic': its data have \(1, 1, 1\) examples .* declares \(2, 1, 1\): correct"
    ):
        fetch(["quadratic"])
