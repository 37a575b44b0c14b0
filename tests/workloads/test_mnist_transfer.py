"""The pretrained body: cached, checked, rebuilt, and worth having."""

import pytest
import torch

from lrbench.workloads import describe, mnist_transfer
from lrbench.workloads.mnist_transfer import WORKLOAD, Recipe, pretrain, pretrained, read, weights_file

TINY = Recipe(steps=2, batch_size=8)


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """An empty cache folder; returns the file of the tiny recipe."""
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist_transfer, "RECIPE", TINY)
    pretrained.cache_clear()
    yield weights_file(TINY)
    pretrained.cache_clear()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_file_is_written_once_and_read_again(cached, monkeypatch):
    weights = pretrained(TINY)
    assert [file.name for file in cached.parent.iterdir()] == [cached.name]
    pretrained.cache_clear()
    monkeypatch.setattr(mnist_transfer, "pretrain", lambda _: pytest.fail("trained again"))
    assert same(pretrained(TINY), weights)


def break_cut(file):
    file.write_bytes(file.read_bytes()[:1000])


def break_text(file):
    file.write_text("not weights")


def break_value(file):
    kept = torch.load(file, weights_only=True)
    kept["weights"]["conv1.conv.weight"][0] += 1
    torch.save(kept, file)


def break_kind(file):
    torch.save([1, 2], file)


@pytest.mark.parametrize("harm", [break_cut, break_text, break_value, break_kind])
def test_a_corrupt_file_is_rebuilt(cached, harm):
    weights = pretrained(TINY)
    harm(cached)
    assert read(cached) is None
    pretrained.cache_clear()
    assert same(pretrained(TINY), weights)
    assert same(read(cached), weights)


def test_a_folder_that_cannot_be_written_costs_only_time(cached):
    cached.parent.write_text("a file where the folder should be")
    assert "conv1.conv.weight" in pretrained(TINY)


def test_another_recipe_is_another_file():
    assert weights_file(TINY) != weights_file(Recipe())


def test_pretraining_leaves_the_global_generator_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    pretrain(TINY)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("cached")
def test_the_start_does_not_depend_on_whether_the_weights_were_kept():
    starts = []
    for _ in range(2):
        torch.manual_seed(5)
        starts.append(WORKLOAD.model().state_dict())
    assert same(*starts)


def test_the_body_is_kept_and_the_head_is_new():
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(WORKLOAD.model().state_dict())
    body = pretrained(mnist_transfer.RECIPE)
    assert all(torch.equal(model[name], body[name]) for model in models for name in body)
    assert not torch.equal(models[0]["head.weight"], models[1]["head.weight"])


def test_weights_can_be_made_ahead(cached):
    WORKLOAD.pretrained()
    assert cached.exists()


def test_shapes_alone_need_no_weights(cached):
    with torch.device("meta"):
        params = describe(WORKLOAD, WORKLOAD.model())
    assert [p.layer_name for p in params if p.is_head] == ["head", "head"]
    assert not cached.exists()


def test_nothing_but_parameters_is_trained():
    """Freezing its parameters freezes a layer: there are no running statistics."""
    assert not list(WORKLOAD.model().buffers())


def head_start(model, steps=20):
    """Validation accuracy after a few full-batch steps of the head alone."""
    data = WORKLOAD.data()
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        WORKLOAD.loss(model(data.train.x), data.train.y).backward()
        optimizer.step()
    with torch.no_grad():
        return WORKLOAD.metric.of(model(data.validation.x), data.validation.y).item()


def test_the_pretrained_body_helps():
    torch.manual_seed(0)
    assert head_start(WORKLOAD.model()) > head_start(mnist_transfer.network()) + 0.1
