"""Numbers as people read them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lrbench.config.metric import Unit
from lrbench.stats.estimates import Estimate

NONE = "-"
"""What stands where there is no number."""


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits.

    >>> number(0.123456), number(1234567.0), number(float("nan")), number(float("inf"))
    ('0.123', '1,234,567', '-', '∞')
    """
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def lr(value: float) -> str:
    """A learning rate.

    >>> lr(0.0003), lr(3.1622776e-05)
    ('0.0003', '3.16e-05')
    """
    return number(value)


Scales = tuple[tuple[float, float, str], ...]
"""For each unit the least value that is told in it, its size, and its name, ascending."""
TIME: Scales = ((0.0, 1e-6, "µs"), (1e-3, 1e-3, "ms"), (1.0, 1.0, "s"), (120.0, 60.0, "min"), (7200.0, 3600.0, "h"))
ENERGY: Scales = ((0.0, 1e-6, "µJ"), (1e-3, 1e-3, "mJ"), (1.0, 1.0, "J"), (1e3, 1e3, "kJ"), (1e6, 1e6, "MJ"))
FLOPS: Scales = ((0.0, 1e6, "MFLOP/s"), (1e9, 1e9, "GFLOP/s"), (1e12, 1e12, "TFLOP/s"))
BYTES: Scales = ((0.0, 2.0**10, "KiB"), (2.0**20, 2.0**20, "MiB"), (2.0**30, 2.0**30, "GiB"))
NEVER = "never"
SURE = 1e-3
"""A p-value below this is told as that."""


def measure(value: float, scales: Scales, low: float = math.nan, high: float = math.nan) -> str:
    """A value in the unit that suits it, and an interval in the same one where there is one; an infinite one is never reached.

    >>> measure(4.123e-4, TIME, 3.9e-4, 4.5e-4), measure(9.999e-4, TIME)
    ('412 µs [390, 450]', '1 ms')
    >>> measure(95.0, TIME, 80.0, math.inf), measure(3e7, BYTES)
    ('95 s [80, never]', '28.6 MiB')
    """
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return NEVER
    size, unit = next((size, unit) for least, size, unit in reversed(scales) if _rounded(value) >= least)
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{_sized(low, size)}, {_sized(high, size)}]"
    return f"{_sized(value, size)} {unit}{interval}"


def _rounded(value: float) -> float:
    return float(f"{abs(value):.3g}")


def _sized(value: float, size: float) -> str:
    """A value in units of a size, to three digits, without an exponent where it is not tiny."""
    return NEVER if math.isinf(value) else number(math.copysign(_rounded(value / size), value))


def estimate(of: Estimate, scales: Scales) -> str:
    """An estimate in the unit that suits it."""
    return measure(of.value, scales, of.low, of.high)


def times(ratio: float, low: float = math.nan, high: float = math.nan) -> str:
    """A ratio of two numbers, and its interval where there is one.

    >>> times(0.4561, 0.4, 0.5), times(12.34), times(1234.0)
    ('0.456 x [0.4, 0.5]', '12.3 x', '1,234 x')
    """
    if math.isnan(ratio):
        return NONE
    return f"{number(ratio)} x" + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def share(value: float) -> str:
    """A share as a whole percentage.

    >>> share(0.256)
    '26 %'
    """
    return NONE if math.isnan(value) else f"{100 * value:.0f} %"


def count(n: int, word: str) -> str:
    """A counted noun.

    >>> count(1, "run"), count(1200, "run"), count(2, "strategy")
    ('1 run', '1,200 runs', '2 strategies')
    """
    plural = f"{word.removesuffix('y')}ies" if word.endswith("y") else f"{word}s"
    return f"{n:,} {word if n == 1 else plural}"


def p_value(p: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(1e-9), p_value(1.0)
    ('0.031', '< 0.001', '1')
    """
    return f"< {SURE:g}" if p < SURE else number(p, 2)


def fact(value: object) -> str:
    """A recorded fact in words.

    >>> fact(True), fact(None), fact({"b_c": 1, "a": [2, 3]}), fact([])
    ('yes', '-', 'a 2, 3, b c 1', '-')
    """
    if isinstance(value, dict):
        return ", ".join(f"{str(name).replace('_', ' ')} {fact(v)}" for name, v in sorted(value.items())) or NONE
    if isinstance(value, list | tuple):
        return ", ".join(map(fact, value)) or NONE
    return ("yes" if value else "no") if isinstance(value, bool) else NONE if value is None else str(value)


def some(words: Sequence[str], most: int) -> str:
    """The first words of a list, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(words) - most
    return ", ".join(words) if more <= 0 else f"{', '.join(words[:most])} and {more} more"


@dataclass(frozen=True)
class Metric:
    """How a workload's validation metric is written: a share in %, anything else as a number."""

    name: str
    higher_is_better: bool = True
    unit: Unit = "number"

    @classmethod
    def of(cls, workload: Mapping[str, Any]) -> Self:
        """That of a workload, from what its study says of it."""
        return cls(str(workload["metric"]), bool(workload["higher_is_better"]), workload["metric_unit"])

    @property
    def percent(self) -> bool:
        """Whether values are shares of one."""
        return self.unit == "fraction"

    @property
    def scale(self) -> float:
        """What a value is multiplied with to be drawn."""
        return 100.0 if self.percent else 1.0

    @property
    def label(self) -> str:
        """The name of an axis."""
        return f"validation {self.name}" + (", %" if self.percent else "")

    def bare(self, value: float) -> str:
        """A value without its unit."""
        return (f"{100 * value:.1f}" if self.percent else number(value, 4)) if math.isfinite(value) else NONE

    def show(self, value: float) -> str:
        """A value with its unit.

        >>> Metric("accuracy", unit="fraction").show(0.98765), Metric("loss").show(0.98765)
        ('98.8 %', '0.9877')
        """
        return self.bare(value) + (" %" if self.percent and math.isfinite(value) else "")

    def interval(self, low: float, high: float) -> str:
        """An interval in brackets; nothing if there is none."""
        return f" [{self.bare(low)}, {self.bare(high)}]" if math.isfinite(low) else ""

    def estimate(self, of: Estimate, unit: str = "") -> str:
        """An estimate with its unit and its interval; ``unit`` is a word behind the value."""
        return f"{self.show(of.value)}{' ' if unit else ''}{unit}{self.interval(of.low, of.high)}"

    def signed(self, score: Estimate) -> Estimate:
        """The metric behind a score, of which more is better."""
        return score if self.higher_is_better else Estimate(-score.value, -score.high, -score.low)

    def gain(self, value: float) -> str:
        """An improvement: positive is better, whatever the metric.

        >>> Metric("accuracy", unit="fraction").gain(0.0123), Metric("loss").gain(-0.5)
        ('+1.2 points', '-0.5')
        """
        if not math.isfinite(value):
            return NONE
        sign = "+" if value > 0 else "-" if value < 0 else "±"
        return sign + self.bare(abs(value)) + (" points" if self.percent else "")


# ---- names


def settings_of(label: str) -> tuple[str, list[str]]:
    """The name of an entry and the settings that its label shows.

    >>> settings_of("groups(multipliers={conv1=0.1, conv2=0.2}, scale=2)")
    ('groups', ['multipliers={conv1=0.1, conv2=0.2}', 'scale=2'])
    >>> settings_of("adam")
    ('adam', [])
    """
    name, _, inside = label.partition("(")
    settings, depth, start = [], 0, 0
    inside = inside.removesuffix(")")
    for i, letter in enumerate(inside + ","):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == "," and depth == 0:
            settings.append(inside[start:i].strip())
            start = i + 1
    return name, [setting for setting in settings if setting]


def shortened(labels: Iterable[str]) -> dict[str, str]:
    """For each label, the same without the settings that all labels of one entry share.

    >>> shortened(["sgd(momentum=0.9)", "sgd(momentum=0.9, nesterov=true)", "groups(multipliers={a=2})"])
    {'groups(multipliers={a=2})': 'groups', 'sgd(momentum=0.9)': 'sgd', 'sgd(momentum=0.9, nesterov=true)': 'sgd(nesterov=true)'}
    """
    parts = {label: settings_of(label) for label in sorted(set(labels))}
    shared: dict[str, set[str]] = {}
    for name, settings in parts.values():
        shared[name] = shared.get(name, set(settings)) & set(settings)
    own = {label: [s for s in settings if s not in shared[name]] for label, (name, settings) in parts.items()}
    return {label: name + (f"({', '.join(own[label])})" if own[label] else "") for label, (name, _) in parts.items()}
