"""Fashion-MNIST, 70,000 images of clothes in ten classes: the data of several workloads.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, read by torchvision. The four files come from the first place
that has them: ``FashionMNIST/raw`` in the cache folder; the folder in ``LRBENCH_FASHION_MNIST``, else that of Debian's
package dataset-fashion-mnist; torchvision's download, unless ``LRBENCH_OFFLINE`` is 1. The cache folder keeps them.
Licence: MIT.
"""

import gzip
import os
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path

from torch import Tensor

from lrbench.config.cache import cache_folder
from lrbench.workloads.base import Data, Split, Unavailable
from lrbench.workloads.parts import deal

SOURCE = "Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, through torchvision"
CITES = ("xiao2017fashion", "torchvision2016")
LICENCE = "MIT"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MEAN, STD = 0.2860, 0.3530
"""Mean and standard deviation of the pixels of the 60,000 training images, in [0, 1]."""


def raw_folder(root: Path) -> Path:
    """The folder below its root in which torchvision looks for the files."""
    return root / "FashionMNIST" / "raw"


def is_prepared(root: Path) -> bool:
    """Whether all four files lie below torchvision's root."""
    return all((raw_folder(root) / name).is_file() for name in FILES)


def is_here() -> bool:
    """Whether the images can be read without unpacking and download."""
    return is_prepared(cache_folder())


def packed_folder() -> Path:
    """The folder that may hold the four files as ``.gz``."""
    return Path(os.environ.get("LRBENCH_FASHION_MNIST") or DEBIAN)


def is_packed(folder: Path) -> bool:
    """Whether a folder holds all four files as ``.gz``."""
    return all((folder / f"{name}.gz").is_file() for name in FILES)


def missing() -> str | None:
    """Why the images are not available here, or None: they are here, or can be downloaded. Writes nothing."""
    packed = packed_folder()
    if is_prepared(cache_folder()) or is_packed(packed):
        return None
    if os.environ.get("LRBENCH_FASHION_MNIST"):
        return f"LRBENCH_FASHION_MNIST is {packed}, which lacks some of {', '.join(f'{name}.gz' for name in FILES)}"
    if os.environ.get("LRBENCH_OFFLINE") == "1":
        return (
            f"Fashion-MNIST is neither in {raw_folder(cache_folder())} nor in {packed}, and LRBENCH_OFFLINE=1 forbids "
            "the download: apt-get install dataset-fashion-mnist, or set LRBENCH_FASHION_MNIST to a folder with the "
            "four .gz files"
        )
    return None


def prepare(root: Path) -> None:
    """Put the four files below torchvision's root, each whole or not at all.

    Raises: Unavailable, with the reason.
    """
    if reason := missing():
        raise Unavailable(reason)
    packed = packed_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="FashionMNIST-", suffix=".tmp") as draft:
            if is_packed(packed):
                unpack(packed, raw_folder(Path(draft)))
            else:
                download(Path(draft))
            raw_folder(root).mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (raw_folder(Path(draft)) / name).replace(raw_folder(root) / name)
    except (OSError, EOFError, RuntimeError, zlib.error) as error:
        raise Unavailable(f"Fashion-MNIST could not be prepared in {root}: {error}") from error


def unpack(packed: Path, raw: Path) -> None:
    """Decompress the four ``.gz`` files of one folder into another."""
    raw.mkdir(parents=True)
    for name in FILES:
        with gzip.open(packed / f"{name}.gz") as source, (raw / name).open("wb") as target:
            shutil.copyfileobj(source, target)


def download(root: Path) -> None:
    """Download the files with torchvision."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(root), download=True)


@cache
def load(root: Path) -> Data:
    """Read the files below torchvision's root. Of each class, one training image in twelve is for validation.

    Raises: Unavailable, when they cannot be read.
    """
    from torchvision.datasets import FashionMNIST

    try:
        train, test = (FashionMNIST(str(root), train=part) for part in (True, False))
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise Unavailable(f"the files in {raw_folder(root)} cannot be read ({error}): delete that folder") from error
    y = train.targets.long()
    validation, rest = deal(y, len(y) // 120)
    x = normalised(train.data)
    return Data(
        Split(x[rest], y[rest]), Split(x[validation], y[validation]), Split(normalised(test.data), test.targets.long())
    )


def normalised(images: Tensor) -> Tensor:
    """Images of 0-255 [n, 28, 28] to inputs [n, 1, 28, 28]."""
    return (images.unsqueeze(1).float() / 255 - MEAN) / STD


def data() -> Data:
    """A fixed split: 55,000 images train, 5,000 validate, the official 10,000 test. x [n, 1, 28, 28], y [n].

    Raises: Unavailable, with the reason.
    """
    root = cache_folder()
    if not is_prepared(root):
        prepare(root)
    return load(root)
