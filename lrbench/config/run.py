"""A run: the resolved values that determine a training, and nothing else."""

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from lrbench.config.types import Count, Positive, Seed, Strict

Precision = Literal["fp64", "fp32", "tf32", "bf16", "fp16"]


def has_fingerprint(revision: int | str) -> bool:
    """Whether a revision has the fingerprint of a plug-in's code: then it is a text. Revisions of lrbench are numbers.

    A stored run marks the choices that come from plug-ins in no other way.
    """
    return isinstance(revision, str)


class Choice(Strict):
    """A catalog entry with every one of its settings resolved."""

    name: str
    revision: int | str
    settings: dict[str, Any] = Field(default_factory=dict)
    label: str

    @property
    def is_plugin(self) -> bool:
        """Whether the entry, or a part of it, comes from a plug-in."""
        return has_fingerprint(self.revision)

    def identity(self) -> dict[str, Any]:
        """The values that the key covers: all but the label.

        The order within a table counts, since the first of two matching patterns wins.
        """
        settings = {
            name: list(value.items()) if isinstance(value, dict) else value for name, value in self.settings.items()
        }
        return {"name": self.name, "revision": self.revision, "settings": settings}


class Run(Strict):
    """One training. ``key`` is the content hash of these values: no file name, no default left out, no device.

    A field that is added later is marked ``Added``: at its neutral value, keys stay as they were.

    ``steps`` and ``eval_every`` count optimizer steps; ``batch_size`` is the number of examples of one backward pass,
    so a step consumes ``batch_size * accumulate`` examples; ``target`` is in the units of the workload's metric.
    """

    workload: Choice
    optimizer: Choice
    layer_lr: Choice
    schedule: Choice
    lr: Positive
    batch_size: Count
    accumulate: Count
    precision: Precision
    steps: Count
    eval_every: Count
    target: float
    seed: Seed

    def identity(self) -> dict[str, Any]:
        """Everything that the key covers, as plain values."""
        values, neutral = {name: getattr(self, name) for name in type(self).model_fields}, self.neutral()
        return {
            name: value.identity() if isinstance(value, Choice) else value
            for name, value in values.items()
            if not (name in neutral and value == neutral[name])
        }

    @cached_property
    def key(self) -> str:
        """The content hash: 16 hexadecimal digits of SHA-256 over the canonical JSON of ``identity``."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def asked(self) -> str:
        """``identity`` as text without revisions: what a matrix asked for, whatever it meant at the time."""
        values = {
            n: {k: v for k, v in c.items() if k != "revision"} if isinstance(c, dict) else c
            for n, c in self.identity().items()
        }
        return json.dumps(values, sort_keys=True)

    def but(self, **changes: Any) -> "Run":
        """A copy with other values, and so another key."""
        return Run(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    @property
    def has_plugin(self) -> bool:
        """Whether one of its choices comes from a plug-in."""
        return any(choice.is_plugin for choice in (self.workload, self.optimizer, self.layer_lr, self.schedule))

    @property
    def strategy(self) -> str:
        """The labels of the strategy's three axes."""
        return f"{self.optimizer.label} / {self.layer_lr.label} / {self.schedule.label}"
