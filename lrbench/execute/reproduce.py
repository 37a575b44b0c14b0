"""A study trained again from its own files, and held to its record."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lrbench.analyse.agreement import NOT_RUN, Pair, compare_runs, judge, suspicious, worst
from lrbench.analyse.frames import STRATEGY, groups
from lrbench.analyse.reproduction import Reproduction, Rerun
from lrbench.analyse.sample import stratified
from lrbench.config.faults import BadInput, message_of, one_line
from lrbench.config.outcome import Outcome, Status, mode_used
from lrbench.config.run import Choice, Run
from lrbench.device import Device, cpu_cores, describe, fast_modes, no_tf32, provenance, select, settle
from lrbench.execute.executor import Result, Task, results_of
from lrbench.execute.local import local_executor
from lrbench.execute.progress import Progress
from lrbench.plan import changed, load_plugins, params_of, vocabulary
from lrbench.stats import curves
from lrbench.stats.comparison import DIFFERENT
from lrbench.store import Study, digest, load, one_study
from lrbench.store.table import row, table_of
from lrbench.strategies import OPTIMIZERS, SCHEDULES, impossible
from lrbench.train import alone, rule_of, shared
from lrbench.workloads import WORKLOADS, fetch

SEED = 0
"""Of the generator that draws a sample."""
PIECE = 4
"""The runs of a task of work, in times of its width."""
SAME = (
    "kind", "model", "cpu", "cpu_vectors", "gpus", "driver", "cuda", "cudnn", "rocm", "threads_per_worker", "torch", "commit",
    "packages", "precision", "determinism",
)  # fmt: skip
"""Facts of a machine that the last bit of a result may depend on."""
PLAIN = ("lr", "seed", "batch_size", "accumulate", "precision", "eval_every", "target", *STRATEGY)
"""Columns that repeat a run's resolved values."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C; its words say what was finished."""


@dataclass(frozen=True)
class Recorded:
    """A run on record that can be trained again: its row, its resolved values, how it will be trained, and why not as recorded."""

    row: dict[str, Any]
    run: Run
    trainer: str
    mode: str
    note: str = ""


def reproduce(
    place: Path,
    *,
    sample: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    plugins: Sequence[Path] = (),
) -> Reproduction:
    """Train the runs of a study (a folder or a bundle) again, all or a stratified random sample, and compare. Writes nothing.

    ``auto`` is the kind of device that made the record, if there is one here; ``threads`` are by default those of the
    record.

    Raises: BadInput when the study or an option cannot be used; Stopped after Ctrl-C.
    """
    study = load(one_study(place))
    load_plugins(plugins)
    devices = _devices(device, str(study.machine.get("kind", "")))
    if sample is not None and sample < 1:
        raise BadInput(f"--sample {sample}: must be at least 1")
    if workers is not None and workers < 1:
        raise BadInput(f"--workers {workers}: must be at least 1")
    if threads is not None and not 1 <= threads <= cpu_cores():
        raise BadInput(f"--threads {threads}: must be from 1 to {cpu_cores()}, the cores that this process may use")
    threads = threads or max(1, min(int(study.machine.get("threads_per_worker") or 1), cpu_cores()))
    settle(devices[0], threads)
    here = provenance(describe(devices))
    usual = max(1, cpu_cores() // threads) if devices[0].type == "cpu" else len(devices)
    keys = set(stratified(study.runs, sample, np.random.default_rng(SEED)))
    rows = _records(study.runs[study.runs.key.isin(keys)])
    recorded, rest = _sort_out(rows, devices[0])
    done, stopped = _trained(tasks_of(recorded, study.runs), devices, workers or usual, plugins)
    found = _certified(study, recorded, rest, done, here, sample)
    if stopped:
        told_counts = (
            ", ".join(f"{n} {verdict}" for verdict, n in found.counts.items() if n and verdict != NOT_RUN) or "none"
        )
        trained = sum(one.run.key in done for one in recorded)
        raise Stopped(
            f"interrupted: {trained} of {len(recorded)} runs were trained again: {told_counts}. No certificate was "
            f"written."
        )
    return found


def _records(runs: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in values.items()} for values in runs.to_dict("records")]


def _devices(wish: str, kind: str) -> tuple[Device, ...]:
    if wish == "auto" and kind:
        try:
            return tuple(select(kind))
        except BadInput:  # no such device here: any other shows what it can
            return tuple(select("auto"))
    return tuple(select(wish))


def refuse_file(output: Path | None) -> None:
    """Tell before anything is trained that a certificate cannot go where it should. Raises: BadInput."""
    if output and output.exists() and not output.is_dir():
        raise BadInput(f"--output {output}: is a file; give a folder.")


# ---- what can be trained again


def _sort_out(rows: Sequence[dict[str, Any]], device: Device) -> tuple[list[Recorded], list[Rerun]]:
    """The runs that can be trained again, and what is said of the others."""
    recorded, rest = [], []
    for values in rows:
        found = _resolved(values, device)
        if isinstance(found, Run):
            recorded.append(_way(values, found, device))
        else:
            rest.append(_row(values, *found))
    lost = fetch(one.run.workload.name for one in recorded)
    rest += [_row(one.row, NOT_RUN, lost[one.run.workload.name]) for one in recorded if one.run.workload.name in lost]
    return [one for one in recorded if one.run.workload.name not in lost], rest


def _resolved(values: Mapping[str, Any], device: Device) -> Run | tuple[str, str]:
    """The run of a row, or the verdict and the reason why it is not trained again."""
    try:
        run = Run.model_validate_json(values["run"])
    except ValidationError as error:
        return NOT_RUN, f"its stored values are not those of a run that this lrbench knows: {one_line(error, 200)}"
    if run.key != values["key"]:
        return DIFFERENT, f"its stored values belong to another run, {run.key}: the record contradicts itself"
    repeated = row(run, Outcome(run.key, Status.SKIPPED)) | {"budget": run.steps}
    if wrong := [name for name in (*PLAIN, "budget") if repeated[name] != values[name]]:
        name = wrong[0]
        return (
            DIFFERENT,
            f"its column {name} says {values[name]}, and its resolved values {repeated[name]}: the record contradicts "
            f"itself",
        )
    if values["status"] == Status.CRASHED:
        return NOT_RUN, f"it crashed when it was recorded, so there is no result to compare: {values['reason']}"
    reason = _unlike(run) or _impossible(run, device)
    return (NOT_RUN, reason) if reason else run


def _unlike(run: Run) -> str | None:
    """Why a run's names do not mean here what they meant when it was recorded."""
    if reason := changed(run):
        return reason
    for axis in ("optimizer", "layer_lr", "schedule"):
        choice: Choice = getattr(run, axis)
        try:
            vocabulary()[axis][choice.name].resolve(choice.settings)
        except ValidationError as error:
            return f"{axis} {choice.label}: its settings are not possible here: {one_line(error, 200)}"
    return None


def _impossible(run: Run, device: Device) -> str | None:
    workload = WORKLOADS[run.workload.name]
    try:
        tf32 = no_tf32(device) if run.precision == "tf32" else None
        return tf32 or workload.missing() or impossible(run, params_of(workload))
    except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way, and it is a row of the certificate
        return message_of(error, 300)


def _way(values: dict[str, Any], run: Run, device: Device) -> Recorded:
    """How a run will be trained: as it was, where that can be."""
    family, _ = mode_used(values["mode"])
    if values["trainer"] != "population":
        return Recorded(values, run, "reference", "eager")
    if reason := alone(run):
        return Recorded(values, run, "reference", "eager", f"not in a population here: {reason}")
    if family not in ("eager", *fast_modes(device)):
        return Recorded(values, run, "population", "eager", f"there is no {family} mode on {device.type}")
    return Recorded(values, run, "population", family)


def tasks_of(recorded: Sequence[Recorded], runs: pd.DataFrame) -> list[Task]:
    """The work, trained as on record, the longest first.

    How many slots a population had is not on record; its members say how many were trained together when they began, so
    the greatest such number among all runs of a kind is taken: that of a population when it was full. An eager
    population's results do not depend on it, unless its rule rounds in a lower precision: then the whole population on
    record is trained again, with the runs of no sample too.
    """
    widths = _widths(runs)
    tasks = [Task((one.run,)) for one in recorded if one.trainer == "reference"]
    whole = {one.run.key for one in recorded if one.trainer == "population" and one.mode == "eager" and rounds(one.run)}
    tasks += _whole_populations([one for one in recorded if one.run.key in whole], runs)
    together: dict[tuple[Any, ...], list[Recorded]] = {}
    for one in sorted(recorded, key=lambda one: one.run.key):
        if one.trainer == "population" and one.run.key not in whole:
            rule = rule_of(one.run) if one.mode != "eager" else ()
            together.setdefault((one.mode, *shared(one.run), rule), []).append(one)
    for (mode, *_), some in together.items():
        width = max(2, widths.get((mode, *_kind(some[0].row)), 2))
        size = width if mode == "eager" else PIECE * width
        for start in range(0, len(some), size):
            part = tuple(one.run for one in some[start : start + size])
            tasks.append(Task(part, mode, max(2, min(width, len(part))) if mode == "eager" else width))
    return sorted(tasks, key=lambda task: (-len(task.runs) * task.runs[0].steps, task.runs[0].key))


def rounds(run: Run) -> bool:
    """Whether a run's optimizer computes in a lower precision, so that its bits depend on the population it is trained in."""
    return OPTIMIZERS[run.optimizer.name].rounds_in is not None


def _whole_populations(recorded: Sequence[Recorded], runs: pd.DataFrame) -> Iterator[Task]:
    """The populations on record that some runs were members of, each with all of its members.

    Older runs do not name their population: all of them with the same optimizer, of the same kind and width are taken
    for one.
    """
    done: set[str] = set()
    for one in recorded:
        if one.run.key not in done:
            names = ["population"] if one.row["population"] else ["population", "optimizer", "width", "mode", *KIND]
            same = np.logical_and.reduce([runs[name] == one.row[name] for name in names])
            members = [Run.model_validate_json(text) for text in runs.loc[same, "run"]]
            done |= {run.key for run in members}
            yield Task(tuple(sorted(members, key=lambda run: run.key)), "eager", max(2, len(members)))


KIND = ["workload", "batch_size", "accumulate", "precision", "budget", "eval_every"]


def _kind(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[name] for name in KIND)


def _widths(runs: pd.DataFrame) -> dict[tuple[Any, ...], int]:
    """The greatest width on record, by mode and kind."""
    together = runs[runs.trainer == "population"]
    modes = together["mode"].map(lambda mode: mode_used(mode)[0]).rename("family")
    return {tuple(at): int(part.width.max()) for at, part in groups(together.assign(family=modes), ["family", *KIND])}


# ---- training


def _trained(
    work: Sequence[Task], devices: Sequence[Device], workers: int, plugins: Sequence[Path]
) -> tuple[dict[str, Outcome], bool]:
    """The outcomes by key, and whether Ctrl-C cut them short. Unfinished work leaves nothing behind."""
    done: dict[str, Outcome] = {}
    late: list[Result] = []
    stopped = False
    runs = [run for task in work for run in task.runs]
    if not runs:
        return done, stopped
    with tempfile.TemporaryDirectory(prefix="lrbench-") as place, Progress(len(runs)) as progress:
        executor = local_executor(runs, devices, min(workers, len(work)), Path(place), plugins)
        if executor.reason:
            progress.say(executor.reason)
        try:
            with closing(results_of(executor, work, late)) as results:
                for result in results:
                    done[result.run.key] = result.outcome
                    progress.add(result.run.key, result.outcome.status)
        except KeyboardInterrupt:
            stopped = True
    return done | {result.run.key: result.outcome for result in late}, stopped


# ---- what came of it


def _certified(
    study: Study,
    recorded: Sequence[Recorded],
    rest: Sequence[Rerun],
    done: Mapping[str, Outcome],
    here: dict[str, Any],
    asked: int | None,
) -> Reproduction:
    pairs, rows = [], list(rest)
    alike = (
        here["kind"] == "cpu"
        and all(study.machine.get(name) == here.get(name) for name in SAME)
        and not study.machine.get("dirty")
        and not here.get("dirty")
    )
    cells = _cells(study.runs)
    for one in recorded:
        outcome = done.get(one.run.key)
        if outcome is None:
            rows.append(_row(one.row, NOT_RUN, "it was interrupted"))
        elif outcome.status == Status.CRASHED:
            rows.append(_row(one.row, NOT_RUN, f"it crashed here: {outcome.reason}", note=one.note))
        else:
            pairs.append(_pair(one, outcome, study, cells, alike=alike))
    judged, tests = judge(pairs, {pair.key: compare_runs(pair) for pair in pairs})
    again = {one.run.key: one for one in recorded}
    for pair in pairs:
        measures = judged[pair.key]
        one = again[pair.key]
        note = one.note or _other_way(pair)
        verdict = worst([m.verdict for m in measures.values()])
        more = {"trained_as": _as(pair.found), "measures": measures, "optimizer": one.run.optimizer.name}
        rows.append(_row(pair.recorded, verdict, "", note=note, **more))
    return Reproduction(
        study.name, digest(study.runs), study.machine, here, len(study.runs), asked, tuple(sorted(rows, key=lambda r: r.key)), tuple(tests),
        suspicious(pairs),
    )  # fmt: skip


def _pair(
    one: Recorded, outcome: Outcome, study: Study, cells: Mapping[tuple[Any, ...], list[dict[str, Any]]], *, alike: bool
) -> Pair:
    [found] = table_of([row(one.run, outcome)]).to_pandas().to_dict("records")
    facts = study.facts["workloads"][one.row["workload"]]
    share = facts["metric_unit"] == "fraction"
    others = tuple(other for other in cells[_cell(one.row)] if other["key"] != one.row["key"])
    return Pair(
        cell=one.run.but(seed=0).key,
        recorded=one.row,
        found=found,
        higher_is_better=bool(facts["higher_is_better"]),
        alike=alike and _exact(one, found),
        closed_loop="closed_loop" in SCHEDULES[one.run.schedule.name].flags,
        examples=(int(facts.get("validation_examples", 0)), int(facts.get("test_examples", 0))) if share else (0, 0),
        others=others,
        goes_on=outcome.steps > one.row["steps"]
        and curves.digest(outcome.step_loss[: one.row["steps"]]) == one.row["loss_digest"],
    )


def _exact(one: Recorded, found: Mapping[str, Any]) -> bool:
    """Whether a run was computed as its record was, in a way whose bits do not depend on what else was trained at the same time.

    Those of compiled populations and of eager ones on a GPU may, and those of rules that round in a lower precision
    unless the population is the same one.
    """
    same_way = found["trainer"] == one.row["trainer"] and found["mode"] == one.row["mode"]
    together = found["trainer"] == "population"
    same_population = not rounds(one.run) or found["population"] == one.row["population"] != ""
    return same_way and not (together and (found["mode"] != "eager" or not same_population))


CELL = [*STRATEGY, "lr", *KIND[1:], "target"]


def _cell(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[name] for name in CELL)


def _cells(runs: pd.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for values in _records(runs):
        found.setdefault(_cell(values), []).append(values)
    return found


def _other_way(pair: Pair) -> str:
    """What was different about how a run was trained, where nothing was said of it before."""
    one, two = pair.recorded, pair.found
    if one["trainer"] != two["trainer"] or one["mode"] != two["mode"]:
        return f"trained by the {two['trainer']} trainer, {two['mode']}, here"
    return ""


def _as(values: Mapping[str, Any]) -> str:
    if values["trainer"] != "population":
        return f"{values['trainer']}, {values['mode']}"
    return f"{values['trainer']}, {values['mode']}, {values['width']} at once"


def _row(values: Mapping[str, Any], verdict: str, reason: str, **rest: Any) -> Rerun:
    axes = " / ".join(str(values[axis]) for axis in STRATEGY[1:])
    return Rerun(
        key=values["key"], workload=values["workload"], strategy=axes, lr=float(values["lr"]), seed=int(values["seed"]),
        status=values["status"], recorded_as=_as(values), verdict=verdict, reason=reason, **rest,
    )  # fmt: skip
