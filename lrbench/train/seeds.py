"""Everything random in a run derives from its seed alone, each purpose from a stream of its own."""

import hashlib

import torch
from torch import Tensor


def derive(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose of a run, unrelated to those of its other purposes.

    >>> derive(0, "model") == derive(0, "model") != derive(0, "dropout")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big") >> 1


class Order:
    """Which examples each step sees: a new permutation each epoch, on the CPU so that every device gets the same one.

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
            generator = torch.Generator().manual_seed(derive(self.seed, f"order of epoch {epoch}"))
            batches = iter(torch.randperm(self.examples, generator=generator).to(self.device).split(self.batch_size))
            self._epoch, self._batches = epoch, list(zip(*[batches] * self.parts, strict=False))
        return self._batches[place]
