"""Numbers as people read them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def percent(self) -> bool:
        """Whether values are shares of one."""
        return self.name.endswith("accuracy")

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

        >>> Metric("accuracy").show(0.98765), Metric("loss").show(0.98765)
        ('98.8 %', '0.9877')
        """
        return self.bare(value) + (" %" if self.percent and math.isfinite(value) else "")

    def interval(self, low: float, high: float) -> str:
        """An interval in brackets; nothing if there is none."""
        return f" [{self.bare(low)}, {self.bare(high)}]" if math.isfinite(low) else ""

    def gain(self, value: float) -> str:
        """An improvement: positive is better, whatever the metric.

        >>> Metric("accuracy").gain(0.0123), Metric("loss").gain(-0.5)
        ('+1.2 points', '-0.5')
        """
        if not math.isfinite(value):
            return NONE
        sign = "+" if value > 0 else "-" if value < 0 else "±"
        return sign + self.bare(abs(value)) + (" points" if self.percent else "")
