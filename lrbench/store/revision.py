"""Results in a folder, or in a revision of a git repository."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lrbench.config.faults import BadInput, one_line, renamed

WANTED = ("study.toml", "machine.json", "skipped.csv", "costs.json")
"""The files that ``load`` reads of a study, besides its shards."""
REGULAR = "100"
"""The first digits of a regular file's mode. Links and submodules are not followed."""


@contextmanager
def results_of(place: str, inside: str = "results") -> Iterator[tuple[str, Path]]:
    """Results by their place: yields a name for them, and a folder that exists inside the context.

    ``place`` is a folder; or a git revision, for its folder ``inside``, from the top of the repository; or
    ``REVISION:FOLDER``. A folder takes precedence over a revision of the same name. Nothing is checked out: the files
    of studies are written into a temporary folder.

    Raises: BadInput when it is none of these. Faults raised in the context name the revision, not the temporary folder.
    """
    if place and Path(place).exists():
        yield place, Path(place)
        return
    revision, colon, folder = place.partition(":")
    commit, inside = _commit(place, revision), folder if colon else inside
    with tempfile.TemporaryDirectory(prefix="lrbench-") as made:
        _write(Path(made), _files(commit, place, inside), commit)
        with renamed(made, f"{revision}:{inside}"):
            yield f"{revision} ({commit[:10]})", Path(made)


def _commit(place: str, revision: str) -> str:
    if not revision or revision.startswith("-"):
        raise BadInput(
            f"{place}: is neither a folder nor a git revision. Give a folder of results, a revision, or "
            f"REVISION:FOLDER."
        )
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    except FileNotFoundError:
        raise BadInput(
            f"{place}: is not a folder, and git, which could know it as a revision, is not installed."
        ) from None
    except subprocess.CalledProcessError as error:
        why = one_line(error.stderr.decode(errors="replace")) or "git knows no such commit here"
        raise BadInput(
            f"{place}: is neither a folder nor a git revision ({why}). Give a folder of results, a revision, or "
            f"REVISION:FOLDER."
        ) from None


def _git(*arguments: str, given: bytes | None = None) -> bytes:
    """The output of git in the working directory.

    Raises: CalledProcessError, whose ``stderr`` has git's own words; FileNotFoundError without git.
    """
    return subprocess.run(["git", *arguments], input=given, capture_output=True, check=True).stdout


def _files(commit: str, place: str, inside: str) -> dict[str, str]:
    """The git objects of the files to write, by their paths below the folder.

    Raises: BadInput when the commit has no study there.
    """
    folder = PurePosixPath(inside.strip("/") or ".")
    only = [] if folder == PurePosixPath() else ["--", str(folder)]
    try:
        listed = _git("ls-tree", "-r", "-z", "--full-tree", commit, *only)
    except subprocess.CalledProcessError:  # a folder outside of the repository
        listed = b""
    objects = {}
    for line in listed.split(b"\0"):
        facts, _, name = line.decode(errors="surrogateescape").partition("\t")
        path = PurePosixPath(name)
        if facts.startswith(REGULAR) and _of_a_study(path) and ".." not in path.parts:
            objects[str(path.relative_to(folder))] = facts.split()[2]
    if not any(PurePosixPath(path).name == "study.toml" for path in objects):
        raise BadInput(
            f"{place}: that commit has no study in {folder}. Name the folder of its results: --path FOLDER, or "
            f"REVISION:FOLDER."
        )
    return objects


def _of_a_study(path: PurePosixPath) -> bool:
    return path.name in WANTED or (path.suffix == ".parquet" and path.parent.name == "runs")


def _write(folder: Path, files: dict[str, str], commit: str) -> None:
    """Write the objects into the folder. One call of git reads them all."""
    names: Sequence[str] = sorted(files)
    output = _git("cat-file", "--batch", given="".join(f"{files[name]}\n" for name in names).encode())
    at = 0
    for name in names:
        end = output.index(b"\n", at)
        _, kind, *size = output[at:end].decode().split()
        if kind != "blob":
            raise BadInput(f"{name}: git cannot read it in {commit[:10]} ({kind}). Fetch the whole repository.")
        at = end + 1 + int(size[0])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(output[end + 1 : at])
        at += 1
