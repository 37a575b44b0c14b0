"""How fast a device multiplies matrices: the measure of how well anything else uses it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from statistics import median

import torch

from lrbench.device.precision import DTYPES
from lrbench.device.select import synchronize

CPU_SIZES = (512, 1024, 2048)
GPU_SIZES = (4096, 8192)
WINDOWS = 3
WINDOW_S = 0.02
"""The least length of a timed window: a thousand times what reading the clock and waiting for a GPU take."""
BUDGET_S = 0.8
"""What a call takes at most, but for its first product. Slow devices get fewer windows, then fewer sizes."""


def matmul_peak(device: torch.device, precision: str) -> tuple[float, int]:
    """The highest rate of a product of two square matrices (floating-point operations per second, 2 n^3 a product) and its size n.

    Each rate is the median of timed windows. On a CPU with as many threads as torch is set to. ``fp32`` and ``tf32`` on
    a GPU are as named, whatever is set, which stays as it was.

    Raises: ValueError when there is no such precision, or, for ``tf32``, not on this device.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r}: must be one of {', '.join(DTYPES)}")
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision 'tf32': a {device.type} device has none. Use fp32.")
    deadline = time.perf_counter() + BUDGET_S
    sizes = CPU_SIZES if device.type == "cpu" else GPU_SIZES
    rates: dict[int, float] = {}
    with _rounding("tf32" if precision == "tf32" else "ieee", device):
        for size in sizes:
            if rates and time.perf_counter() + 2 * _seconds_at(size, rates) > deadline:
                break
            rates[size] = 2 * size**3 / _product_seconds(size, DTYPES[precision], device, deadline)
    best = max(rates, key=lambda size: rates[size])
    return rates[best], best


def _seconds_at(size: int, rates: dict[int, float]) -> float:
    """What a product of this size takes if it is as fast as the last one."""
    return 2 * size**3 / rates[max(rates)]


def _product_seconds(size: int, dtype: torch.dtype, device: torch.device, deadline: float) -> float:
    """Seconds that a product takes: the median of ``WINDOWS`` windows, or of those that fit before the deadline, at least one."""
    random = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, device=device, generator=random).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def multiply() -> None:
        torch.mm(a, b, out=out)

    once = _window(multiply, 1, device)
    products = ceil(WINDOW_S / _window(multiply, 1, device)) if once < WINDOW_S else 1
    times: list[float] = []
    while not times or (len(times) < WINDOWS and time.perf_counter() + times[-1] * products < deadline):
        times.append(_window(multiply, products, device) / products)
    return median(times)


def _window(function: Callable[[], None], times: int, device: torch.device) -> float:
    """Seconds that a number of calls take together."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        function()
    synchronize(device)
    return time.perf_counter() - start


@contextmanager
def _rounding(to: str, device: torch.device) -> Iterator[None]:
    """Float32 products on a GPU rounded to ``ieee`` or ``tf32``, and afterwards as before.

    Through ``fp32_precision`` alone: after it is set, reading the older ``allow_tf32`` may raise.
    """
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = to
    try:
        yield
    finally:
        matmul.fp32_precision = before
