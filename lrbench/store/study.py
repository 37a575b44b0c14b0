"""A study on disk: ``<results>/<matrix>/<machine>/``."""

import json
import os
import tomllib
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import tomli_w
from filelock import FileLock, Timeout

from lrbench.config.cost import Costs
from lrbench.config.faults import BadInput, one_line, renamed
from lrbench.config.outcome import Outcome, Status
from lrbench.config.run import Run
from lrbench.config.types import file_name
from lrbench.store.archive import ENDING, opened
from lrbench.store.costs import FILE as COSTS
from lrbench.store.costs import read_costs
from lrbench.store.facts import as_now
from lrbench.store.files import write_whole
from lrbench.store.table import CONTENT, read_parquet, row, table_of, to_bytes

RUNS, RETIRED = "runs", "retired"
LEFT_OUT = ("checkpoints",)
"""Folders of unfinished work."""
RECORD = "published"
"""The folder below ``results`` of the record: complete, certified, tracked. Only ``lrbench publish`` adds to it."""
CERTIFICATE = "certificate.json"
"""The result of ``lrbench reproduce``, if it was written into the study's folder."""
SCHEMA = 3
"""The version of the layout. Newer versions of lrbench read all older ones."""


@dataclass(frozen=True)
class Study:
    """The stored outcomes of one matrix on one machine.

    ``runs`` has one row per run, with the columns of ``store.table``; ``skipped`` has ``key, workload, optimizer,
    layer_lr, schedule, lr, seed, reason``; ``facts`` is ``study.toml``; ``machine`` is ``machine.json``; ``costs`` is
    ``costs.json``, empty where nothing was measured; ``certificate`` is the text of ``certificate.json``, or None.
    """

    folder: Path
    facts: dict[str, Any]
    machine: dict[str, Any]
    runs: pd.DataFrame
    skipped: pd.DataFrame
    costs: Costs = field(default_factory=Costs)
    certificate: str | None = None

    @property
    def name(self) -> str:
        """The name of the matrix."""
        return str(self.facts["matrix"]["name"])


class Store:
    """Writes one study folder. Every file is whole at every instant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def checkpoints(self) -> Path:
        """The folder for the state of unfinished runs."""
        return self.folder / "checkpoints"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder inside the context. Two writers at once would merge away each other's shards.

        The system releases the lock when the process ends, in whatever way.

        Raises: BadInput when another process has the lock.
        """
        for place in (self.folder, self.folder / RUNS):  # fail before anything is trained
            place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise BadInput(
                f"{self.folder}: another lrbench is writing there: wait until it ends, or give another folder, "
                f"--results."
            ) from None
        except OSError as error:  # which names no file
            raise OSError(error.errno, error.strerror, str(self.folder)) from error
        try:
            yield
        finally:
            lock.release()

    def describe(
        self, facts: dict[str, Any], machine: dict[str, Any], skipped: pd.DataFrame, *, adds: bool = True
    ) -> None:
        """Write the description of the study: the resolved matrix, the machine, and the skipped runs.

        ``adds`` says whether runs will be added. If not, the stored machine and software stay those of the stored runs.
        """
        write_whole(self.folder / "study.toml", tomli_w.dumps({"schema": SCHEMA} | _without_none(facts)))
        if adds or not (self.folder / "machine.json").is_file():
            write_whole(self.folder / "machine.json", json.dumps(machine, indent=2, sort_keys=True) + "\n")
        write_whole(self.folder / "skipped.csv", skipped.to_csv(index=False, lineterminator="\n"))

    def write(self, name: str, done: Sequence[tuple[Run, Outcome]]) -> Path:
        """Store finished runs as one shard, ``runs/<name>.parquet``."""
        return write_whole(
            self.folder / RUNS / f"{name}.parquet", to_bytes(table_of([row(run, outcome) for run, outcome in done]))
        )

    def finished(self) -> set[str]:
        """The keys of finished runs, retired ones included. Crashed runs are not finished: they are tried again."""
        with _damage(self.folder):
            known = read_parquet([*_shards(self.folder), *_shards(self.folder, RETIRED)], ["key", "status"]).to_pandas()
        return set(known.loc[known.status != Status.CRASHED, "key"])

    def unnamed(self, planned: Set[str]) -> list[str]:
        """The stored runs, not retired yet, that the matrix no longer names. Returns: their resolved values as JSON."""
        with _damage(self.folder):
            stored = read_parquet(_shards(self.folder), ["key", "run"]).to_pylist()
        return [row["run"] for row in stored if row["key"] not in planned]

    def set_aside(self, planned: Set[str]) -> None:
        """Retire the runs that the matrix no longer names, and bring no other back.

        Retired runs may return only once the study's description includes them.
        """
        if self.unnamed(planned):
            with _damage(self.folder):
                here = set(read_parquet(_shards(self.folder), ["key"])["key"].to_pylist())
            self.arrange(planned & here)

    def arrange(self, planned: Set[str]) -> None:
        """Merge shards into one file per workload, and retire the runs that the matrix no longer names.

        Reports do not see retired runs. They come back when the matrix names them again. After a kill at any instant,
        every run is still in one place, or in two.
        """
        before = [*_shards(self.folder), *_shards(self.folder, RETIRED)]
        with _damage(self.folder):
            runs = _one_row_per_key(read_parquet(before), self.folder)
        wanted = pa.array([key in planned for key in runs["key"].to_pylist()], pa.bool_())
        after = set()
        for place, part in ((RETIRED, runs.filter(pc.invert(wanted))), (RUNS, runs.filter(wanted))):
            for name in sorted(set(part["workload"].to_pylist())):
                table = part.filter(pc.equal(part["workload"], name))
                after.add(write_whole(self.folder / place / f"{file_name(name)}.parquet", to_bytes(table)))
        for path in set(before) - after:
            path.unlink()


def load(folder: Path) -> Study:
    """Read a study from its folder, or from a bundle. The folder of a bundle's study is its name without the suffix.

    Raises: BadInput when it is not a study, is damaged, was written by a newer lrbench, or holds two different records
    of one run.
    """
    return _from_bundle(folder) if folder.is_file() else _load(folder)


def _from_bundle(file: Path) -> Study:
    name = file.name.removesuffix(ENDING) if file.name.endswith(ENDING) else file.stem
    with opened(file) as folder, renamed(folder, file):
        return replace(_load(folder), folder=file.with_name(name))


def _load(folder: Path) -> Study:
    if not (folder / "study.toml").is_file():
        raise BadInput(f"{folder}: is not a study (it has no study.toml). Give <results>/<matrix>/<machine>.")
    with _damage(folder / "study.toml") as path:
        facts = as_now(tomllib.loads(path.read_text(encoding="utf-8")))
        if facts["schema"] > SCHEMA:
            raise BadInput(
                f"{folder}: has schema {facts['schema']}, and this lrbench reads up to {SCHEMA}: upgrade lrbench."
            )
        _require("matrix.name", facts["matrix"]["name"])
    with _damage(folder / "machine.json") as path:
        machine = json.loads(path.read_text(encoding="utf-8"))
        _require("slug", machine["slug"])
    with _damage(folder / "skipped.csv") as path:
        skipped = pd.read_csv(path, keep_default_na=False, dtype={"key": str})
        _require("reason", "reason" in skipped)
    with _damage(folder / COSTS):
        costs = read_costs(folder)
    with _damage(folder):
        runs = _one_row_per_key(read_parquet(_shards(folder)), folder).to_pandas()
    with _damage(folder / CERTIFICATE) as path:
        certificate = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    return Study(folder, facts, machine, runs, skipped, costs, certificate)


def _require(name: str, value: Any) -> None:
    if not value:
        raise ValueError(f"it lacks {name}")


def in_record(folder: Path) -> bool:
    """Whether a folder is in the record, ``<results>/published/<matrix>/<machine>``, or is the record itself."""
    return RECORD in folder.resolve().parts[-3:]


def studies(folder: Path, *, record: bool = False) -> list[Path]:
    """The study folders at or below a folder, sorted. A file is taken for a bundle, and returned itself.

    Studies of the record below the folder are left out, unless ``record`` is set or there are no others. So the record
    and work in progress are never mixed by accident.

    Raises: BadInput when there is none.
    """
    if folder.is_file():
        return [folder]
    every = sorted(_holding(folder, "study.toml"))
    working = [path for path in every if RECORD not in path.relative_to(folder).parts]
    if not every:
        raise BadInput(
            f"{folder}: holds no study. Give a folder that `lrbench run` has written to, such as results/reference."
        )
    return every if record else working or every


def _holding(folder: Path, name: str) -> Iterator[Path]:
    """The folders at or below one that hold a file. Links are followed; a folder with two paths counts once."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        if name in files:
            yield Path(root)


def one_study(place: Path) -> Path:
    """The study folder or bundle at a place, or the only one below it.

    Raises: BadInput when there is none or there are several.
    """
    folders = studies(place)
    if len(folders) > 1:
        names = ", ".join(str(path) for path in folders[:3])
        more = ", ..." if len(folders) > 3 else ""
        raise BadInput(f"{place}: holds {len(folders)} studies: {names}{more}. Give one of them.")
    return folders[0]


@contextmanager
def _damage(path: Path) -> Iterator[Path]:
    """Report a file that cannot be read, at ``path`` or below, as bad input."""
    try:
        yield path
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else one_line(error, 1000)
        raise BadInput(
            f"{path}: is damaged and cannot be read: {why}. Restore it, or remove what is damaged."
        ) from error


def _shards(folder: Path, place: str = RUNS) -> list[Path]:
    return sorted((folder / place).glob("*.parquet"))


def _one_row_per_key(runs: pa.Table, folder: Path) -> pa.Table:
    """Sort by key. Drop repeats, and crashes that succeeded later. Refuse two different results of one run."""
    seen: dict[str, int] = {}
    crashed = [status == Status.CRASHED for status in runs["status"].to_pylist()]
    for i, key in enumerate(runs["key"].to_pylist()):
        first = seen.setdefault(key, i)
        if crashed[first]:
            seen[key] = i
        elif i != first and not crashed[i] and _content(runs, i) != _content(runs, first):
            raise BadInput(
                f"{folder}: holds two different results of run {key}: move one of its files in {RUNS}/ away."
            )
    return runs.take(pa.array([seen[key] for key in sorted(seen)], pa.int64()))


def _without_none(value: Any) -> Any:
    """A value without the parts that are None, which TOML cannot write."""
    if isinstance(value, dict):
        return {name: _without_none(v) for name, v in value.items() if v is not None}
    return [_without_none(v) for v in value if v is not None] if isinstance(value, list) else value


def _content(runs: pa.Table, i: int) -> str:
    return repr(runs.slice(i, 1).select(CONTENT).to_pylist())
