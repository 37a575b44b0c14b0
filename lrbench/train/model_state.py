"""All that a model holds: what ``state_dict`` has of it, and what that leaves out."""

import hashlib
import pickle
import types
from typing import Any

from torch import Tensor, nn

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
