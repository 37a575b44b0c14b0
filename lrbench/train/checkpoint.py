"""Where an unfinished run leaves what it needs to go on, bit for bit."""

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

from lrbench.config.faults import told
from lrbench.store import write_whole
from lrbench.train.notices import say_once

READABLE: list[Any] = [np.ndarray, np.dtype, *(made.__reduce__()[0] for made in (np.float64(0.0), np.zeros(0)))]
READABLE += {type(np.dtype(code)) for code in np.typecodes["All"]}
"""What NumPy's scalars and arrays are read back with. They are no code, so that a checkpoint may hold them."""

ASK_SECONDS = 0.1
"""How often a training is looked at whether it is to stop: asking other processes takes as long as a step of a small
model."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run goes on from its checkpoint
    """Training was asked to stop, and has saved its checkpoint."""


def to_bytes(state: dict[str, Any]) -> bytes:
    """A state as the bytes of its file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The state that was packed, with tensors on the CPU.

    Raises: UnpicklingError when it holds objects of other classes than ``READABLE``, which might be code; whatever a
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
    """One run's checkpoint file, written at most every ``every_seconds`` and only at the edge of an evaluation interval.

    ``stop`` says whether training is asked to stop; it then saves after the step that it is at, whatever the time. A
    checkpoint that cannot be saved or read costs the work done so far if the run is interrupted, never the run: a line
    on standard error says so, once.
    """

    path: Path
    every_seconds: float = 60.0
    stop: Callable[[], bool] = field(default=lambda: False)
    _last: float = field(default_factory=time.monotonic)
    _asked: float = field(default_factory=time.monotonic)
    _off: bool = False

    def switch_off(self) -> None:
        """Save and read nothing: the run cannot go on from a saved state."""
        self._off = True

    def is_asked(self) -> bool:
        """Whether training is asked to stop, as known within ``ASK_SECONDS``."""
        if time.monotonic() - self._asked < ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        return self.stop()

    def visit(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time to, or if asked to stop.

        Raises: Interrupted when asked to stop.
        """
        stop = self.stop()
        if not self._off and (stop or time.monotonic() - self._last >= self.every_seconds):
            try:
                self.save(state())
            except Exception as error:  # noqa: BLE001 - whatever a plug-in's state cannot do, the run can go on
                self.switch_off()
                say_once(f"no checkpoint can be saved ({told(error)}): if the run is interrupted, it starts again")
        if stop:
            raise Interrupted

    def save(self, state: dict[str, Any]) -> None:
        """Write the state whole."""
        write_whole(self.path, to_bytes(state))
        self._last = time.monotonic()

    def load(self, key: str) -> dict[str, Any] | None:
        """The state that a run saved, or None if there is none that can be read: the run then starts again."""
        if self._off or not self.path.is_file():
            return None
        try:
            state = from_bytes(self.path.read_bytes())
        except Exception as error:  # noqa: BLE001 - a damaged file can fail in any way, and means no more than starting again
            self.unreadable(error)
            return None
        return state if state["key"] == key else None

    def unreadable(self, error: Exception) -> None:
        """Say that the run starts again because of what its state was met with."""
        say_once(f"{self.path}: this checkpoint cannot be used ({told(error)}): the run starts again")

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)


CODE = (nn.Module, type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
"""What a module may keep as an attribute that is no state."""
OF_TORCH = frozenset(vars(nn.Module()))
"""The attributes that every module has."""
Attributes = dict[tuple[str, str], str | None]
"""Digests of attributes by the names of module and attribute; None for a value that cannot be read."""


class CannotBeSaved(Exception):  # noqa: N818 - a described fact about a model
    """A model keeps something that a checkpoint cannot hold, such as a generator."""


def model_state(model: nn.Module, at_start: Attributes) -> dict[str, Any]:
    """Everything that the rest of a training depends on: parameters, buffers, persistent or not, and attributes that have changed.

    ``at_start`` is what ``attributes`` returned of the untrained model.

    Raises: CannotBeSaved when an attribute that has changed, or may have, holds more than numbers, words and tensors.
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
    """What the modules of a model keep as plain attributes. Those of torch itself keep no state there."""
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
    """Whether a value is made of numbers, words and tensors alone."""
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    return (
        all(map(_is_plain, value))
        if isinstance(value, list | tuple)
        else isinstance(value, int | float | str | Tensor | None)
    )
