"""Where Fashion-MNIST is looked for, on a tiny copy of its format."""

import gzip
import struct
import urllib.error

import numpy as np
import pytest
import torch

from lrbench.workloads import Unavailable, fashion, fashion_cnn
from lrbench.workloads.fashion import FILES, is_prepared, missing, raw_folder


def idx(values: np.ndarray) -> bytes:
    """The IDX format: two zero bytes, type 8 (uint8), the number of dimensions, their sizes, the values."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {"train": 240, "t10k": 40}
    images = {f"{part}-images-idx3-ubyte": rng.integers(0, 256, (n, 28, 28), np.uint8) for part, n in sizes.items()}
    return images | {f"{part}-labels-idx1-ubyte": (np.arange(n) % 10).astype(np.uint8) for part, n in sizes.items()}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder on a machine without Debian's package or the network."""
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LRBENCH_FASHION_MNIST", raising=False)
    monkeypatch.delenv("LRBENCH_OFFLINE", raising=False)
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "debian")

    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    fashion.load.cache_clear()
    yield tmp_path / "cache"
    fashion.load.cache_clear()


@pytest.fixture
def packed(tmp_path):
    """A folder with the four files as .gz."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for name, values in arrays().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    return folder


def test_a_named_folder_is_unpacked_into_the_cache(cache, packed, monkeypatch):
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(packed))
    assert missing() is None
    assert not cache.exists()
    data = fashion.data()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [220, 20, 40]
    assert [path.name for path in cache.iterdir()] == ["FashionMNIST"]
    assert sorted(path.name for path in raw_folder(cache).iterdir()) == sorted(FILES)


@pytest.mark.usefixtures("cache")
def test_the_images_and_labels_are_the_ones_in_the_files(packed, monkeypatch):
    monkeypatch.setattr(fashion, "DEBIAN", packed)
    data, files = fashion.data(), arrays()
    expected = (torch.from_numpy(files["t10k-images-idx3-ubyte"]).float() / 255 - 0.2860) / 0.3530
    torch.testing.assert_close(data.test.x[:, 0], expected)
    assert data.test.y.tolist() == files["t10k-labels-idx1-ubyte"].tolist()
    assert torch.bincount(data.validation.y).tolist() == [2] * 10
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.float32, torch.int64)


@pytest.mark.usefixtures("cache")
def test_the_cache_comes_first(packed, monkeypatch, tmp_path):
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(packed))
    first = fashion.data()
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(tmp_path / "gone"))
    assert missing() is None
    assert fashion.data() is first


@pytest.mark.usefixtures("cache")
def test_a_named_folder_without_the_files_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(tmp_path / "gone"))
    assert "LRBENCH_FASHION_MNIST is" in (missing() or "")
    with pytest.raises(Unavailable, match="lacks some of train-images"):
        fashion.data()


def test_offline_without_files_says_what_to_do(cache, monkeypatch):
    monkeypatch.setenv("LRBENCH_OFFLINE", "1")
    assert "apt-get install dataset-fashion-mnist" in (missing() or "")
    with pytest.raises(Unavailable, match="LRBENCH_OFFLINE=1 forbids the download"):
        fashion.data()
    assert not cache.exists()


def test_a_failed_download_is_a_reason_and_leaves_nothing(cache):
    assert missing() is None
    with pytest.raises(Unavailable, match="could not be prepared"):
        fashion.data()
    assert list(cache.iterdir()) == []


def test_a_download_is_kept(cache, packed, monkeypatch):
    monkeypatch.setattr(fashion, "download", lambda root: fashion.unpack(packed, raw_folder(root)))
    assert len(fashion.data().test) == 40
    assert is_prepared(cache)


def test_a_damaged_archive_leaves_nothing(cache, packed, monkeypatch):
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(packed))
    file = packed / f"{FILES[0]}.gz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(Unavailable, match="could not be prepared"):
        fashion.data()
    assert not is_prepared(cache)
    assert list(cache.iterdir()) == []


def test_files_that_are_no_images_are_a_reason(cache):
    raw_folder(cache).mkdir(parents=True)
    for name in FILES:
        (raw_folder(cache) / name).write_bytes(b"\0" * 20)
    with pytest.raises(Unavailable, match="cannot be read"):
        fashion.data()


@pytest.mark.usefixtures("cache")
def test_the_small_validation_set_is_a_first_part_of_the_large_one(packed, monkeypatch):
    monkeypatch.setenv("LRBENCH_FASHION_MNIST", str(packed))
    monkeypatch.setattr(fashion_cnn, "VALIDATION", 10)
    large, small = fashion.data(), fashion_cnn.data()
    assert torch.equal(small.validation.y, large.validation.y[:10])
    assert torch.bincount(small.validation.y).tolist() == [1] * 10
    assert small.train is large.train
    assert small.test is large.test
