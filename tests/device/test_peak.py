"""The peak of matrix products: plausible, bounded in time, and without a trace in torch's settings."""

import time

import pytest
import torch

from lrbench.device import matmul_peak
from lrbench.device import peak as module
from lrbench.device.peak import CPU_SIZES, DTYPES

MATMUL = torch.backends.cuda.matmul


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16", "fp16"])
def test_a_cpu_has_a_peak_and_takes_less_than_a_second_to_tell(cpu, precision):
    start = time.thread_time()  # which other processes do not prolong
    rate, size = matmul_peak(cpu, precision)
    assert time.thread_time() - start < 1.5
    assert 1e7 < rate < 1e15
    assert size in CPU_SIZES


@pytest.mark.parametrize(
    ("precision", "said"), [("tf32", "a cpu device has none"), ("int8", "must be one of fp64, fp32, tf32")]
)
def test_what_a_cpu_cannot(cpu, precision, said):
    with pytest.raises(ValueError, match=said):
        matmul_peak(cpu, precision)


@pytest.fixture
def pace(monkeypatch):
    """A clock (s) that a product of size n puts forward by ``pace.of(n)``."""

    class Pace:
        now = 0.0
        of = staticmethod(lambda size: 2 * size**3 / 1e9)

        def window(self, function, times, _):
            size = function.__closure__[0].cell_contents.shape[0]
            self.now += times * self.of(size)
            return times * self.of(size)

    pace = Pace()
    monkeypatch.setattr(module, "_window", pace.window)
    monkeypatch.setattr(module, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: pace.now)}))
    return pace


def test_the_fastest_size_is_told(cpu, pace):
    pace.of = lambda size: 2 * size**3 / {512: 3e11, 1024: 5e11, 2048: 4e11}[size]
    rate, size = matmul_peak(cpu, "fp32")
    assert (rate, size) == (pytest.approx(5e11), 1024)


@pytest.mark.parametrize("rate", [1e9, 3e9, 1e10, 1e11, 1e12])
def test_a_slower_device_is_measured_less(cpu, pace, rate):
    pace.of = lambda size: 2 * size**3 / rate
    assert matmul_peak(cpu, "fp32")[0] == pytest.approx(rate)
    assert pace.now < 1.0


def rounding():
    return MATMUL.fp32_precision


def fail_while_rounding(to):
    with module._rounding(to, torch.device("cuda", 0)):
        assert rounding() == to
        _ = 1 / 0


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
@pytest.mark.parametrize("to", ["ieee", "tf32"])
def test_the_rounding_is_put_back(before, to):
    found = rounding()
    MATMUL.fp32_precision = before
    try:
        with pytest.raises(ZeroDivisionError):
            fail_while_rounding(to)
        assert rounding() == before
    finally:
        MATMUL.fp32_precision = found


def test_a_cpu_s_rounding_is_not_touched(cpu):
    before = rounding()
    with module._rounding("tf32", cpu):
        assert rounding() == before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", DTYPES)
def test_a_real_gpu(precision):
    before = rounding()
    rate, _ = matmul_peak(torch.device("cuda", 0), precision)
    assert 1e10 < rate < 1e16
    assert rounding() == before
