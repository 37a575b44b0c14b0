"""Bundles: a study as one file. Commands that read studies accept it in place of the folder."""

from pathlib import Path

from lrbench.config.faults import BadInput
from lrbench.store.archive import ENDING, SUMS, pack
from lrbench.store.files import write_whole
from lrbench.store.study import LEFT_OUT, load, one_study


def bundle(folder: Path, output: Path | None = None) -> Path:
    """Write a study, or the only study below a folder, into one archive. Returns: its path.

    The default name is ``<matrix>-<machine>.tar.gz`` in the current folder. The same files give the same bytes: clocks,
    owners and the order on disk do not matter. Unfinished work (checkpoints, temporary files) is left out.

    Raises: BadInput when the folder is not a study or is damaged, or a link is in it.
    """
    if folder.is_file():
        raise BadInput(f"{folder}: is a file; give the folder of a study, <results>/<matrix>/<machine>.")
    folder = one_study(folder)
    study = load(folder)
    name = f"{study.name}-{study.machine['slug']}"
    target = output or Path(f"{name}{ENDING}")
    if target.is_dir():
        raise BadInput(f"--output {target}: is a folder; give the name of a file, such as {target / (name + ENDING)}.")
    return write_whole(target, pack(name, _files(folder, target)))


def _files(folder: Path, target: Path) -> dict[str, bytes]:
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if (
            parts[0] in LEFT_OUT
            or any(part.startswith(".") for part in parts)
            or path.suffix == ".tmp"
            or parts == (SUMS,)
        ):
            continue
        if path.is_symlink():
            raise BadInput(f"{path}: is a link, which a bundle cannot hold: put the file itself in its place.")
        if path.is_file() and path.resolve() != target.resolve():
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return files
