"""The balanced fixed split, and the model builders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrbench.workloads.parts import cnn, deal, mlp


@given(
    counts=st.lists(st.integers(5, 20), min_size=2, max_size=4),
    first=st.integers(0, 2),
    second=st.integers(0, 2),
    seed=st.integers(0, 9),
)
def test_parts_are_disjoint_complete_and_balanced(counts, first, second, seed):
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    parts = deal(y, first, second, seed=seed)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(y)))
    for part, size in zip(parts, (first, second), strict=False):
        assert torch.bincount(y[part], minlength=len(counts)).tolist() == [size] * len(counts)
    rest = [n - first - second for n in counts]
    assert torch.bincount(y[parts[-1]], minlength=len(counts)).tolist() == rest


def test_the_seed_alone_decides():
    y = torch.arange(50) % 5
    one, again, other = deal(y, 3), deal(y, 3), deal(y, 3, seed=1)
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], other[0])


def test_mlp_has_named_layers():
    model = mlp((12, 8, 4, 3), norm=True)
    assert [name for name, _ in model.named_children()] == ["flatten", "layer1", "layer2", "head"]
    assert model(torch.zeros(5, 3, 4)).shape == (5, 3)


@pytest.mark.parametrize("pooled", [1, 2])
def test_cnn_has_named_layers(pooled):
    model = cnn((1, 4, 8), 3, pooled=pooled)
    assert [name for name, _ in model.named_children()] == ["conv1", "conv2", "pool", "flatten", "head"]
    assert model(torch.zeros(5, 1, 12, 12)).shape == (5, 3)
