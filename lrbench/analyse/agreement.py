"""Whether runs that were trained again are those on record: measure by measure, then over the seeds of a cell.

Two trainings of one run share initialisation and batches, so their losses can only differ by rounding, which grows from
nothing. A digest of every training loss and the losses of some steps are on record, so three things can be told apart:
the same bits all the way (then everything else must be the same too), losses that stay within float32's reach (then
what is evaluated must stay near), and losses that *part* between two of the kept steps, as rounding makes them do in a
long or unstable training. Only what comes after a parting is left to statistics over seeds.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbench.analyse.machines import EQUIVALENT_STEPS
from lrbench.stats.comparison import DIFFERENT, EQUIVALENT, UNDECIDED, Comparison, compare, corrected
from lrbench.stats.curves import final, initial, steps_to_target

BITWISE, TOLERANCE, CONSISTENT = "bitwise equal", "within tolerance", "statistically consistent"
NOT_RUN = "not re-run"
PARTED = "parted"
"""Not a verdict yet: after the training losses parted, to be judged over seeds."""
VERDICTS = (BITWISE, TOLERANCE, CONSISTENT, UNDECIDED, DIFFERENT)
"""From best to worst; a run has the worst of its measures."""
MEASURES = (
    "status", "diverged_at", "lrs", "step_loss", "val_loss", "val_metric", "train_loss", "test_loss", "test_metric", "steps_to_target",
)  # fmt: skip

TRAJECTORY = 1e-3
"""Relative difference of a kept step's training loss, beyond which two trainings have parted: what float32
populations are held to elsewhere. One rounding is 6e-8; a few hundred steps that sum in another order make it some
thousand times larger in a training that is stable."""
EVALUATED = 5e-3
"""The same for a loss that is evaluated, while the training losses stay together: other examples may be more sensitive
than a batch."""
EXAMPLES = 0.01
"""The share of the evaluated examples, one at least, whose class may change meanwhile: those that lie on the border."""
EXACT = 1e-5
"""What an evaluated value may differ by where every training loss is the same to the bit: another order of
summation."""
SCHEDULED = 1e-9
"""What an lr may differ by: it is computed in float64 from the settings alone."""
FLOOR = 1e-6
"""Losses below this share of the first one count as that: differences of numbers that are zero but for rounding say
nothing."""
EQUIVALENT_SHARE = 0.05
"""Over seeds, two trainings are equivalent if a measure differs by at most this share of what the training improves it
by."""
FAST = 0.5
"""A record that reaches the target in at most this share of the steps of its re-run, and more than an evaluation
earlier, is suspicious."""
FAR = 0.1
"""A record that ends better than any re-run of its cell by more than this share of the way from the untrained model to
the target (of losses, of how far training brings the one of validation down), and by two standard deviations of the
other seeds, is suspicious. That is no test: how often an honest record is so depends on how the results of the seeds
are distributed."""
ENOUGH = 3
"""So many other seeds on record are needed to say how far one is from the rest."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """How one measure of one run compares; ``apart`` is the largest relative difference (of a share of examples, the absolute one)."""

    verdict: str
    apart: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """A run on record and the same run trained again, both with the columns of the store.

    ``cell`` names all that decides the run but its seed. ``alike`` says that both were computed in the same way on the
    same machine with the same software, so that they must be equal to the bit; ``closed_loop`` that the lrs depend on
    the losses. ``examples`` are those of validation and test where the metric is a share of them, else 0. ``others``
    are the runs on record of the cell's other seeds. ``goes_on`` says that the re-run has the record's losses to the
    bit, and then more of them.
    """

    cell: str
    recorded: Mapping[str, Any]
    found: Mapping[str, Any]
    higher_is_better: bool
    alike: bool = False
    closed_loop: bool = False
    examples: tuple[int, int] = (0, 0)
    others: tuple[Mapping[str, Any], ...] = ()
    goes_on: bool = False

    @property
    def key(self) -> str:
        """The run's key."""
        return str(self.recorded["key"])


@dataclass(frozen=True)
class CellTest:
    """A measure of a cell judged over the seeds that were trained again: mean difference (re-run - record), margin and p-values.

    ``p_equivalent`` is of the equivalence test, ``p_different`` of the paired t-test. Each is Holm-corrected over the
    cells of its measure, not over measures. ``seeds`` are those where both trainings have a number.
    """

    cell: str
    measure: str
    seeds: int
    difference: float
    margin: float
    p_equivalent: float
    p_different: float
    verdict: str


@dataclass(frozen=True)
class Parting:
    """Where the training losses of two runs part: they are together at step ``after`` (0 = nowhere), and no more at step ``by``."""

    after: int
    by: int

    def __str__(self) -> str:
        between = f"at step {self.by}" if self.by == self.after + 1 else f"between steps {self.after} and {self.by}"
        return f"the training losses part {between}"


def parting(one: Mapping[str, Any], two: Mapping[str, Any]) -> Parting | None:
    """Where the training losses of two runs part, as far as what is kept of them tells; None where they are together to the end."""
    steps, a, b = _kept_by_both(one, two)
    together = [0, *steps.tolist()]
    ends = [one["steps"], two["steps"]]
    wrong = np.flatnonzero(relative(a, b) > TRAJECTORY)
    if len(wrong):
        return Parting(together[wrong[0]], together[wrong[0] + 1])
    if ends[0] != ends[1]:
        return Parting(together[-1], min(ends) + 1)
    scale = abs(float(one["loss_at_step"][0])) if len(one["loss_at_step"]) else 0.0
    last_but_two = together[-3:][
        0
    ]  # the last two steps agree, and so may their losses by chance where the late ones on average do not
    late = relative([_number(one["late_loss"])], [_number(two["late_loss"])], scale)
    return Parting(last_but_two, ends[0]) if late[0] > TRAJECTORY else None


def compare_runs(pair: Pair) -> dict[str, Measured]:
    """The measures of one run; ``PARTED`` for those that only statistics can judge."""
    one, two = pair.recorded, pair.found
    parted, same = parting(one, two), one["steps"] == two["steps"] and one["loss_digest"] == two["loss_digest"]
    found = {
        "step_loss": _trajectory(pair, parted, same=same),
        "lrs": _lrs(one, two, loose=parted is not None and pair.closed_loop, ended=parted is not None),
        "val_loss": _curve(one, two, "val_loss", parted, same=same, examples=0),
        "val_metric": _curve(one, two, "val_metric", parted, same=same, examples=pair.examples[0]),
        "train_loss": _value(one, two, "train_loss", parted, same=same, examples=0),
        "test_loss": _value(one, two, "test_loss", parted, same=same, examples=0),
        "test_metric": _value(one, two, "test_metric", parted, same=same, examples=pair.examples[1]),
        "status": _status(pair, parted, same=same),
        "diverged_at": _exactly(_number(one["diverged_at"]), _number(two["diverged_at"]), same=same),
        "steps_to_target": _crossing(
            reaches(one, pair.higher_is_better), reaches(two, pair.higher_is_better), parted, same=same
        ),
    }
    if pair.alike:
        found = {name: _held(measured, parted) for name, measured in found.items()}
    return {name: found[name] for name in MEASURES}


def _held(measured: Measured, parted: Parting | None) -> Measured:
    """What statistics would be asked about is different where both were computed alike."""
    if measured.verdict != PARTED:
        return measured
    return replace(measured, verdict=DIFFERENT, why=f"computed alike, yet {parted}" if parted else measured.why)


def _kept_by_both(one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The steps that both runs keep the loss of, and their losses."""
    steps, i, j = np.intersect1d(one["loss_step"], two["loss_step"], return_indices=True)
    return steps, np.asarray(one["loss_at_step"], np.float32)[i], np.asarray(two["loss_at_step"], np.float32)[j]


def same_bits(one: ArrayLike, two: ArrayLike, kind: str = "f4") -> bool:
    """Whether two arrays of floats are equal to the bit; what is not a number equals itself."""
    a, b = np.asarray(one, kind), np.asarray(two, kind)
    if a.shape != b.shape:
        return False
    bits = kind.replace("f", "u")
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())


def relative(one: ArrayLike, two: ArrayLike, scale: float | None = None) -> Floats:
    """Elementwise differences relative to the larger of the two, none smaller than ``FLOOR`` times the scale (the first value).

    Infinite where one is a finite number and the other is not.
    """
    a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
    if not a.size:
        return np.zeros(0)
    first = abs(float(a.flat[0])) if scale is None else scale
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.maximum(np.maximum(np.abs(a), np.abs(b)), max(FLOOR * first if math.isfinite(first) else 0.0, 1e-300))
        apart = np.abs(a - b) / size
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isfinite(apart), apart, np.inf))


def _trajectory(pair: Pair, parted: Parting | None, *, same: bool) -> Measured:
    if same:
        return Measured(BITWISE)
    _, one, two = _kept_by_both(pair.recorded, pair.found)
    apart = float(relative(one, two).max(initial=0.0))
    if parted is None:
        return Measured(TOLERANCE, apart)
    if parted.by == 1:
        return Measured(
            DIFFERENT, apart, "the loss of the first step, before any update, is another: other data, weights or loss"
        )
    if pair.goes_on:
        return Measured(
            DIFFERENT,
            apart,
            f"the same to the bit for {pair.recorded['steps']} steps, where the record ends and training does not",
        )
    return Measured(PARTED, apart, str(parted))


def _lrs(one: Mapping[str, Any], two: Mapping[str, Any], *, loose: bool, ended: bool) -> Measured:
    a, b = (_table(values["group_lr"]) for values in (one, two))
    if list(one["groups"]) != list(two["groups"]):
        return Measured(DIFFERENT, math.inf, "other parameter groups")
    if same_bits(a, b, "f8"):
        return Measured(BITWISE)
    n = min(len(a), len(b))
    apart = float(relative(a[:n], b[:n], 0.0).max(initial=0.0))
    if apart <= SCHEDULED and (len(a) == len(b) or ended):
        return Measured(TOLERANCE, apart)
    return Measured(
        PARTED if loose else DIFFERENT,
        apart if len(a) == len(b) else math.inf,
        "" if loose else "other lrs were recorded",
    )


def _table(rows: Any) -> Floats:
    return np.array([list(row) for row in rows], np.float64) if len(rows) else np.zeros((0, 0))


def _limit(apart: Floats, examples: int, *, same: bool) -> tuple[Floats, float]:
    """What values may differ by while the training losses are together, and the differences measured likewise."""
    if same or not examples:
        return apart, EXACT if same else EVALUATED
    return apart, max(1.0, EXAMPLES * examples) / examples * (1 + 1e-6)


def _apart(a: ArrayLike, b: ArrayLike, examples: int) -> Floats:
    if not examples:
        return relative(a, b)
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return np.where(np.isfinite(apart), apart, np.where(np.isnan(a) & np.isnan(b), 0.0, np.inf))


def _curve(
    one: Mapping[str, Any], two: Mapping[str, Any], name: str, parted: Parting | None, *, same: bool, examples: int
) -> Measured:
    if same_bits(one[name], two[name]) and np.array_equal(one["eval_step"], two["eval_step"]):
        return Measured(BITWISE)
    n = min(len(one[name]), len(two[name]))
    at = np.asarray(one["eval_step"])[:n]
    apart, limit = _limit(_apart(one[name][:n], two[name][:n], examples), examples, same=same)
    worst = float(apart.max(initial=0.0))
    if not np.array_equal(at, np.asarray(two["eval_step"])[:n]):
        return Measured(DIFFERENT, math.inf, "evaluated at other steps")
    if parted is None and len(one[name]) != len(two[name]):
        return Measured(DIFFERENT, math.inf, "the training losses agree, and the number of evaluations does not")
    together = np.ones(n, bool) if parted is None else at < parted.after
    wrong = np.flatnonzero((apart > limit) & together)
    if len(wrong):
        return Measured(DIFFERENT, worst, f"the training losses agree at step {at[wrong[0]]}, and this does not")
    return (
        Measured(PARTED, worst)
        if (apart > limit).any() or len(one[name]) != len(two[name])
        else Measured(TOLERANCE, worst)
    )


def _value(
    one: Mapping[str, Any], two: Mapping[str, Any], name: str, parted: Parting | None, *, same: bool, examples: int
) -> Measured:
    a, b = ([_number(values[name])] for values in (one, two))
    if same_bits(a, b, "f8"):
        return Measured(BITWISE)
    apart, limit = _limit(_apart(a, b, examples), examples, same=same)
    worst = float(apart[0])
    if worst <= limit:
        return Measured(TOLERANCE, worst)
    return (
        Measured(DIFFERENT, worst, "the training losses agree to the end, and this does not")
        if parted is None
        else Measured(PARTED, worst)
    )


def _exactly(one: Any, two: Any, *, same: bool) -> Measured:
    """A value that is the same or not. Where it is not, a training that differs by rounding may have crossed a border."""
    if one == two or (one != one and two != two):  # noqa: PLR0124 - so NaN is told from all else
        return Measured(BITWISE)
    told = f"{_told(one)} on record, {_told(two)} here"
    return (
        Measured(DIFFERENT, math.inf, f"every training loss is the same, and this is not: {told}")
        if same
        else Measured(PARTED, math.inf, told)
    )


def _crossing(one: Any, two: Any, parted: Parting | None, *, same: bool) -> Measured:
    """The same for what follows from where the metric crosses the target, which examples on the border may move."""
    found = _exactly(one, two, same=same)
    return replace(found, verdict=TOLERANCE) if found.verdict == PARTED and parted is None else found


def _status(pair: Pair, parted: Parting | None, *, same: bool) -> Measured:
    recorded = pair.recorded["status"]
    if recorded in ("reached", "missed") and (recorded == "reached") != math.isfinite(
        reaches(pair.recorded, pair.higher_is_better)
    ):
        return Measured(DIFFERENT, math.inf, f"{recorded} on record, and its own recorded curve says otherwise")
    return _crossing(recorded, pair.found["status"], parted, same=same)


def _told(value: Any) -> str:
    return "none" if value != value else f"{value:g}" if isinstance(value, float) else str(value)  # noqa: PLR0124 - as above


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def reaches(run: Mapping[str, Any], higher_is_better: bool) -> float:
    """Steps to the target, NaN if never, from the curve of a run."""
    metric, step = np.asarray(run["val_metric"]), np.asarray(run["eval_step"])
    return _number(steps_to_target(metric[1:], step[1:], float(run["target"]), higher_is_better=higher_is_better))


# ---- over the seeds of a cell


def scalar(run: Mapping[str, Any], measure: str, higher_is_better: bool) -> float:
    """A measure of a run as one number for a test over seeds; NaN where it has none.

    It is a curve's end, of training losses the mean of their last tenth, of steps their logarithm.
    """
    if measure == "steps_to_target":
        return math.log(steps) if (steps := reaches(run, higher_is_better)) > 0 else math.nan
    if run["status"] not in ("reached", "missed"):
        return math.nan
    if measure == "step_loss":
        return _number(run["late_loss"])
    return final(np.asarray(run[measure])) if measure in ("val_loss", "val_metric") else _number(run[measure])


TESTED = ("step_loss", "val_loss", "val_metric", "train_loss", "test_loss", "test_metric", "steps_to_target")
FOLLOWS = {"status": "val_metric", "lrs": "step_loss"}
"""Measures that are no numbers to be tested, and the one whose verdict they share; a status never that it is
consistent: values that are equivalent may still lie on both sides of the target."""


def judge(
    pairs: Sequence[Pair], compared: Mapping[str, Mapping[str, Measured]]
) -> tuple[dict[str, dict[str, Measured]], list[CellTest]]:
    """Replace every ``PARTED`` by a verdict over the seeds of its cell.

    *statistically consistent*: the paired equivalence test within a margin of ``EQUIVALENT_SHARE`` times the improvement (steps:
    ``EQUIVALENT_STEPS``) is below 5 %. *different*: not so, and the paired t-test is below 5 %. *undecided*: neither; train more
    seeds of the cell again. So is a run of a consistent cell that the test left out, for only one of its two trainings
    has a number (reached on one side only, diverged on one side), and a status that is another here. Both p-values are
    Holm-corrected over the cells of a measure, for each measure by itself and not over measures.
    """
    tests = [test for measure in TESTED for test in _tests(pairs, compared, measure)]
    verdicts = {(test.cell, test.measure): test for test in tests}
    judged = {}
    for pair in pairs:
        judged[pair.key] = {name: _judged(pair, name, m, verdicts) for name, m in compared[pair.key].items()}
    return judged, tests


def _judged(pair: Pair, name: str, measured: Measured, verdicts: Mapping[tuple[str, str], CellTest]) -> Measured:
    """The verdict of one measure of one run. What its cell's test left out, or a status that changed, is never consistent by that test."""
    if measured.verdict != PARTED:
        return measured
    tested = FOLLOWS.get(name, name)
    test = verdicts.get((pair.cell, tested))
    both_ended = all(run["status"] in ("reached", "missed") for run in (pair.recorded, pair.found))
    if test is None or not (both_ended or name in TESTED):
        return replace(measured, verdict=UNDECIDED, why=measured.why or "one of the two diverged")
    if test.verdict == CONSISTENT and not _compared(pair, tested):
        return replace(
            measured, verdict=UNDECIDED, why=_and(measured.why, "no number on one side, so not in the test over seeds")
        )
    if test.verdict == CONSISTENT and name == "status":
        return replace(measured, verdict=UNDECIDED, why=_and(measured.why, "a test of values does not judge it"))
    return replace(measured, verdict=test.verdict, why=measured.why or f"seeds of its cell compared: {test.seeds}")


def _compared(pair: Pair, measure: str) -> bool:
    """Whether both trainings have a number, so that the pair is part of its cell's test."""
    return all(math.isfinite(scalar(run, measure, pair.higher_is_better)) for run in (pair.recorded, pair.found))


def _and(*told: str) -> str:
    return "; ".join(part for part in told if part)


def _tests(pairs: Sequence[Pair], compared: Mapping[str, Mapping[str, Measured]], measure: str) -> Iterator[CellTest]:
    asked = [measure, *(name for name, other in FOLLOWS.items() if other == measure)]
    cells = sorted({pair.cell for pair in pairs if any(compared[pair.key][name].verdict == PARTED for name in asked)})
    of_cell = [
        sorted((pair for pair in pairs if pair.cell == cell), key=lambda pair: (pair.recorded["seed"], pair.key))
        for cell in cells
    ]
    margins = [
        math.log1p(EQUIVALENT_STEPS) if measure == "steps_to_target" else EQUIVALENT_SHARE * _improvement(part, measure)
        for part in of_cell
    ]
    family = corrected([_over_seeds(part, measure, margin) for part, margin in zip(of_cell, margins, strict=True)])
    for cell, margin, test in zip(cells, margins, family, strict=True):
        verdict = CONSISTENT if test.verdict == EQUIVALENT else test.verdict
        yield CellTest(cell, measure, test.n, test.effect.value, margin, test.p_equivalent, test.p, verdict)


def _over_seeds(pairs: Sequence[Pair], measure: str, margin: float) -> Comparison:
    recorded = [scalar(pair.recorded, measure, pair.higher_is_better) for pair in pairs]
    again = [scalar(pair.found, measure, pair.higher_is_better) for pair in pairs]
    return compare(recorded, again, margin=margin, equivalence_margin=margin)


def _improvement(pairs: Sequence[Pair], measure: str) -> float:
    """How far training moves a measure, on average over the runs on record: of the metric that of validation, of losses the loss."""
    curve = "val_metric" if measure.endswith("metric") else "val_loss"
    runs = [run for p in pairs for run in (p.recorded, *p.others)]
    moved = [abs(final(np.asarray(run[curve])) - initial(np.asarray(run[curve]))) for run in runs if len(run[curve])]
    known = [m for m in moved if math.isfinite(m)]
    return float(np.mean(known)) if known else 0.0


# ---- what is too good

ENDS = ("val_metric", "test_metric", "val_loss", "train_loss", "test_loss")
"""What a record may be too good in."""


def suspicious(pairs: Sequence[Pair]) -> dict[str, str]:
    """The runs whose record is much better than what training them again gives, by key, and how."""
    found = {}
    for pair in sorted(pairs, key=lambda pair: pair.key):
        cell = [p for p in pairs if p.cell == pair.cell]
        if reasons := _and(_too_fast(pair), *(_too_good(pair, cell, measure) for measure in ENDS)):
            found[pair.key] = reasons
    return found


def _too_fast(pair: Pair) -> str:
    recorded, again = (reaches(run, pair.higher_is_better) for run in (pair.recorded, pair.found))
    limit = again if math.isfinite(again) else float(pair.recorded["budget"])
    if not (recorded <= FAST * limit and limit - recorded > np.diff(pair.recorded["eval_step"]).max(initial=0)):
        return ""
    return f"reaches the target at step {recorded:.0f} on record, {f'at step {again:.0f}' if math.isfinite(again) else 'never'} here"


def _too_good(pair: Pair, cell: Sequence[Pair], measure: str) -> str:
    sign = 1.0 if measure.endswith("metric") and pair.higher_is_better else -1.0
    start, target = initial(np.asarray(pair.found["val_metric"])), float(pair.recorded["target"])
    way = abs(target - start) if measure.endswith("metric") else _descent(cell)
    recorded = sign * scalar(pair.recorded, measure, pair.higher_is_better)
    again = [v for p in cell if math.isfinite(v := sign * scalar(p.found, measure, p.higher_is_better))]
    best = max(again, default=sign * start if measure.endswith("metric") else math.nan)
    rest = [v for run in pair.others if math.isfinite(v := scalar(run, measure, pair.higher_is_better))]
    spread = float(np.std(rest, ddof=1)) if len(rest) >= ENOUGH else 0.0
    if not (way > 0.0 and recorded - best > max(FAR * way, 2.0 * spread)):
        return ""
    return f"{measure.replace('_', ' ')} ends at {sign * recorded:.6g} on record, at {sign * best:.6g} at best here"


def _descent(cell: Sequence[Pair]) -> float:
    """How far training brings the validation loss down at best, on average over the runs on record."""
    curves = [np.asarray(run["val_loss"], np.float64) for p in cell for run in (p.recorded, *p.others)]
    known = [float(curve[0] - np.nanmin(curve)) for curve in curves if len(curve) and math.isfinite(curve[0])]
    return float(np.mean(known)) if known else 0.0


def worst(verdicts: Sequence[str]) -> str:
    """The worst of some verdicts."""
    return max(verdicts, key=VERDICTS.index)
