"""How runs are trained fastest: which together, how many at once and in which mode, from what was measured on this machine."""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrbench.config.cache import cache_folder
from lrbench.config.faults import message_of
from lrbench.config.outcome import mode_used
from lrbench.config.run import Run
from lrbench.device import Device, describe, fast_modes, memory_limit
from lrbench.execute.executor import Task
from lrbench.plan import params_of
from lrbench.store import write_whole
from lrbench.train import Population, Training, alone, data_for, dtype_of, rule_of, shared
from lrbench.workloads import WORKLOADS, make_model, place

CPU = torch.device("cpu")
WIDTHS = {"cpu": (8, 32, 128), "cuda": (8, 32, 128, 512, 2048)}
"""The widths that are tried on each kind of device; a larger one only if the last paid, and the trial does not take
``LONGEST_TRIAL`` seconds."""
NARROW = 8
"""Of faster modes, whose making takes time, the width that takes most runs of one rule is tried first, or on a CPU this
one where 32 runs' tensors would not fit ``CACHE_BYTES``; then the next narrower, if the share ``GAIN_TO_REPAY`` of what it may gain
repays the trial."""
CACHE_BYTES = 8 * 2**20
GAIN_TO_REPAY = 0.1
LONGEST_TRIAL = 3.0
MUST_PAY = 0.85
"""A wider population must cost at most this share of a narrower one: measured alone, stacking looks better than beside
other workers."""
WARM_UP, STEPS, FAST_STEPS = 2, 5, 60
SEEDS = 8
"""Trials have as many seeds, as a matrix would: what a seed's members share is looked up once."""
TRY_FROM_SECONDS = {"graph": 2.0, "compiled": 20.0}
"""Seconds of one worker that a kind of run must cost before a faster mode is tried; making it takes about a third of
that."""
SETUP_SECONDS = {"eager": 0.0, "graph": 0.05, "compiled": 4.0}
"""Seconds of one worker that a mode costs an optimizer before its first step: compiling its rule, or capturing its
step."""
TASK_SECONDS = 10.0
"""A population is cut into tasks of about this length: results come in, and workers end together."""


@dataclass(frozen=True)
class PopulationCost:
    """A population of a width, and what a step of one run costs in it, in seconds of one worker; infinite where it does not pay."""

    width: int
    seconds: float


@dataclass(frozen=True)
class StepTiming:
    """What a step of one run costs one worker, in seconds with its share of an evaluation: alone, and in populations of each mode tried.

    ``why`` is the last error, if any.
    """

    alone: float
    costs: Mapping[str, tuple[PopulationCost, ...]] = field(default_factory=dict)
    why: str = ""

    def cheapest(self, mode: str) -> PopulationCost:
        """The cheapest population of a mode; one by one, where its populations do not pay."""
        return min(
            (option for option in self.costs.get(mode, ()) if option.seconds < inf),
            key=lambda option: option.seconds,
            default=PopulationCost(1, self.alone),
        )

    @property
    def least(self) -> float:
        """The least cost of a step of one run."""
        return min(self.cheapest(mode).seconds for mode in ("eager", *self.costs))

    def has(self, mode: str, width: int) -> bool:
        """Whether a width was tried."""
        return any(option.width == width for option in self.costs.get(mode, ()))

    def tried(self, mode: str, *costs: PopulationCost, why: str = "") -> "StepTiming":
        """The same and what has been learnt of a mode."""
        return replace(self, costs={**self.costs, mode: (*self.costs.get(mode, ()), *costs)}, why=why or self.why)

    def choose(self, runs: int, steps: int) -> tuple[str, PopulationCost]:
        """The mode and population that train so many runs of one rule soonest, each so many steps.

        Its making counts, and so do the slots of a compiled population that stay empty.
        """

        def seconds(choice: tuple[str, PopulationCost]) -> float:
            mode, option = choice
            slots = -(-runs // option.width) * option.width if mode == "compiled" else runs
            return SETUP_SECONDS[mode] + slots * steps * option.seconds

        return min(
            [
                ("eager", self.cheapest("eager")),
                *((mode, option) for mode, costs in self.costs.items() for option in costs),
            ],
            key=seconds,
        )


@dataclass
class StepTimings:
    """What was measured on a device; ``remember`` keeps it in the cache folder for the next time."""

    device: Device
    workers: int = 1
    remember: bool = True

    def __post_init__(self) -> None:
        self.file = cache_folder() / f"timings-{describe([self.device]).slug}-{_code()}.json"
        try:
            self.known = {kind: _timing(**timing) for kind, timing in json.loads(self.file.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}

    def unknown(self, runs: Sequence[Run], *, fast: bool = True) -> list["Trial"]:
        """What should be measured before these runs are divided; with ``fast``, faster modes where they may repay their making."""
        trials = []
        for name, some in _by_kind(runs).items():
            most = max(Counter(map(rule_of, some)).values())
            steps = sum(run.steps for run in some) if fast else 0
            trial = Trial(some[0], steps, most, self.known.get(name), memory_limit(self.device) // self.workers)
            if len(some) >= NARROW and trial.is_due(self.device):
                trials.append(trial)
        return trials

    def note(self, measured: Iterable[tuple[Run, StepTiming]]) -> None:
        """Take in what was measured. Where it cannot be kept, that is said, and it is measured again the next time."""
        for run, timing in measured:
            self.known[kind(run)] = timing
        if not self.remember:
            return
        try:
            write_whole(
                self.file,
                json.dumps({k: asdict(timing) for k, timing in self.known.items()}, indent=2, sort_keys=True) + "\n",
            )
        except OSError as error:
            why = f"cannot be written ({error.strerror}), so what was measured will be measured again"
            print(f"{self.file.parent}: {why}; LRBENCH_CACHE may name another folder", file=sys.stderr)


def _timing(alone: float, costs: dict[str, list[dict[str, Any]]], why: str) -> StepTiming:
    return StepTiming(
        alone, {mode: tuple(PopulationCost(**option) for option in some) for mode, some in costs.items()}, why
    )


def _code() -> str:
    """What the timing of training depends on beside the machine: the code that trains."""
    package = Path(__file__).parents[1]
    files = sorted(
        file for part in ("train", "device") for file in (package / part).rglob("*") if file.suffix in (".py", ".cpp")
    )
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def kind(run: Run) -> str:
    """Runs of the same are measured once."""
    return "/".join(map(str, (run.workload.revision, *shared(run)[:4])))


def _by_kind(runs: Sequence[Run]) -> dict[str, list[Run]]:
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        if not alone(run):
            kinds.setdefault(kind(run), []).append(run)
    return kinds


def divide(runs: Sequence[Run], timings: Mapping[str, StepTiming], workers: int) -> list[Task]:
    """Divide runs into tasks, the longest first. Runs of one rule stay together, and no worker is left without a task."""
    tasks = [
        Task((run,), seconds=run.steps * timings.get(kind(run), StepTiming(0.0)).alone, why=reason)
        for run in runs
        if (reason := alone(run))
    ]
    together: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if not alone(run):
            together.setdefault(shared(run), []).append(run)
    for same in together.values():
        tasks += _divide_kind(same, timings.get(kind(same[0]), StepTiming(0.0)), workers)
    return sorted(tasks, key=lambda task: -task.seconds)


def _divide_kind(same: list[Run], timing: StepTiming, workers: int) -> list[Task]:
    tasks, rest = [], []
    steps = same[0].steps
    groups: dict[Any, list[Run]] = {}
    for run in sorted(same, key=lambda run: (run.optimizer.label, run.layer_lr.label, run.key)):
        groups.setdefault(rule_of(run), []).append(run)
    for group in groups.values():
        mode, option = timing.choose(len(group), steps)
        if mode == "eager":
            rest += group
        else:
            wanted = max(1, round(TASK_SECONDS / (steps * option.seconds * option.width))) * option.width
            tasks += _cut(group, wanted, partial(_task, mode=mode, option=option, alone=timing.alone))
    option = timing.cheapest("eager")
    if option.width > 1 and len(rest) > 1:
        option = replace(option, width=max(2, min(option.width, -(-len(rest) // workers))))
        tasks += _cut(
            rest, option.width, partial(_task, mode="eager", option=option, alone=timing.alone, why=timing.why)
        )
    else:
        why = timing.why or ("stacking does not pay" if timing.alone else f"fewer than {NARROW} runs of their kind")
        tasks += [Task((run,), seconds=steps * timing.alone, why=why) for run in rest]
    return tasks


def _task(runs: Sequence[Run], *, mode: str, option: PopulationCost, alone: float, why: str = "") -> Task:
    gain = f"{1e6 * option.seconds:.3g} us per step of a run, one by one {1e6 * alone:.3g}"
    return Task(
        tuple(runs), mode, option.width, len(runs) * runs[0].steps * option.seconds, f"{gain}; {why}" if why else gain
    )


def _cut(runs: Sequence[Run], size: int, make: Callable[[Sequence[Run]], Task]) -> list[Task]:
    return [make(runs[i : i + size]) for i in range(0, len(runs), size)]


@dataclass(frozen=True)
class Trial:
    """What to measure: a kind of run, by an example."""

    run: Run
    steps: int
    """Those of all runs of the kind that are to be trained."""
    most: int
    """The most of these runs that share a rule."""
    known: StepTiming | None
    memory: int
    """Bytes that one worker may use for a population."""

    def measure(self, device: Device) -> tuple[Run, StepTiming]:
        """Train a few steps one by one and at some widths, and, if the steps to come may repay it, in faster modes.

        Errors are part of the timing: a run whose model cannot be stacked, say, is trained one by one, where it can tell
        what is wrong.
        """
        timing = self.known or self._eager(device)
        while mode := self._untried(timing, device):
            timing = self._fast(mode, timing, device)
        return self.run, timing

    def is_due(self, device: Device) -> bool:
        """Whether there is anything to measure."""
        return self.known is None or self._untried(self.known, device) is not None

    def _untried(self, timing: StepTiming, device: Device) -> str | None:
        """The next faster mode to try: one that may repay it, and was not tried at the width that suits."""
        suits = self._faster_widths(device)[:1]
        due = (mode for mode in fast_modes(device) if self.steps * timing.least >= TRY_FROM_SECONDS[mode])
        return next((mode for mode in due if suits and not timing.has(mode, *suits)), None)

    def _eager(self, device: Device) -> StepTiming:
        workload, data = WORKLOADS[self.run.workload.name], data_for(self.run, device)
        best = StepTiming(0.0)
        try:
            best = StepTiming(cost(partial(Training, self._short(0), workload, data, device), self.run.eval_every))
            for width in self._possible(_widths(device)):
                if best.least * width * (WARM_UP + STEPS) > LONGEST_TRIAL:
                    break
                each = (
                    cost(partial(Population, self._members(width), workload, data, device), self.run.eval_every) / width
                )
                if each >= MUST_PAY * best.least:
                    break
                best = best.tried("eager", PopulationCost(width, each))
        except Exception as error:  # noqa: BLE001 - a model may fail in any option
            return replace(best, why=f"measuring populations failed: {message_of(error)}")
        return best

    def _fast(self, mode: str, timing: StepTiming, device: Device) -> StepTiming:
        """The timing with some widths of a faster mode, which pay where they beat all before; one that fails is tried no more."""
        found, widths = timing, self._faster_widths(device)
        failed = [PopulationCost(width, inf) for width in widths]
        for width in widths:
            if found.has(mode, width):
                continue
            started = time.perf_counter()
            try:
                each, came_to = self._in_mode(mode, width, device)
            except Exception as error:  # noqa: BLE001 - what cannot be made is not used
                return found.tried(mode, *failed, why=f"measuring {mode} mode failed: {message_of(error)}")
            used, note = mode_used(came_to)
            if used == "eager":
                return found.tried(mode, *failed, why=note)
            found = found.tried(mode, PopulationCost(width, each if each < MUST_PAY * timing.least else inf))
            if GAIN_TO_REPAY * self.steps * found.cheapest(mode).seconds < time.perf_counter() - started:
                break
        return found

    def _faster_widths(self, device: Device) -> list[int]:
        """The widths at which faster modes may be tried, the one that suits first."""
        widths = _widths(device)
        at = next((i for i, width in enumerate(widths) if width >= self.most), len(widths) - 1)
        too_large = device.type == "cpu" and self._footprint * widths[1] > CACHE_BYTES
        return self._possible(dict.fromkeys((NARROW if too_large else widths[at], widths[max(0, at - 1)])))

    def _in_mode(self, mode: str, width: int, device: Device) -> tuple[float, str]:
        """The cost of a step of one run in a faster mode, and the mode that it came to."""
        workload, data = WORKLOADS[self.run.workload.name], data_for(self.run, device)
        population = Population(self._members(width), workload, data, device, width=width, mode=mode)
        return cost(partial(_itself, population), self.run.eval_every, FAST_STEPS) / width, population.mode

    def _short(self, seed: int) -> Run:
        steps = WARM_UP + FAST_STEPS
        return self.run.but(steps=steps, eval_every=steps, seed=seed)

    def _members(self, width: int) -> list[Run]:
        return [self._short(i % SEEDS) for i in range(width)]

    def _possible(self, widths: Iterable[int]) -> list[int]:
        return [width for width in widths if width * (self._footprint + self._tables()) <= self.memory]

    def _tables(self) -> int:
        """Bytes of one member's lrs for the whole budget, at most: those of every parameter as they are used, and of every group."""
        return self.run.steps * len(params_of(WORKLOADS[self.run.workload.name])) * (dtype_of(self.run).itemsize + 8)

    @cached_property
    def _footprint(self) -> int:
        """Bytes that one member takes, about: parameters with gradients and two states, and what the layers put out, with gradients."""
        workload, seen = WORKLOADS[self.run.workload.name], list[int]()
        x = data_for(self.run, CPU).train.x[: self.run.batch_size]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = place(make_model(workload, lambda: x), CPU, dtype_of(self.run))
            for module in model.modules():
                if not list(module.children()):
                    module.register_forward_hook(lambda _module, _inputs, output: seen.append(_size(output)))
            with suppress(Exception):  # a model that fails says so when it is trained
                model(x)
        numbers = 4 * sum(p.numel() for p in model.parameters()) + 2 * sum(seen)
        return numbers * dtype_of(self.run).itemsize


def _widths(device: Device) -> tuple[int, ...]:
    return WIDTHS.get(device.type, WIDTHS["cpu"])


def _itself(made: Population) -> Population:
    return made


def _size(output: Any) -> int:
    return output.numel() if isinstance(output, Tensor) else 0


def cost(make: Callable[[], Training | Population], eval_every: int, steps: int = STEPS) -> float:
    """Seconds of one training step and its share of an evaluation. Leaves torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        training = make()
        training.advance(WARM_UP)
        before = training.record.seconds.reshape(-1, 3).sum(0)
        training.advance(steps)
    train, evaluation, _ = training.record.seconds.reshape(-1, 3).sum(0) - before
    return float(train / steps + evaluation / eval_every)
