"""Whether this machine is fit to measure on, and what to mend if not."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from lrbench.config.faults import message_of
from lrbench.config.matrix import parse_matrix
from lrbench.config.run import Run
from lrbench.device import Device, Telemetry, describe, deterministic, kernels_missing, name_of, provenance
from lrbench.execute.verify import verify
from lrbench.plan import expand, vocabulary
from lrbench.strategies import OPTIMIZERS
from lrbench.train import data_for, train
from lrbench.workloads import WORKLOADS

CLOSE = 1e-3
"""The relative difference of a validation loss that float32 may have from float64 after ``STEPS`` steps."""
ROUNDING = 1e-7
"""Losses are kept in float32, so nothing smaller is seen."""
STEPS = 30
ENERGY_SECONDS = 1.2
WORKLOAD = "digits-mlp"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``state`` is ``ok``, ``note`` (works, with a limit) or ``fault``; ``mend`` is what to do about it."""

    name: str
    state: str
    found: str
    mend: str = ""


def examine(devices: list[Device]) -> Iterator[Check]:
    """Look at the machine, the data and, on each device, whether results and clocks can be trusted."""
    yield from _data()
    yield from _packages()
    for device in devices:
        where = name_of(device)
        yield _kept(f"{where}: populations", partial(_populations, device))
        yield _kept(f"{where}: float32 against float64 on the CPU", partial(_single_precision, device))
        yield _energy(device)
        yield _quiet(device)


def _kept(name: str, look: Callable[[], tuple[str, str, str]]) -> Check:
    """A check whose failing is an answer too."""
    try:
        return Check(name, *look())
    except Exception as error:  # noqa: BLE001 - whatever breaks is what the user must learn of
        return Check(name, "fault", message_of(error, 300), "see whether torch itself works here")


def _data() -> Iterator[Check]:
    for name, workload in WORKLOADS.items():
        if reason := workload.missing():
            yield Check(f"data of {name}", "note", reason, "its runs are skipped until then")
        elif not workload.prepared():
            yield Check(f"data of {name}", "ok", "fetched or made by the first run")
        else:
            yield Check(f"data of {name}", "ok", "here")


def _packages() -> Iterator[Check]:
    for package in sorted({entry.needs for entry in OPTIMIZERS.values() if entry.needs}):
        here = find_spec(package) is not None
        yield Check(f"package {package}", "ok" if here else "note", "here" if here else "missing: its optimizers are "
        "skipped",
                    "" if here else f"pip install {package}")  # fmt: skip
    if reason := kernels_missing():
        yield Check("own kernels", "note", reason, "populations on the CPU are then slower, and as right")
    else:
        yield Check("own kernels", "ok", "built")


def _populations(device: Device) -> tuple[str, str, str]:
    found = list(verify([WORKLOAD], device, ["adam"]))
    wrong = [one for one in found if not one.holds]
    worst = max(max(one.weights, one.losses, one.lrs) for one in found)
    modes = ", ".join(one.mode for one in found)
    if wrong:
        return (
            "fault",
            f"{wrong[0].mode}: differs from the reference trainer by {worst:.1e}",
            "run lrbench verify, and report it",
        )
    return "ok", f"{modes}: agree with the reference trainer to {worst:.0e} in float64", ""


def _single_precision(device: Device) -> tuple[str, str, str]:
    single, double = (
        train(run, WORKLOADS[WORKLOAD], data_for(run, where), where)
        for run, where in ((_run("fp32"), device), (_run("fp64"), torch.device("cpu")))
    )
    apart = float(abs(single.val_loss[-1] / double.val_loss[-1] - 1.0))
    if not apart <= CLOSE:
        return (
            "fault",
            f"validation losses differ by {apart:.1e} after {STEPS} steps",
            "check the driver and the device's memory",
        )
    return "ok", f"validation losses agree to {max(apart, ROUNDING):.0e} after {STEPS} steps", ""


def _run(precision: str) -> Run:
    words = vocabulary()
    matrix: dict[str, Any] = {
        "name": "doctor",
        "workload": WORKLOAD,
        "optimizer": "adam",
        "precision": precision,
        "seed": 0,
    }
    [run] = expand(parse_matrix(matrix | {"budget": {WORKLOAD: {"steps": STEPS, "eval_every": STEPS}}}, words), words)
    return run


def _energy(device: Device) -> Check:
    telemetry, name = Telemetry(device), f"{name_of(device)}: energy"
    if telemetry.energy_source is None:
        return Check(name, "note", telemetry.energy_reason, "joules are then not reported")
    a = torch.ones(512, 512, device=device)
    with telemetry.watch() as watched:
        end = time.perf_counter() + ENERGY_SECONDS
        while time.perf_counter() < end:
            a @ a
    if watched.joules is None:
        return Check(name, "note", watched.joules_reason, "joules are then not reported")
    return Check(name, "ok", f"{telemetry.energy_source} counts: {watched.joules / watched.seconds:.3g} W under load")


def _quiet(device: Device) -> Check:
    telemetry, name = Telemetry(device), f"{name_of(device)}: quiet"
    with telemetry.watch() as watched:
        time.sleep(0.5)
    if watched.noise:
        return Check(name, "note", "; ".join(watched.noise), "end other work before measuring costs")
    return Check(
        name, "ok", "nothing else runs" if watched.others is not None else "what else runs cannot be read here"
    )


def facts(devices: list[Device]) -> dict[str, Any]:
    """What ``machine.json`` would say."""
    deterministic()
    return provenance(describe(devices))


def headline(machine: dict[str, Any]) -> str:
    """A machine's facts in a line."""
    gpus = (
        f"{machine['count']} x {machine['model']}, driver {machine['driver']}, CUDA {machine['cuda']}, "
        if machine["kind"] != "cpu"
        else ""
    )
    cores = f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB"
    return (
        f"{gpus}{cores}, torch {machine['torch']}, Python {machine['python']}: results go to <matrix>/{machine['slug']}"
    )


def text(check: Check) -> str:
    """A check to read."""
    return f"{check.state:<6}{check.name}: {check.found}" + (
        f". {check.mend[:1].upper()}{check.mend[1:]}." if check.mend else ""
    )
