"""Everything random in a run derives from its seed alone, each purpose from a stream of its own."""

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def derive(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose of a run, unrelated to those of its other purposes.

    >>> derive(0, "model") == derive(0, "model") != derive(0, "dropout")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big") >> 1


@lru_cache(maxsize=128)
def shuffled(seed: int, epoch: int, examples: int) -> Tensor:
    """The order of an epoch's examples, [examples] int64; on the CPU, so that every device gets the same one. Not to be changed."""
    generator = torch.Generator().manual_seed(derive(seed, f"order of epoch {epoch}"))
    return torch.randperm(examples, generator=generator)


class Order:
    """Which examples each step of a run sees: a new permutation each epoch.

    A step takes ``parts`` batches; what is left at the end of an epoch is dropped. A function of the step alone: nothing to save.
    """

    def __init__(self, seed: int, examples: int, batch_size: int, parts: int, device: torch.device) -> None:
        self.seed, self.examples, self.batch_size, self.parts, self.device = seed, examples, batch_size, parts, device
        self.steps_per_epoch = examples // (batch_size * parts)
        self._epoch = -1
        self._batches: list[tuple[Tensor, ...]] = []

    def __call__(self, done: int) -> tuple[Tensor, ...]:
        """The example numbers of each batch of the step after ``done`` steps: ``parts`` tensors, [batch_size] int64 on the device."""
        epoch, place = divmod(done, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, [tuple(step.unbind()) for step in self._steps(epoch).to(self.device)]
        return self._batches[place]

    def rows(self, done: int, steps: int) -> Tensor:
        """The example numbers of several steps after ``done``, [steps, parts, batch_size] int64 on the CPU."""
        first, last = done // self.steps_per_epoch, (done + steps - 1) // self.steps_per_epoch
        epochs = torch.cat([self._steps(epoch) for epoch in range(first, last + 1)])
        start = done - first * self.steps_per_epoch
        return epochs[start : start + steps]

    def _steps(self, epoch: int) -> Tensor:
        used = self.steps_per_epoch * self.parts * self.batch_size
        return shuffled(self.seed, epoch, self.examples)[:used].view(self.steps_per_epoch, self.parts, self.batch_size)
