"""Which devices to train on, and how to wait for them."""

import os
import re

import torch

from lrbench.config.faults import BadInput
from lrbench.device.precision import use_tf32
from lrbench.device.threads import threads, use_threads

Device = torch.device
UNTRIED = ("mps", "xpu")
"""Kinds of devices that PyTorch knows, and that lrbench was never tried on."""


def select(wish: str) -> list[Device]:
    """The devices that a wish such as ``auto``, ``cpu``, ``cuda`` or ``cuda:0,2`` stands for; ``auto`` is every GPU, or else the CPU.

    ``mps`` and ``xpu`` stand for all of Apple's or Intel's GPUs. lrbench was never tried on one, so ``auto`` does not
    choose them.

    Raises: BadInput when there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        wish = "cuda" if count else "cpu"
    if wish == "cpu":
        return [torch.device("cpu")]
    if wish in UNTRIED:
        return _untried(wish)
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", wish)
    if not match:
        raise BadInput(f"--device {wish}: must be auto, cpu, cuda, or cuda:i,j; mps and xpu were never tried")
    if not count:
        raise BadInput(f"--device {wish}: torch {torch.__version__} sees no CUDA device here. Use --device cpu.")
    wanted = [int(i) for i in match[1].split(",")] if match[1] else list(range(count))
    if absent := [i for i in wanted if i >= count]:
        raise BadInput(f"--device {wish}: there is no device {absent}, the last is cuda:{count - 1}")
    return [torch.device("cuda", i) for i in dict.fromkeys(wanted)]


def _untried(kind: str) -> list[Device]:
    """All devices of a kind that lrbench was never tried on. Raises: BadInput when torch has none."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type != kind:
        raise BadInput(f"--device {kind}: torch {torch.__version__} sees no {kind} device here. Use --device cpu.")
    return [torch.device(kind, i) for i in range(torch.accelerator.device_count())]


def name_of(device: Device) -> str:
    """How a device is written on a command line."""
    return str(device)


def use(device: Device) -> None:
    """Make a device the one that this process captures and allocates on where it is not told which."""
    if device.index is not None and device.type != "cpu":
        torch.accelerator.set_device_index(device)


def settle(device: Device, threads: int) -> None:
    """Make this process one that computes on a device, with so many threads of the CPU."""
    use_threads(threads)
    deterministic()
    use(device)


def synchronize(device: Device) -> None:
    """Wait until the device has done all it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def fast_modes(device: Device) -> tuple[str, ...]:
    """The modes of a population that may beat eager on a device, in the order in which they are tried."""
    return ("graph", "compiled") if device.type == "cuda" else ("compiled",)


def memory_limit(device: Device) -> int:
    """The bytes that all workers of a device may use for what they train: four fifths of a GPU's, half of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory * 4 // 5
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 2**31


OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the machine's, did not suffice: in Python's words, an allocator's or a library's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in OUT_OF_MEMORY
    )


def is_lost(error: BaseException) -> bool:
    """Whether an error says that a device failed, so that this process can do no more with it."""
    return not is_out_of_memory(error) and (isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error))


def free_memory(device: Device) -> None:
    """Give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def deterministic() -> None:
    """Ask for the same bits each time, for float32 products that are not rounded to TF32, and for the threads that this process may use."""
    torch.set_num_threads(threads())
    use_tf32(False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
