"""GPUs that are not there: four fake ones whose tensors lie in the CPU's memory, so that the loops for CUDA run to their end.

``with Remap():`` sends what is asked of ``cuda`` to the CPU; ``pretend(monkeypatch)`` makes torch say that it has the
fake GPUs. As a plug-in file, it does both in worker processes, for good. A GPU whose number stands in the file that
LRBENCH_TEST_FALLEN names has fallen off: all that is asked of it fails; one with the number and an ``!`` falls at its
10th operation.
"""

import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode

COUNT = 4
NAME = "fake-gpu-a"
FACTS = SimpleNamespace(name=NAME, total_memory=8 * 2**30, major=9, minor=0, uuid="0" * 32, multi_processor_count=1, warp_size=32,
                        pci_bus_id=0, pci_device_id=0, pci_domain_id=0)  # fmt: skip
asked = {"operations": 0}


def to_cpu(value):
    """A value with every mention of a GPU replaced; a fallen one raises as CUDA does."""
    if isinstance(value, torch.device) and value.type == "cuda":
        _fail_if_fallen(value.index or 0)
        return torch.device("cpu")
    if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")):
        return to_cpu(torch.device(value))
    if type(value) in (tuple, list):
        return type(value)(map(to_cpu, value))
    return value


def _fail_if_fallen(index):
    path = os.environ.get("LRBENCH_TEST_FALLEN")
    fallen = Path(path).read_text().split() if path and Path(path).exists() else []
    asked["operations"] += 1
    if f"{index}!" in fallen and asked["operations"] >= 10:
        Path(path).write_text(" ".join(word.strip("!") for word in fallen))
        fallen = [str(index)]
    if str(index) in fallen:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")


class Remap(TorchFunctionMode):
    """Whatever torch function is asked for ``cuda`` answers from the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        return func(*map(to_cpu, args), **{name: to_cpu(value) for name, value in (kwargs or {}).items()})


class Event:
    """A moment of a fake stream."""

    def __init__(self, **_):
        self.moment = None

    def record(self, _stream=None):
        self.moment = time.perf_counter()

    def synchronize(self):
        """It is in order already."""

    def elapsed_time(self, other):
        return 1e3 * (other.moment - self.moment)


class ByHand:
    """``monkeypatch`` for a process that ends as it is."""

    def setattr(self, target, name, value, **_):
        setattr(target, name, value)


def pretend(patch, count=COUNT):
    """Make torch speak of fake GPUs."""
    cuda = torch.cuda
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: 0,
        "get_device_properties": lambda _device=None: FACTS,
        "get_device_name": lambda _device=None: NAME,
        "get_device_capability": lambda _device=None: (9, 0),
        "get_rng_state": lambda _device=None: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda _state, _device=None: None,
        "manual_seed_all": lambda _seed: None,
        "synchronize": lambda _device=None: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _device=None: None,
        "memory_allocated": lambda _device=None: 1000,
        "max_memory_allocated": lambda _device=None: 5000,
        "current_stream": lambda _device=None: None,
        "Event": Event,
    }
    for name, answer in answers.items():
        patch.setattr(cuda, name, answer)
    for name in ("synchronize", "set_device_index"):
        patch.setattr(torch.accelerator, name, lambda _device=None: None)
    for check in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        if hasattr(torch.optim.Optimizer, check):
            patch.setattr(torch.optim.Optimizer, check, lambda _self: None)


if __name__.startswith("lrbench_plugin_") and multiprocessing.parent_process():
    pretend(ByHand())
    Remap().__enter__()
