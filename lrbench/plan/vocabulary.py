"""The names a matrix can use: the built-in catalogs, installed plug-ins, and plug-in files."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from lrbench.spec.faults import BadInput
from lrbench.spec.matrix import Vocabulary
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES
from lrbench.workloads import WORKLOADS

ENTRY_POINTS = "lrbench.plugins"


def load_plugins(files: Sequence[Path] = ()) -> None:
    """Import the installed plug-ins (entry points of the group ``lrbench.plugins``) and the given files, once each.

    Raises: BadInput when one cannot be imported.
    """
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:  # whatever a plug-in raises, the user must learn which one it was
            raise BadInput(f"plug-in {point.name}: cannot be imported: {type(error).__name__}: {error}") from error
    for file in files:
        _load(file.resolve())


def _load(file: Path) -> None:
    name = f"lrbench_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    if not file.is_file():
        raise BadInput(f"--plugin {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"--plugin {file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a plug-in raises, the user must learn which one it was
        del sys.modules[name]
        raise BadInput(f"--plugin {file}: cannot be imported: {type(error).__name__}: {error}") from error


def vocabulary() -> Vocabulary:
    """The catalogs by axis."""
    return {"workload": WORKLOADS, "optimizer": OPTIMIZERS, "layer_lr": LAYER_LRS, "schedule": SCHEDULES}
