"""How runs are trained fastest: which together, how many at once and in which mode, from what was measured on this machine."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrbench.device import Device, describe, fast_modes, memory_limit
from lrbench.execute.work import Unit
from lrbench.plan import params_of
from lrbench.spec.cache import cache_folder
from lrbench.spec.faults import told
from lrbench.spec.run import Run
from lrbench.store import write_whole
from lrbench.train import Population, Training, alone, data_for, dtype_of, rule_of, shared
from lrbench.workloads import WORKLOADS

WIDTHS = (8, 32, 128)
"""The widths that are tried; a larger one only if the last paid, and if the trial does not take ``LONGEST`` seconds."""
NARROW, MIDDLE, WIDE = 8, 32, 128
"""Of faster modes, whose making takes seconds, the wide one is tried first, or the narrow one where the middle one's tensors would not fit
``CACHE`` bytes; then the middle one, if the ``HOPE`` of what it may gain repays the trial."""
CACHE = 8 * 2**20
HOPE = 0.1
LONGEST = 3.0
WORTH = 0.85
"""A wider population must cost at most this share of a narrower one: measured alone, stacking looks better than beside other workers."""
BETTER = 0.95
"""The same for widths of a faster mode, which are measured beside the other workers."""
WARM_UP, STEPS, FAST_STEPS = 2, 5, 60
WORTH_MAKING = 20.0
"""Seconds of one worker that a kind of run must cost before a faster mode is tried; making it takes about as long."""
REPAYS = 4.0
"""Seconds of one worker that a faster mode must save for an optimizer, whose rule must be compiled too."""
UNIT_SECONDS = 10.0
"""A population is cut into units of about this length: results come in, and workers end together."""


@dataclass(frozen=True)
class Pace:
    """What a step of one run costs one worker, in seconds with its share of an evaluation: alone, in eager and in faster populations.

    A width of 1 says that such populations do not pay, or have not been tried (``tried``); ``why`` is the last error on the way, if any.
    """

    alone: float
    width: int = 1
    seconds: float = 0.0
    mode: str = "eager"
    fast_width: int = 1
    fast_seconds: float = 0.0
    tried: bool = False
    why: str = ""

    @property
    def slow(self) -> float:
        """The cost without a faster mode."""
        return self.seconds if self.width > 1 else self.alone


@dataclass
class Paces:
    """What was measured on a device; ``remember`` keeps it in the cache folder for the next time."""

    device: Device
    workers: int = 1
    remember: bool = True

    def __post_init__(self) -> None:
        self.file = cache_folder() / f"paces-{describe([self.device]).slug}-{_code()}.json"
        try:
            self.known = {kind: Pace(**pace) for kind, pace in json.loads(self.file.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}

    def unknown(self, runs: Sequence[Run], *, fast: bool = True) -> list["Trial"]:
        """What should be measured before these runs are divided; with ``fast``, faster modes where they may repay their making."""
        trials = []
        for name, some in _by_kind(runs).items():
            pace, total = self.known.get(name), sum(run.steps for run in some)
            if len(some) >= WIDTHS[0] and (pace is None or (fast and not pace.tried and total * pace.slow >= WORTH_MAKING)):
                trials.append(Trial(some[0], total if fast else 0, pace, memory_limit(self.device) // self.workers))
        return trials

    def note(self, measured: Iterable[tuple[Run, Pace]]) -> None:
        """Take in what was measured."""
        for run, pace in measured:
            self.known[kind(run)] = pace
        if self.remember:
            write_whole(self.file, json.dumps({k: asdict(pace) for k, pace in self.known.items()}, indent=2, sort_keys=True) + "\n")


def _code() -> str:
    """What the pace of training depends on beside the machine: the code that trains."""
    package = Path(__file__).parents[1]
    files = sorted(file for part in ("train", "device") for file in (package / part).rglob("*") if file.suffix in (".py", ".cpp"))
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


def divide(runs: Sequence[Run], paces: Mapping[str, Pace], workers: int) -> list[Unit]:
    """Divide runs into units of work, the longest first. Runs of one rule stay together, and no worker is left without a unit."""
    units = [Unit((run,), seconds=run.steps * paces.get(kind(run), Pace(0.0)).alone, why=reason) for run in runs if (reason := alone(run))]
    together: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if not alone(run):
            together.setdefault(shared(run), []).append(run)
    for same in together.values():
        units += _divide_kind(same, paces.get(kind(same[0]), Pace(0.0)), workers)
    return sorted(units, key=lambda unit: -unit.seconds)


def _divide_kind(same: list[Run], pace: Pace, workers: int) -> list[Unit]:
    units, rest = [], []
    steps = same[0].steps
    groups: dict[Any, list[Run]] = {}
    for run in sorted(same, key=lambda run: (run.optimizer.label, run.layer_lr.label, run.key)):
        groups.setdefault(rule_of(run), []).append(run)
    for group in groups.values():
        saved = len(group) * steps * (pace.slow - pace.fast_seconds)
        if pace.fast_width > 1 and saved >= REPAYS:
            wanted = max(1, round(UNIT_SECONDS / (steps * pace.fast_seconds * pace.fast_width))) * pace.fast_width
            units += _cut(group, wanted, partial(_unit, mode=pace.mode, width=pace.fast_width, step=pace.fast_seconds, alone=pace.alone))
        else:
            rest += group
    if pace.width > 1 and len(rest) > 1:
        width = max(2, min(pace.width, -(-len(rest) // workers)))
        units += _cut(rest, width, partial(_unit, mode="eager", width=width, step=pace.seconds, alone=pace.alone, why=pace.why))
    else:
        why = pace.why or ("stacking does not pay" if pace.alone else f"fewer than {WIDTHS[0]} runs of their kind")
        units += [Unit((run,), seconds=steps * pace.alone, why=why) for run in rest]
    return units


def _unit(runs: Sequence[Run], *, mode: str, width: int, step: float, alone: float, why: str = "") -> Unit:
    gain = f"{1e6 * step:.3g} us per step of a run, one by one {1e6 * alone:.3g}"
    return Unit(tuple(runs), mode, width, len(runs) * runs[0].steps * step, f"{gain}; {why}" if why else gain)


def _cut(runs: Sequence[Run], size: int, make: Callable[[Sequence[Run]], Unit]) -> list[Unit]:
    return [make(runs[i : i + size]) for i in range(0, len(runs), size)]


@dataclass(frozen=True)
class Trial:
    """What to measure: a kind of run, by an example; ``steps`` are those of all runs of the kind that are to be trained."""

    run: Run
    steps: int
    known: Pace | None
    memory: int
    """Bytes that one worker may use for a population."""

    def measure(self, device: Device) -> tuple[Run, Pace]:
        """Train a few steps one by one and at some widths, and, if the steps to come may repay it, in faster modes.

        Errors are part of the pace: a run whose model cannot be stacked, say, is trained one by one, where it can tell what is wrong.
        """
        pace = self.known or self._eager(device)
        if self.steps * pace.slow >= WORTH_MAKING:
            pace = self._fast(pace, device)
        return self.run, pace

    def _eager(self, device: Device) -> Pace:
        workload, data = WORKLOADS[self.run.workload.name], data_for(self.run, device)
        best = Pace(0.0)
        try:
            best = Pace(cost(partial(Training, self._short(0), workload, data, device), self.run.eval_every))
            for width in self._possible(WIDTHS):
                if best.slow * width * (WARM_UP + STEPS) > LONGEST:
                    break
                members = [self._short(seed) for seed in range(width)]
                each = cost(partial(Population, members, workload, data, device), self.run.eval_every) / width
                if each >= WORTH * best.slow:
                    break
                best = replace(best, width=width, seconds=each)
        except Exception as error:  # noqa: BLE001 - a model may fail in any way
            return replace(best, why=f"measuring populations failed: {told(error)}")
        return best

    def _fast(self, pace: Pace, device: Device) -> Pace:
        """The pace with the best of the faster modes, where one is better; one that fails is none."""
        best = replace(pace, tried=True)
        for mode in fast_modes(device):
            for width in self._possible((NARROW if self._footprint() * MIDDLE > CACHE else WIDE, MIDDLE)):
                started = time.perf_counter()
                try:
                    each, came_to = self._in_mode(mode, width, device)
                except Exception as error:  # noqa: BLE001 - what cannot be made is not used
                    best = replace(best, why=f"measuring {mode} mode failed: {told(error)}")
                    break
                if came_to.startswith("eager"):
                    best = replace(best, why=came_to.removeprefix("eager: "))
                    break
                if each < (BETTER * best.fast_seconds if best.fast_seconds else WORTH * best.slow):
                    best = replace(best, mode=mode, fast_width=width, fast_seconds=each)
                if HOPE * self.steps * best.fast_seconds < time.perf_counter() - started:
                    break
        return best

    def _in_mode(self, mode: str, width: int, device: Device) -> tuple[float, str]:
        """The cost of a step of one run in a faster mode, and the mode that it came to."""
        workload, data = WORKLOADS[self.run.workload.name], data_for(self.run, device)
        population = Population([self._short(seed) for seed in range(width)], workload, data, device, width=width, mode=mode)
        return cost(partial(_itself, population), self.run.eval_every, FAST_STEPS) / width, population.mode

    def _short(self, seed: int) -> Run:
        steps = WARM_UP + FAST_STEPS
        return self.run.but(steps=steps, eval_every=steps, seed=seed)

    def _possible(self, widths: Sequence[int]) -> list[int]:
        return [width for width in widths if width * (self._footprint() + self._tables()) <= self.memory]

    def _tables(self) -> int:
        """Bytes of one member's lrs for the whole budget, at most: those of every parameter as they are used, and of every group."""
        return self.run.steps * len(params_of(WORKLOADS[self.run.workload.name])) * (dtype_of(self.run).itemsize + 8)

    def _footprint(self) -> int:
        """Bytes that one member takes, about: parameters with gradients and two states, and what the layers put out, with gradients."""
        workload = WORKLOADS[self.run.workload.name]
        seen: list[int] = []
        with torch.device("meta"):
            model = workload.model()
        for module in model.modules():
            if not list(module.children()):
                module.register_forward_hook(lambda _module, _inputs, output: seen.append(_size(output)))
        try:
            x = workload.data().train.x[:1]
            model(torch.empty(self.run.batch_size, *x.shape[1:], dtype=x.dtype if not x.is_floating_point() else None, device="meta"))
        except (RuntimeError, NotImplementedError, TypeError):  # a model that cannot be run without values
            seen = [0]
        numbers = 4 * sum(p.numel() for p in model.parameters()) + 2 * sum(seen)
        return numbers * dtype_of(self.run).itemsize


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
