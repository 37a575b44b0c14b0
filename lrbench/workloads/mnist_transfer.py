"""Fine-tuning, where layer-lr policies matter: a network that knows 0-4 learns 5-9 from twenty images of each.

Source: the setting of Yosinski et al. 2014, "How transferable are features in deep neural networks?", arXiv:1411.1792,
on the 5,000 MNIST images of ``lrbench.workloads.mnist5k``, in a fixed split: 2,500 of 0-4 pretrain; of 5-9, 100 train,
250 validate, 500 test.
Known: validation accuracy at step 120 with AdamW at 0.00316, batches of 20, 5 seeds: from scratch 87.0 %, the head
alone 90.5 %, one lr for all layers 91.0 %, lr x 0.3 per layer below the head 92.3 %, layers joining from the head down
92.8 %.
Licence: CC BY-SA 3.0.

The body is pretrained once by ``RECIPE``, in seconds, and stored in the cache folder; the head is new for every seed.
Pretraining computes in float64 and rounds to float32, so that machines agree on the weights up to rare last bits.
The norm is GroupNorm, which has no running statistics, so that freezing a layer freezes all of it.
"""

import hashlib
import json
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lrbench.config.cache import cache_folder
from lrbench.workloads import mnist5k
from lrbench.workloads.base import ACCURACY, Data, Split, Workload
from lrbench.workloads.parts import cnn, deal

State = dict[str, Tensor]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread. In small networks, more threads wait for each other, very long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Recipe:
    """How the body is pretrained: AdamW at a constant lr, other settings as PyTorch 2 has them by default."""

    seed: int = 0
    steps: int = 200
    batch_size: int = 64
    lr: float = 2e-3


RECIPE = Recipe()


def network() -> nn.Sequential:
    """Three strided convolutions of 16, 32 and 64 channels with GroupNorm; x [n, 1, 28, 28] to outputs [n, 5]."""
    return cnn((1, 16, 32, 64), 5, norm=lambda channels: nn.GroupNorm(4, channels), pooled=2)


@one_thread()
def pretrain(recipe: Recipe) -> State:
    """Train a network on the digits 0-4. Leaves torch's global generator as it was.

    Returns: the weights of all but its head.

    Raises: Unavailable, when the images are not available.
    """
    images = mnist5k.images()
    known = images.y < 5
    x, y = images.x[known].double(), images.y[known]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = network().double()
    order = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.lr)
    for _ in range(recipe.steps):
        batch = torch.randint(len(x), (recipe.batch_size,), generator=order)
        optimizer.zero_grad()
        cross_entropy(net(x[batch]), y[batch]).backward()
        optimizer.step()
    return {name: value.float() for name, value in net.state_dict().items() if not name.startswith("head.")}


def weights_file(recipe: Recipe) -> Path:
    """The file of the pretrained weights. Its name is a hash of all that the weights depend on."""
    shapes = {name: list(value.shape) for name, value in network().state_dict().items()}
    decides = [asdict(recipe), shapes, mnist5k.SHA256, mnist5k.MEAN, mnist5k.STD]
    return cache_folder() / f"mnist-transfer-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]}.pt"


def digest(weights: State) -> str:
    """SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(name.encode() + value.numpy().tobytes())
    return total.hexdigest()


def read(file: Path) -> State | None:
    """The weights in a file; None when there is no file, or it is damaged."""
    try:
        content = torch.load(file, weights_only=True)
        weights: State = content["weights"]
        return weights if content["digest"] == digest(weights) else None
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ):
        return None


def write(file: Path, weights: State) -> None:
    """Write weights to a file, whole or not at all. Where that fails, the next process pretrains again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=file.stem, suffix=".tmp") as folder:
            draft = Path(folder) / file.name
            torch.save({"weights": weights, "digest": digest(weights)}, draft)
            draft.replace(file)


@cache
def pretrained(recipe: Recipe) -> State:
    """The weights of all but the head, from the cache folder or trained now.

    Raises: Unavailable, when the images are not available.
    """
    file = weights_file(recipe)
    weights = read(file)
    if weights is None:
        weights = pretrain(recipe)
        write(file, weights)
    return weights


def model() -> nn.Module:
    """A pretrained body and a new head. On the meta device, which has only shapes, nothing is pretrained.

    Raises: Unavailable, when there are neither weights nor images.
    """
    net = network()
    if not next(net.parameters()).is_meta:
        net.load_state_dict(pretrained(RECIPE), strict=False)
    return net


@cache
def data() -> Data:
    """Images of the digits 5-9 x [n, 1, 28, 28] and labels y [n], 0-4; n is 50, 500, 500.

    Raises: Unavailable, with the reason.
    """
    images = mnist5k.images()
    new = images.y >= 5
    x, y = images.x[new], images.y[new] - 5
    return Data(*(Split(x[part], y[part]) for part in deal(y, 20, 50, 100)[:3]))


WORKLOAD = Workload(
    name="mnist-transfer",
    meaning="a network pretrained on MNIST 0-4 learns 5-9 from twenty images of each",
    source=mnist5k.SOURCE,
    cites=mnist5k.CITES,
    licence=mnist5k.LICENCE,
    data=data,
    model=model,
    layers=("conv1", "conv2", "conv3", "head"),
    loss=cross_entropy,
    lowest_loss=0.0,
    metric=ACCURACY,
    examples=(100, 250, 500),
    target=0.90,
    target_reason=(
        "AdamW at 0.00316, constant: with one lr for all layers 4 of 5 seeds reach 90 %, at steps 40 to 60 of 120; "
        "with the head alone 5 of 5, at steps 20 to 60; with the lr falling to 0.3 per layer below the head 5 of 5, at "
        "steps 20 to 40; from scratch none"
    ),
    steps=120,
    batch_size=20,
    eval_every=20,
    missing=mnist5k.missing,
    pretrained=lambda: pretrained(RECIPE),
    prepared=lambda: weights_file(RECIPE).is_file(),
    stacks_evaluation=False,
    revision=2,
)
