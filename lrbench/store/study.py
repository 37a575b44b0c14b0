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
"""The folder below ``results`` that is the record: complete, certified, tracked. Nothing but ``lrbench publish`` adds
to it."""
CERTIFICATE = "certificate.json"
"""What reproducing a study writes, if it is told to write it there."""
SCHEMA = 3
"""The version of the layout; a newer lrbench reads every older one."""


@dataclass(frozen=True)
class Study:
    """The stored outcomes of one matrix on one machine.

    ``runs`` has one row per run and the columns of ``store.table``; ``skipped`` has ``key, workload, optimizer,
    layer_lr, schedule, lr, seed, reason``; ``facts`` is ``study.toml``; ``machine`` is ``machine.json``; ``costs`` is
    ``costs.json``, empty where nothing was measured; ``certificate`` is the text of ``certificate.json``, None where
    there is none.
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
    """The writing side of one study folder. Everything it writes is whole at every instant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def checkpoints(self) -> Path:
        """Where unfinished runs leave what they need to go on."""
        return self.folder / "checkpoints"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder: of two that write to it at once, each would take the other's shards for its own and merge them away.

        The system lets go of it when the process ends, however that comes about.
        Raises: BadInput when another process holds it.
        """
        for place in (self.folder, self.folder / RUNS):  # what cannot be written is told before anything is trained
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
        """Write what the study is: the resolved matrix, the machine, and the runs that cannot be.

        ``adds`` says whether runs will be added. If not, the stored machine and its software stay as they were when the
        runs were made.
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
        """The keys that need no further work, retired ones too. A crashed run is not among them: it is tried again."""
        with _damage(self.folder):
            known = read_parquet([*_shards(self.folder), *_shards(self.folder, RETIRED)], ["key", "status"]).to_pandas()
        return set(known.loc[known.status != Status.CRASHED, "key"])

    def unnamed(self, planned: Set[str]) -> list[str]:
        """The stored runs that the matrix no longer names and that are not retired yet: their resolved values, as they were stored."""
        with _damage(self.folder):
            stored = read_parquet(_shards(self.folder), ["key", "run"]).to_pylist()
        return [row["run"] for row in stored if row["key"] not in planned]

    def set_aside(self, planned: Set[str]) -> None:
        """Retire the runs that the matrix no longer names, and let none come back: what describes the study does not know them yet."""
        if self.unnamed(planned):
            with _damage(self.folder):
                here = set(read_parquet(_shards(self.folder), ["key"])["key"].to_pylist())
            self.arrange(planned & here)

    def arrange(self, planned: Set[str]) -> None:
        """Merge shards into one file per workload, and retire the runs that the matrix no longer names.

        Retired runs are kept aside, out of reports, and come back when the matrix names them again. Killed at any
        instant, every run is still in one place or in two.
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
    """Read a study from its folder, or from a bundle; that of a bundle has its name, without the ending, as its folder.

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
        _there("matrix.name", facts["matrix"]["name"])
    with _damage(folder / "machine.json") as path:
        machine = json.loads(path.read_text(encoding="utf-8"))
        _there("slug", machine["slug"])
    with _damage(folder / "skipped.csv") as path:
        skipped = pd.read_csv(path, keep_default_na=False, dtype={"key": str})
        _there("reason", "reason" in skipped)
    with _damage(folder / COSTS):
        costs = read_costs(folder)
    with _damage(folder):
        runs = _one_row_per_key(read_parquet(_shards(folder)), folder).to_pandas()
    with _damage(folder / CERTIFICATE) as path:
        certificate = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    return Study(folder, facts, machine, runs, skipped, costs, certificate)


def _there(name: str, value: Any) -> None:
    if not value:
        raise ValueError(f"it lacks {name}")


def in_record(folder: Path) -> bool:
    """Whether a folder is the record, or that of a matrix or a study in it: ``<results>/published/<matrix>/<machine>``."""
    return RECORD in folder.resolve().parts[-3:]


def studies(folder: Path, *, record: bool = False) -> list[Path]:
    """The study folders at or below a folder, sorted; of a file, itself: it is taken for a bundle.

    Those of the record below the folder are left out, unless ``record`` is set or there are no others: work in progress
    and the record are never mixed by accident.

    Raises: BadInput when there is none.
    """
    if folder.is_file():
        return [folder]
    found = sorted(_holding(folder, "study.toml"))
    working = [path for path in found if RECORD not in path.relative_to(folder).parts]
    if not found:
        raise BadInput(
            f"{folder}: holds no study. Give a folder that `lrbench run` has written to, such as results/reference."
        )
    return found if record else working or found


def _holding(folder: Path, name: str) -> Iterator[Path]:
    """The folders at or below one that hold a file, links to folders followed; what two paths lead to counts once."""
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
    """The study folder, or the bundle, that a place stands for: itself, or the only one below it.

    Raises: BadInput when there is none or there are several.
    """
    found = studies(place)
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:3])
        raise BadInput(
            f"{place}: holds {len(found)} studies: {names}{', ...' if len(found) > 3 else ''}. Give one of them."
        )
    return found[0]


@contextmanager
def _damage(path: Path) -> Iterator[Path]:
    """Tell of a file, or of one in a folder, that cannot be read as bad input."""
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
    """Sort by key; drop crashes that a later try made good, and repeats; refuse two different results of one run."""
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
    """TOML has no word for nothing: what is None is left out."""
    if isinstance(value, dict):
        return {name: _without_none(v) for name, v in value.items() if v is not None}
    return [_without_none(v) for v in value if v is not None] if isinstance(value, list) else value


def _content(runs: pa.Table, i: int) -> str:
    return repr(runs.slice(i, 1).select(CONTENT).to_pylist())
