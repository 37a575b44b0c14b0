"""A plan carried out: every missing run trained, every result stored as soon as it may be lost."""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrbench.config.faults import BadInput
from lrbench.config.matrix import parse_matrix, read_matrix
from lrbench.config.origin import outside, runs_with_main
from lrbench.config.outcome import Status
from lrbench.config.run import Run
from lrbench.device import Device, cpu_cores, describe, no_tf32, provenance, select, settle
from lrbench.execute.aside import drop_costs, outdated, told
from lrbench.execute.autotune import StepTimings, divide
from lrbench.execute.executor import Executor, Result, Task
from lrbench.execute.local import local_executor
from lrbench.execute.progress import Progress
from lrbench.execute.reach import UNGUARDED
from lrbench.execute.work import Done
from lrbench.plan import Plan, changed, load_plugins, vocabulary
from lrbench.plan import make_plan as sort_out
from lrbench.store import Store, Study, in_record, load
from lrbench.workloads import fetch

FLUSH_SECONDS = 2.0

Text = str | os.PathLike[str]


@dataclass(frozen=True)
class Session:
    """A plan with the place where its results go, the devices that will do it, and how many workers."""

    plan: Plan
    store: Store
    devices: tuple[Device, ...]
    workers: int
    plugins: tuple[Path, ...] = ()
    here: str = ""
    """Why this process must train by itself, if so."""
    executor: Executor | None = None
    """What measures and trains; by default this process or processes on this machine, whichever suits."""


@dataclass(frozen=True)
class Summary:
    """How the runs of one command ended, and whether it was interrupted."""

    counts: Counter[Status]
    interrupted: bool
    seconds: float


def make_session(
    matrix: Text | Mapping[str, Any],
    *,
    results: Text = "results",
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    plugins: Sequence[Text] = (),
) -> Session:
    """Read a matrix (a file, or the same as plain values), choose devices, and sort the runs by what is stored. Writes nothing.

    Raises: BadInput with every fault found.
    """
    files = tuple(Path(p) for p in plugins)
    load_plugins(files)
    words = vocabulary()
    read = (
        parse_matrix({"name": "matrix"} | dict(matrix), words)
        if isinstance(matrix, Mapping)
        else read_matrix(Path(matrix), words)
    )
    devices = tuple(select(device))
    if workers is not None and workers < 1:
        raise BadInput(f"--workers {workers}: must be at least 1")
    if not 1 <= threads <= cpu_cores():
        raise BadInput(f"--threads {threads}: must be from 1 to {cpu_cores()}, the cores that this process may use")
    settle(devices[0], threads)  # here too, so that what is written of this process holds for its workers
    usual = max(1, cpu_cores() // threads) if devices[0].type == "cpu" else len(devices)
    store = Store(Path(results) / read.name / describe(devices).slug)
    if in_record(store.folder):
        raise BadInput(
            f"{store.folder}: lies in the record, which only `lrbench publish` adds to. Give another --results or "
            f"another name."
        )
    plan = sort_out(read, store.finished())
    plan = plan.skip(lambda run: no_tf32(devices[0]) if run.precision == "tf32" else None)
    return Session(plan, store, devices, workers or usual, files)


def make_plan(matrix: Text | Mapping[str, Any], **options: Any) -> Plan:
    """What ``run`` would do with the same arguments. Writes nothing.

    Raises: BadInput with every fault found.
    """
    return make_session(matrix, **options).plan


def run(matrix: Text | Mapping[str, Any], *, executor: Executor | None = None, **options: Any) -> Study:
    """Train what is missing of a matrix and return the whole study.

    ``options`` are those of the command line: ``results``, ``device``, ``workers``, ``threads``, ``plugins``;
    ``executor`` is what trains, if not this process or others on this machine. For more than one worker, call it under
    ``if __name__ == "__main__"`` in a script: workers are new processes, which import it.

    Raises: BadInput with every fault found; KeyboardInterrupt after storing what was finished.
    """
    if multiprocessing.parent_process() or getattr(
        multiprocessing.current_process(), "_inheriting", False
    ):  # set before its parent is
        raise BadInput(
            'lrbench.run was called while a worker imported the script: put the call under if __name__ == "__main__":'
        )
    session = replace(make_session(matrix, **options), executor=executor)
    if runs_with_main(outside(sys._getframe())):
        session = replace(session, here=UNGUARDED)
    if carry_out(session).interrupted:
        raise KeyboardInterrupt
    return load(session.store.folder)


def prepare(plan: Plan) -> Plan:
    """Fetch the data and weights that the missing runs need, once; a workload whose data cannot be had is skipped with the reason."""
    lost = fetch(run.workload.name for run in plan.missing)
    return plan.skip(lambda run: lost.get(run.workload.name))


def carry_out(session: Session) -> Summary:
    """Train the missing runs of a plan and store what comes of them.

    The workers share a CPU; each GPU has its own. With one worker, this process does the work, and so it does where an
    entry is defined in a session that no worker can import. Finished runs are stored every two seconds; Ctrl-C stores
    what is finished, saves the runs in hand where they are, and returns.

    Raises: BadInput when another process is writing to the study, or an entry was replaced since the plan was made.
    """
    with session.store.alone():
        return _carried_out(session)


def _carried_out(session: Session) -> Summary:
    started = time.monotonic()
    store = session.store
    plan = prepare(replace(session.plan, stored=frozenset(store.finished())))  # another lrbench may have come first
    planned = {run.key for run in plan.possible}
    write_description(session, plan, adds=bool(plan.missing))
    store.arrange(planned)
    counts: Counter[Status] = Counter()
    interrupted = False
    with Progress(len(plan.missing)) as progress, closing(_stored(session, plan.missing, progress)) as outcomes:
        try:
            for run, outcome in outcomes:
                counts[outcome.status] += 1
                progress.add(run.key, outcome.status)
        except KeyboardInterrupt:
            interrupted = True
    store.arrange(planned)
    return Summary(counts, interrupted, time.monotonic() - started)


def write_description(session: Session, plan: Plan, *, adds: bool) -> None:
    """Write what the study is, once the runs are set aside that it is not: no description stands beside runs of another model.

    What was set aside because the code of an entry changed is told in a line.

    Raises: BadInput when an entry was replaced since the plan was made.
    """
    if reason := next(filter(None, (changed(run) for run in plan.possible if run.has_plugin)), None):
        raise BadInput(f"{reason}. Make the plan anew.")
    store, planned = session.store, {run.key for run in plan.possible}
    pairs = outdated(plan, store.unnamed(planned))
    for line in [*told(plan, pairs), *(drop_costs(store.folder, pairs) if pairs else [])]:
        print(line, file=sys.stderr)
    store.set_aside(planned)
    store.describe(plan.facts(), provenance(describe(session.devices)), plan.skipped(), adds=adds)


def _results(session: Session, runs: Sequence[Run], progress: Progress, late: list[Result]) -> Generator[Result]:
    """Measure what is not known, then train.

    Closed before its end, it adds to ``late`` what was finished by then.
    """
    if not runs:
        return
    executor = session.executor or local_executor(
        runs,
        session.devices,
        min(session.workers, len(runs)),
        session.store.checkpoints,
        session.plugins,
        session.here,
    )
    if executor.reason:
        progress.say(executor.reason)
    timings = StepTimings(session.devices[0], session.workers)
    trials = timings.unknown(runs)
    if trials:
        progress.begin(f"measuring the fastest way to train {len(trials)} kind{'s' if len(trials) > 1 else ''} of runs")
    try:
        with executor:
            timings.note(executor.measure(trials))
            yield from executor.run(_expected(divide(runs, timings.known, executor.workers), progress))
    finally:
        late += executor.late


def _expected(tasks: list[Task], progress: Progress) -> list[Task]:
    """Tell what is expected, and pass it on."""
    progress.expect({run.key: task.seconds / len(task.runs) for task in tasks for run in task.runs})
    return tasks


def _stored(session: Session, runs: Sequence[Run], progress: Progress) -> Generator[Done]:
    """The outcomes of some runs; they are written in shards every few seconds, and what is left when it ends for whatever reason."""
    unwritten: list[Done] = []
    late: list[Result] = []
    last = time.monotonic()
    try:
        with closing(_results(session, runs, progress, late)) as results:
            for result in results:
                unwritten.append((result.run, result.outcome))
                if time.monotonic() - last >= FLUSH_SECONDS:
                    session.store.write(unwritten[0][0].key, unwritten)
                    unwritten, last = [], time.monotonic()
                yield result.run, result.outcome
    finally:
        unwritten += [(result.run, result.outcome) for result in late]
        if unwritten:
            session.store.write(unwritten[0][0].key, unwritten)
