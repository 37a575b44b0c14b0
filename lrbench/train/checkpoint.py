"""Checkpoints: the state of an unfinished run, from which it goes on to the same result bit for bit."""

import hashlib
import io
import pickle
import re
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.config.faults import message_of
from lrbench.store import write_whole
from lrbench.train.notices import say_once

READABLE: list[Any] = [np.ndarray, np.dtype, *(made.__reduce__()[0] for made in (np.float64(0.0), np.zeros(0)))]
READABLE += {type(np.dtype(code)) for code in np.typecodes["All"]}
"""What reading NumPy's scalars and arrays needs. It is no code of others, so a checkpoint may hold it."""

ASK_SECONDS = 0.1
"""How often a training asks whether to stop. Asking another process takes as long as a step of a small model."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run goes on from its checkpoint
    """Training was asked to stop, and saved its checkpoint."""


def to_bytes(state: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The state in the bytes of a checkpoint file, with tensors on the CPU.

    Raises: UnpicklingError when it holds objects of classes outside ``READABLE``, which might run code; whatever a
    damaged file raises.
    """
    try:
        with torch.serialization.safe_globals(READABLE):
            state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise pickle.UnpicklingError(f"it holds a {named[1]}") from error
        raise
    return state


@dataclass
class Checkpoint:
    """The checkpoint file of a run, written at the end of evaluation intervals, at most every ``every_seconds``.

    ``stop`` says whether training is to stop: then it saves after the current step, at any time. If a checkpoint cannot
    be saved or read, a line on standard error says so, once; an interrupted run then starts again.
    """

    path: Path
    every_seconds: float = 60.0
    stop: Callable[[], bool] = field(default=lambda: False)
    _last: float = field(default_factory=time.monotonic)
    _asked: float = field(default_factory=time.monotonic)
    _off: bool = False

    def switch_off(self) -> None:
        """Save and read nothing, since the run cannot go on from a saved state."""
        self._off = True

    def is_asked(self) -> bool:
        """Whether training is to stop. The answer may be ``ASK_SECONDS`` old."""
        if time.monotonic() - self._asked < ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        return self.stop()

    def visit(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time, or if training is to stop.

        Raises: Interrupted when asked to stop.
        """
        stop = self.stop()
        if not self._off and (stop or time.monotonic() - self._last >= self.every_seconds):
            try:
                self.save(state())
            except Exception as error:  # noqa: BLE001 - whatever a plug-in's state cannot do, the run can go on
                self.switch_off()
                say_once(
                    f"no checkpoint can be saved ({message_of(error)}): if the run is interrupted, it starts again"
                )
        if stop:
            raise Interrupted

    def save(self, state: dict[str, Any]) -> None:
        """Write the state atomically."""
        write_whole(self.path, to_bytes(state))
        self._last = time.monotonic()

    def load(self, key: str) -> dict[str, Any] | None:
        """The saved state of a run, or None if there is none that can be read. Then the run starts again."""
        if self._off or not self.path.is_file():
            return None
        try:
            state = from_bytes(self.path.read_bytes())
        except Exception as error:  # noqa: BLE001 - a damaged file can fail in any way, and the run can start again
            self.unreadable(error)
            return None
        return state if state["key"] == key else None

    def unreadable(self, error: Exception) -> None:
        """Say that the run starts again because of an error with its state."""
        say_once(f"{self.path}: this checkpoint cannot be used ({message_of(error)}): the run starts again")

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)


CODE = (nn.Module, type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
"""Attributes of these types are no state of a module."""
OF_TORCH = frozenset(vars(nn.Module()))
"""The attributes of every module."""
Attributes = dict[tuple[str, str], str | None]
"""Digests by the names of module and attribute; None for a value that cannot be pickled."""


class CannotBeSaved(Exception):  # noqa: N818 - a described fact about a model
    """A model has an attribute that a checkpoint cannot hold, such as a generator."""


def model_state(model: nn.Module, at_start: Attributes) -> dict[str, Any]:
    """The state of a model: parameters, all buffers, persistent or not, and plain attributes that have changed.

    ``at_start`` are the ``attributes`` of the untrained model.

    Raises: CannotBeSaved when an attribute changed, or may have, that holds more than numbers, texts and tensors.
    """
    persistent = model.state_dict()
    buffers = {name: value for name, value in model.named_buffers() if name not in persistent}
    changed: dict[str, dict[str, Any]] = {}
    for (module, name), digest in attributes(model).items():
        if digest is None or digest != at_start.get((module, name), ""):
            value = vars(model.get_submodule(module))[name]
            if not _is_plain(value):
                raise CannotBeSaved(
                    f"the model keeps {f'{module}.{name}'.strip('.')}, a {type(value).__name__}, outside of its buffers"
                )
            changed.setdefault(module, {})[name] = value.detach() if isinstance(value, Tensor) else value
    return {"tensors": persistent, "buffers": buffers, "attributes": changed}


def load_model_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Restore what ``model_state`` returned."""
    model.load_state_dict(state["tensors"])
    for name, value in model.named_buffers():
        if name in state["buffers"]:
            value.copy_(state["buffers"][name])
    for module, values in state["attributes"].items():
        vars(model.get_submodule(module)).update(values)


def attributes(model: nn.Module) -> Attributes:
    """The plain attributes of a model's modules. Modules of torch itself have no state there."""
    return {
        (module, name): _digest(value)
        for module, owner in model.named_modules()
        if not type(owner).__module__.startswith("torch.")
        for name, value in vars(owner).items()
        if name not in OF_TORCH and not isinstance(value, CODE)
    }


def _digest(value: Any) -> str | None:
    try:
        return hashlib.sha256(pickle.dumps(value.detach() if isinstance(value, Tensor) else value)).hexdigest()
    except Exception:  # noqa: BLE001 - whatever cannot be pickled says so in a way of its own
        return None


def _is_plain(value: Any) -> bool:
    """Whether a value consists of numbers, texts and tensors."""
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    return (
        all(map(_is_plain, value))
        if isinstance(value, list | tuple)
        else isinstance(value, int | float | str | Tensor | None)
    )
