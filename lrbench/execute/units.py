"""Which runs are trained together: populations of a measured width, and single runs with the reason."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from lrbench.device import Device, describe
from lrbench.execute.work import Unit, data_for
from lrbench.spec.run import Run
from lrbench.store import write_whole
from lrbench.train import Population, Training, alone, shared
from lrbench.workloads import WORKLOADS, cache_folder

WIDTHS = (8, 32, 128)
"""The widths that are tried; a larger one only if the last paid, and if the trial does not take ``LONGEST`` seconds."""
LONGEST = 3.0
WORTH = 0.85
"""A wider population must cost at most this share of a narrower one: measured alone, stacking looks better than beside other workers."""
WARM_UP, STEPS = 2, 5


@dataclass(frozen=True)
class Pace:
    """The fastest population width for a kind of run, and the seconds of a worker that a step of one member costs at it.

    A width of 1 means that stacking does not pay: such runs are trained by the reference trainer.
    """

    width: int
    seconds: float


@dataclass
class Paces:
    """What was measured on a device; ``remember`` keeps it in the cache folder for the next time."""

    device: Device
    remember: bool = True

    def __post_init__(self) -> None:
        self.file = cache_folder() / f"paces-{describe([self.device]).slug}.json"
        try:
            self.known = {kind: Pace(**pace) for kind, pace in json.loads(self.file.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}

    def of(self, run: Run) -> Pace:
        """The pace of runs like this one, measured now if it was not before."""
        kind = "/".join(map(str, (run.workload.revision, *shared(run)[:4])))
        if kind not in self.known:
            self.known[kind] = measured(run, self.device)
            if self.remember:
                write_whole(self.file, json.dumps({k: asdict(pace) for k, pace in self.known.items()}, indent=2, sort_keys=True) + "\n")
        return self.known[kind]


def divide(runs: Sequence[Run], paces: Paces, workers: int) -> list[Unit]:
    """Divide runs into units, the widest first. Runs of one optimizer stay together, and no worker is left without a unit."""
    units: list[Unit] = [[run] for run in runs if alone(run)]
    together: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if not alone(run):
            together.setdefault(shared(run), []).append(run)
    for same in together.values():
        same.sort(key=lambda run: (run.optimizer.label, run.layer_lr.label, run.key))
        width = min(paces.of(same[0]).width, -(-len(same) // workers)) if len(same) >= WIDTHS[0] else 1
        units += [same[i : i + width] for i in range(0, len(same), width)]
    return sorted(units, key=lambda unit: -len(unit))


def measured(run: Run, device: Device) -> Pace:
    """Train a few steps one by one, and at each width; a step's cost includes its share of an evaluation."""
    workload = WORKLOADS[run.workload.name]
    data = data_for(run, device)
    short = run.but(steps=WARM_UP + STEPS, eval_every=WARM_UP + STEPS)
    best = Pace(1, 0.0)
    try:
        best = Pace(1, cost(partial(Training, short, workload, data, device), run.eval_every))
        for width in WIDTHS:
            if best.seconds * width * (WARM_UP + STEPS) > LONGEST:
                break
            members = [short.but(seed=seed) for seed in range(width)]
            each = cost(partial(Population, members, workload, data, device), run.eval_every) / width
            if each >= WORTH * best.seconds:
                break
            best = Pace(width, each)
    except Exception:  # noqa: BLE001 - a model that cannot be stacked is trained one by one, where it can say what is wrong
        return best
    return best


def cost(make: Callable[[], Training | Population], eval_every: int) -> float:
    """Seconds of one training step and its share of an evaluation. Leaves torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        training = make()
        training.advance(WARM_UP)
        before = dict(training.clocks.seconds)
        training.advance(STEPS)
    seconds = {part: after - before[part] for part, after in training.clocks.seconds.items()}
    return seconds["train"] / STEPS + seconds["eval"] / eval_every
