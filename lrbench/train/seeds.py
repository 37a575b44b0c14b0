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

    A step takes ``take`` examples; what is left at the end of an epoch is dropped. A function of the step alone: nothing to save.
    """

    def __init__(self, seed: int, examples: int, take: int, device: torch.device) -> None:
        self.seed, self.examples, self.take, self.device = seed, examples, take, device
        self.steps_per_epoch = examples // take
        self._epoch, self._rows = -1, torch.empty(0)

    def __call__(self, done: int) -> Tensor:
        """The example numbers of the step after ``done`` steps, [take] int64 on the device."""
        epoch, place = divmod(done, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive(self.seed, f"order of epoch {epoch}"))
            rows = torch.randperm(self.examples, generator=generator)[: self.steps_per_epoch * self.take]
            self._epoch, self._rows = epoch, rows.view(self.steps_per_epoch, self.take).to(self.device)
        return self._rows[place]
