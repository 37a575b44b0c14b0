"""The cost of steps, alone on a device: visits in turn, repeated where they disagree, and what stayed doubtful said.

Each turn is taken in a process of its own: where a process happens to have its tensors can make a step several per cent
slower or faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lrbench.config.cost import PARTS, Case, Peak, StepCost
from lrbench.config.faults import message_of
from lrbench.cost.cases import Wanted, groups_for
from lrbench.cost.step import CannotMeasure, Step
from lrbench.device import OTHERS_CORES, Device, Load, Marks, Telemetry, extra_memory, name_of
from lrbench.strategies import OPTIMIZERS

WARM_UP = 5
"""Steps before anything is timed: the optimizer makes its state, libraries choose their kernels, a compiled model is
compiled."""
WINDOWS = 5
WINDOW_SECONDS = 0.008
LONG = 3.0
"""How many times longer a window may be to be as long as an evaluation interval."""
FEWEST = 3
"""The least steps of a window."""
VISITS = 2
"""How often every case is visited, in turn, so that a slow spell of the machine does not fall on one case alone."""
REPEATS = 2
"""How often an unsettled case is visited again."""
AGREE = 0.05
"""Two visits agree when their medians differ by less. Disturbances only ever add time, so the two fastest quiet visits
count."""


@dataclass
class Visit:
    """What one visit to a case saw: seconds per step of each window, and the rest once."""

    seconds: list[float]
    window_steps: int
    shares: dict[str, float]
    shares_reason: str
    joules: float | None
    joules_reason: str
    noise: tuple[str, ...]

    @property
    def median(self) -> float:
        """Seconds per step."""
        return float(np.median(self.seconds))


@dataclass
class Turn:
    """One visit to each of some cases, or the reason why it cannot be measured; by kind, the FLOPs and bytes that no schedule changes."""

    visits: list[Visit | str]
    still: dict[Any, tuple[int, int | None]]


Take = Callable[[Sequence[Case], bool], Turn]
"""How a turn is taken: see ``Bench.turn``."""


def measure(
    wanted: Sequence[Wanted], device: Device, peaks: dict[str, Peak], take: Take, tell: Callable[[str], None]
) -> list[StepCost]:
    """Visit every case ``VISITS`` times in turn, and again those that their visits do not settle. ``peaks`` are by precision."""
    seen: list[list[Visit]] = [[] for _ in wanted]
    failed: dict[int, str] = {}
    still: dict[Any, tuple[int, int | None]] = {}
    for n in range(VISITS + REPEATS):
        left = [i for i, visits in enumerate(seen) if i not in failed and (n < VISITS or not settled(visits))]
        if left:
            tell(f"{name_of(device)}: visit {n + 1} to {len(left)} of {len(wanted)} steps")
            turn = take([wanted[i].case for i in left], n == 0)
            still = turn.still | still
            for i, visit in zip(left, turn.visits, strict=True):
                if isinstance(visit, str):
                    failed[i] = visit
                else:
                    seen[i].append(visit)
    return [
        unmeasured(one, device, failed[i])
        if i in failed
        else _conclude(one, device, visits, still[_still(one.case)], peaks)
        for i, (one, visits) in enumerate(zip(wanted, seen, strict=True))
    ]


@dataclass
class Bench:
    """A device on which steps are measured, one after the other."""

    device: Device
    telemetry: Telemetry
    since: Load | None = None
    fresh: list[Visit] = field(default_factory=list)
    """The visits since the machine's load was last read."""
    still: dict[Any, tuple[int, int | None]] = field(default_factory=dict)

    def turn(self, cases: Sequence[Case], first: bool) -> Turn:
        """Visit each case once; shares, energy, which asks for a long visit, FLOPs and memory are looked at in the ``first`` turn only."""
        self.since = self.telemetry.load()
        return Turn([self._try(case, first) for case in cases], self.still)

    def _try(self, case: Case, first: bool) -> Visit | str:
        try:
            return self._beside_others(self._visit(case, first))
        except CannotMeasure as reason:
            return str(reason)
        except Exception as error:  # noqa: BLE001 - a case that fails is a value; the others go on
            return message_of(error, 300)

    def _beside_others(self, visit: Visit) -> Visit:
        """Now and then, look at what other processes used meanwhile; it is held against every visit since the last look."""
        self.fresh.append(visit)
        others = self.telemetry.busy_with_others(self.since)
        if others is not None:
            for one in self.fresh if others >= OTHERS_CORES else ():
                one.noise += (f"other processes used {others:.1f} cores",)
            self.since, self.fresh = self.telemetry.load(), []
        return visit

    def _visit(self, case: Case, first: bool) -> Visit:
        step = Step(case, self.device)
        step.advance(WARM_UP)
        each = _timed(step, FEWEST)
        steps, interval = max(FEWEST, round(WINDOW_SECONDS / each)), case.run.eval_every
        if interval * each <= LONG * WINDOW_SECONDS:
            steps = interval * max(1, round(steps / interval))
        shortest = self.telemetry.shortest if first else 0.0
        seconds: list[float] = []
        with self.telemetry.watch() as watched:
            while len(seconds) < WINDOWS or steps * sum(seconds) < shortest:
                seconds.append(_timed(step, steps))
        shares, reason = self._shares(step, steps) if first else ({}, "")
        if first and (kind := _still(case)) not in self.still:
            extra = extra_memory(lambda: step.advance(1), self.device)
            self.still[kind] = (step.flops(), None if extra is None else step.resident_bytes() + extra)
        joules = None if watched.joules is None else watched.joules / (steps * len(seconds))
        return Visit(seconds, steps, shares, reason, joules, watched.joules_reason, watched.noise)

    def _shares(self, step: Step, steps: int) -> tuple[dict[str, float], str]:
        try:
            taken = step.parts(max(steps, 10), Marks(self.device))
        except CannotMeasure as reason:
            return {}, str(reason)
        whole = float(np.median([one["whole"] for one in taken]))
        return {part: float(np.median([one[part] for one in taken])) / whole for part in PARTS}, ""


def unmeasured(wanted: Wanted, device: Device, reason: str) -> StepCost:
    """The record of a case that could not be measured."""
    return StepCost(**_what(wanted, device), reason=reason)


def _what(wanted: Wanted, device: Device) -> dict[str, Any]:
    case, run = wanted.case, wanted.case.run
    return {
        "device": name_of(device),
        **{axis: getattr(run, axis).label for axis in ("workload", "optimizer", "layer_lr", "schedule")},
        **{name: getattr(run, name) for name in ("batch_size", "accumulate", "precision")},
        **{name: getattr(case, name) for name in ("implementation", "grouping", "compiled")},
        "from_step": case.stage,
        "groups": sum(group.joins <= case.stage for group in groups_for(case)),
        "strategies": wanted.strategies,
    }


def _conclude(
    wanted: Wanted, device: Device, visits: list[Visit], still: tuple[int, int | None], peaks: dict[str, Peak]
) -> StepCost:
    run, (flops, peak_bytes), peak = wanted.case.run, still, peaks.get(wanted.case.run.precision)
    kept = settled(visits) or visits
    windows = np.concatenate([visit.seconds for visit in kept])
    fastest, first = min(kept, key=lambda visit: visit.median), visits[0]
    low, seconds, high = (float(v) for v in np.quantile(windows, [0.25, 0.5, 0.75]))
    return StepCost(
        **_what(wanted, device),
        seconds=seconds,
        seconds_low=low,
        seconds_high=high,
        windows=len(windows),
        window_steps=fastest.window_steps,
        samples_per_second=run.batch_size * run.accumulate / seconds,
        forward_share=first.shares.get("forward"),
        backward_share=first.shares.get("backward"),
        optimizer_share=first.shares.get("optimizer"),
        scheduler_share=first.shares.get("scheduler"),
        shares_reason=first.shares_reason,
        peak_bytes=peak_bytes,
        peak_reason="" if peak_bytes is not None else "nothing counts the memory of this device",
        flops=flops,
        flops_per_second=flops / seconds,
        peak_share=flops / seconds / peak.flops_per_second if peak else None,
        joules=first.joules,
        joules_reason=first.joules_reason,
        noise=() if settled(visits) else doubts(visits),
        varies="closure" in OPTIMIZERS[run.optimizer.name].flags,
    )


def _timed(step: Step, steps: int) -> float:
    """Seconds per step of a window of training, the device waited for at its edges only.

    If it is as long as the run's evaluation interval, it is that of training: evaluations empty caches, and are not
    counted.
    """
    before, interval = step.record.seconds[0, 0], step.case.run.eval_every
    for done in range(0, steps, interval):
        if interval <= steps:
            step.validate()
        step.advance(min(interval, steps - done))
    return float(step.record.seconds[0, 0] - before) / steps


def _still(case: Case) -> Any:
    run = case.run
    shape = tuple(group.params for group in groups_for(case) if group.joins <= case.stage)
    return (
        run.workload.label,
        run.optimizer.label,
        shape,
        run.batch_size,
        run.accumulate,
        run.precision,
        case.implementation,
        case.compiled,
    )


def settled(visits: Sequence[Visit]) -> list[Visit]:
    """The two fastest quiet visits if they agree, else nothing."""
    quiet = sorted((visit for visit in visits if not visit.noise), key=lambda visit: visit.median)[:2]
    return quiet if len(quiet) == 2 and quiet[1].median < (1.0 + AGREE) * quiet[0].median else []


def doubts(visits: Sequence[Visit]) -> tuple[str, ...]:
    """Why some visits do not settle what they measured."""
    told = dict.fromkeys(reason for visit in visits for reason in visit.noise)
    medians = [visit.median for visit in visits]
    apart = f"{len(visits)} visits differ by up to {100 * (max(medians) / min(medians) - 1):.0f} %"
    return (*told, apart)
