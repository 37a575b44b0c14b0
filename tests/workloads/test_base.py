"""The contract itself."""

from dataclasses import replace

import pytest
import torch

from lrbench.config.cache import cache_folder
from lrbench.workloads import WORKLOADS, accuracy, describe, fingerprint

QUADRATIC = WORKLOADS["quadratic"]


def test_accuracy_is_the_share_of_right_labels():
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    assert accuracy(outputs, torch.tensor([0, 1, 1, 1])).item() == 0.75


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("flat", "medium"), "'steep' lies in 0 of its layers"),
        (("flat", "medium", "steep", "steep"), "'steep' lies in 2 of its layers"),
        (("flat", "medium", "steep", "deep"), r"layers \['deep'\] have no parameter"),
    ],
)
def test_layers_that_do_not_cover_are_a_fault(layers, message):
    with pytest.raises(ValueError, match=message):
        describe(replace(QUADRATIC, layers=layers), QUADRATIC.model())


def test_descriptions_name_biases_norms_and_the_head():
    workload = WORKLOADS["mnist5k-mlp"]
    params = {p.name: p for p in describe(workload, workload.model())}
    assert params["layer1.linear.weight"].shape == (128, 784)
    assert params["layer1.norm.weight"].is_norm
    assert params["layer1.norm.bias"].is_bias
    assert params["head.weight"].is_head
    assert not params["layer2.linear.bias"].is_norm


def test_a_fingerprint_sees_every_part():
    data = QUADRATIC.data()
    other = replace(data, test=replace(data.test, y=data.test.y + 1))
    assert fingerprint(data) != fingerprint(other)


def test_parts_change_type_without_changing_labels():
    data = QUADRATIC.data().to(torch.device("cpu"), torch.float64)
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.float64, torch.int64)


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LRBENCH_CACHE")
    assert cache_folder().name == "lrbench"
