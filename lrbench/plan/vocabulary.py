"""The names a matrix can use: the built-in catalogs, installed plug-ins, and plug-in files."""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from lrbench.config.faults import BadInput
from lrbench.config.matrix import Vocabulary
from lrbench.config.origin import ENTRY_POINTS as THROUGH_ENTRY_POINTS
from lrbench.config.origin import Origin, loading, refuse_edited
from lrbench.config.prints import PLUGIN
from lrbench.config.run import Choice, Run, has_fingerprint
from lrbench.config.sources import file_of, imports_of
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES
from lrbench.workloads import WORKLOADS

ENTRY_POINTS = "lrbench.plugins"


_texts: dict[str, bytes] = {}
"""What each plug-in's file said when it was imported, by the name of its module."""


def load_plugins(files: Sequence[Path] = ()) -> None:
    """Import the installed plug-ins (entry points of the group ``lrbench.plugins``) and the given files, once each.

    A file that was edited since is imported again, and what it had entered is replaced; the fingerprints of what a
    session defined are taken anew.

    Raises: BadInput when one cannot be imported, or imports a file that was edited since.
    """
    with loading(THROUGH_ENTRY_POINTS):
        for point in entry_points(group=ENTRY_POINTS):
            try:
                point.load()
            except Exception as error:  # whatever a plug-in raises, the user must learn which one it was
                raise BadInput(f"plug-in {point.name}: cannot be imported: {type(error).__name__}: {error}") from error
    for file in files:
        with loading(str(file.resolve())):
            _load(file.resolve())
    for catalog in (OPTIMIZERS, LAYER_LRS, SCHEDULES, WORKLOADS):
        catalog.renew()


def _load(file: Path) -> None:
    name = f"{PLUGIN}{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if not file.is_file():
        raise BadInput(f"--plugin {file}: there is no such file")
    text = file.read_bytes()
    if name in sys.modules and _texts.get(name) == text:
        refuse_edited(name)
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"--plugin {file}: is not a Python file")
    for catalog in (OPTIMIZERS, LAYER_LRS, SCHEDULES, WORKLOADS):
        catalog.forget(str(file))
    _reach_beside(file, text)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec", dont_inherit=True), vars(module))  # noqa: S102 - not by its loader, whose cache tells whole seconds
    except Exception as error:  # whatever a plug-in raises, the user must learn which one it was
        del sys.modules[name]
        raise BadInput(f"--plugin {file}: cannot be imported: {type(error).__name__}: {error}") from error
    _texts[name] = text


def _reach_beside(file: Path, text: bytes) -> None:
    """Let a plug-in import the files beside it, as a script can.

    Raises: BadInput where another module of the name of one of them would come in its place.
    """
    for name in {name.partition(".")[0] for name, _ in imports_of(text, "")} - sys.stdlib_module_names:
        beside = next(
            (place for place in (file.parent / f"{name}.py", file.parent / name / "__init__.py") if place.is_file()),
            None,
        )
        found = file_of(name) if beside else None
        if beside and found and Path(found).resolve() != beside.resolve():
            raise BadInput(
                f"--plugin {file}: imports {name}, which here is {found} and not {beside}: give one of them another "
                f"name"
            )
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))


def vocabulary() -> Vocabulary:
    """The catalogs by axis."""
    return {"workload": WORKLOADS, "optimizer": OPTIMIZERS, "layer_lr": LAYER_LRS, "schedule": SCHEDULES}


def parts_of(axis: str, settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of the same axis that an entry is made of."""
    parts = settings.get("parts", ()) if axis == "schedule" else ()
    return [part for part in parts if isinstance(part, Mapping) and "name" in part]


def revision_of(axis: str, name: str, settings: Mapping[str, Any]) -> int | str:
    """The revision of a choice; that of a schedule made of others has those of a plug-in's among them, too.

    Raises: LookupError when there is no such entry.
    """
    catalog: Mapping[str, Any] = vocabulary()[axis]
    found: int | str = catalog[name].revision
    inside = [revision_of(axis, part["name"], part) for part in parts_of(axis, settings)]
    foreign = [str(revision) for revision in inside if has_fingerprint(revision)]
    return "-".join([str(found), *foreign]) if foreign else found


def origins_of(run: Run) -> dict[str, Origin]:
    """Where the entries were made that a run names and lrbench did not make, by their names."""

    def found(axis: str, name: str, settings: Mapping[str, Any]) -> dict[str, Origin]:
        catalog: Any = vocabulary()[axis]
        origins: list[Origin] = catalog.origins_of(name)
        origin = min(origins, key=lambda one: one.through or "", default=None)  # what reaches no worker decides
        inside = [found(axis, part["name"], part) for part in parts_of(axis, settings)]
        return ({name: origin} if origin else {}) | {name: one for some in inside for name, one in some.items()}

    choices: list[tuple[str, Choice]] = [(axis, getattr(run, axis)) for axis in vocabulary()]
    return {
        name: origin for axis, c in choices if c.is_plugin for name, origin in found(axis, c.name, c.settings).items()
    }


def changed(run: Run) -> str | None:
    """Which choice of a run means something else here than when the run was made, or is not known here; None if they are the same."""
    for axis, catalog in vocabulary().items():
        choice: Choice = getattr(run, axis)
        if choice.name not in catalog:
            return f"there is no {axis} called {choice.name!r} here: if it is a plug-in's, give --plugin"
        here = revision_of(axis, choice.name, choice.settings)
        if choice.revision != here:
            code = ": its code is another" if has_fingerprint(here) else ""
            return f"{axis} {choice.name} was changed since: revision {choice.revision} on record, {here} here{code}"
    return None
