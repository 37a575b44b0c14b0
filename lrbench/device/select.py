"""Which devices to train on, and how to wait for them."""

import re

import torch

from lrbench.spec.faults import BadInput

Device = torch.device


def select(wish: str) -> list[Device]:
    """The devices that a wish such as ``auto``, ``cpu``, ``cuda`` or ``cuda:0,2`` stands for; ``auto`` is every GPU, or else the CPU.

    Raises: BadInput when there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        wish = "cuda" if count else "cpu"
    if wish == "cpu":
        return [torch.device("cpu")]
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", wish)
    if not match:
        raise BadInput(f"--device {wish}: must be auto, cpu, cuda, or cuda:i,j")
    if not count:
        raise BadInput(f"--device {wish}: torch {torch.__version__} sees no CUDA device here. Use --device cpu.")
    wanted = [int(i) for i in match[1].split(",")] if match[1] else list(range(count))
    if absent := [i for i in wanted if i >= count]:
        raise BadInput(f"--device {wish}: there is no device {absent}, the last is cuda:{count - 1}")
    return [torch.device("cuda", i) for i in dict.fromkeys(wanted)]


def name_of(device: Device) -> str:
    """How a device is written on a command line."""
    return str(device)


def synchronize(device: Device) -> None:
    """Wait until the device has done all it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def deterministic() -> None:
    """Ask for the same bits each time, and for one thread of the CPU: workers are what fills the cores."""
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
