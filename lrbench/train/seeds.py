"""Randomness: everything random in a run derives from its seed alone, with a stream per purpose."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose of a run, unrelated to those of its other purposes.

    >>> derive(0, "model") == derive(0, "model") != derive(0, "dropout")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big") >> 1


def seed_generators(seed: int) -> None:
    """Seed the global generators that models and plug-ins may use: torch's on all devices, NumPy's and Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that others use
    random.seed(seed)


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Restore the global generators at the end of the block."""
    numpys, pythons = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002 - as above
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(numpys)  # noqa: NPY002 - as above
            random.setstate(pythons)


def generators_state(device: torch.device) -> dict[str, Any]:
    """The state of the global generators, as plain values and tensors."""
    numpys: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - as above
    key = torch.from_numpy(numpys["state"]["key"].astype(np.int64))
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0),
        "numpy": numpys | {"state": numpys["state"] | {"key": key}},
        "python": [version, list(numbers), gauss],
    }


def restore_generators(state: dict[str, Any], device: torch.device) -> None:
    """Restore the state of the global generators."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    numpys = state["numpy"]
    key = numpys["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpys | {"state": numpys["state"] | {"key": key}})  # noqa: NPY002 - as above
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


@lru_cache(maxsize=128)
def shuffled(seed: int, epoch: int, examples: int) -> Tensor:
    """The order of an epoch's examples, [examples] int64. Do not change it in place.

    It is made on the CPU, so that it is the same for every device.
    """
    generator = torch.Generator().manual_seed(derive(seed, f"order of epoch {epoch}"))
    return torch.randperm(examples, generator=generator)


class Order:
    """The examples of each step of a run: a new permutation each epoch.

    A step takes ``parts`` batches. The rest at the end of an epoch is dropped. The order depends on the step alone, so
    that a checkpoint need not hold it.
    """

    def __init__(self, seed: int, examples: int, batch_size: int, parts: int, device: torch.device) -> None:
        self.seed, self.examples, self.batch_size, self.parts, self.device = seed, examples, batch_size, parts, device
        self.steps_per_epoch = examples // (batch_size * parts)
        self._epoch = -1
        self._batches: list[tuple[Tensor, ...]] = []

    def __call__(self, done: int) -> tuple[Tensor, ...]:
        """The indices of the examples of the step after ``done`` steps.

        Returns: ``parts`` tensors, one per batch, [batch_size] int64 on the device.
        """
        epoch, place = divmod(done, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, [tuple(step.unbind()) for step in self._steps(epoch).to(self.device)]
        return self._batches[place]

    def rows(self, done: int, steps: int) -> Tensor:
        """The indices of the examples of several steps after ``done``, [steps, parts, batch_size] int64 on the CPU."""
        first, last = done // self.steps_per_epoch, (done + steps - 1) // self.steps_per_epoch
        epochs = torch.cat([self._steps(epoch) for epoch in range(first, last + 1)])
        start = done - first * self.steps_per_epoch
        return epochs[start : start + steps]

    def _steps(self, epoch: int) -> Tensor:
        used = self.steps_per_epoch * self.parts * self.batch_size
        return shuffled(self.seed, epoch, self.examples)[:used].view(self.steps_per_epoch, self.parts, self.batch_size)
