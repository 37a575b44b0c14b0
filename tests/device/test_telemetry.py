"""A watched block knows its energy or why not, and what may have disturbed it."""

import os
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrbench.device import Snapshot, Telemetry
from lrbench.device import telemetry as module
from lrbench.device.load import Load
from lrbench.device.telemetry import CLOCK_CHANGE, OTHERS_CORES, clock_changed, joules_between, noise

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SOME = st.none() | st.floats(0, 1e9)


@pytest.fixture
def clock(monkeypatch):
    """A clock (s) that goes on only when told, in place of the real one."""
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now.s))
    monkeypatch.setattr(module, "synchronize", lambda _: None)
    return now


class TestCpu:
    @pytest.fixture
    def telemetry(self, powercap, tmp_path):
        return lambda: Telemetry(CPU, powercap=powercap.root, cpus=tmp_path / "cpus", stat=tmp_path / "stat")

    def test_joules_of_a_block(self, clock, powercap, telemetry):
        counter = powercap("intel-rapl:0", "package-0", 1_000_000)
        with telemetry().watch() as watched:
            assert watched.joules_reason == "the block has not ended"
            clock.s += 0.5
            counter.write_text("31_000_000")
        assert (watched.seconds, watched.joules, watched.joules_reason) == (0.5, 30.0, "")
        assert (watched.others, watched.noise) == (None, ())

    def test_a_short_block(self, clock, powercap, telemetry):
        counter = powercap("intel-rapl:0", "package-0", 1_000_000)
        with telemetry().watch() as watched:
            clock.s += 0.05
            counter.write_text("31_000_000")
        assert watched.joules is None
        assert watched.joules_reason == "the block took 0.05 s, too short for a counter that needs 0.1 s"

    def test_a_counter_that_stands_still(self, clock, powercap, telemetry):
        powercap("intel-rapl:0", "package-0", 1_000_000)
        with telemetry().watch() as watched:
            clock.s += 5
        assert (watched.joules, watched.joules_reason) == (None, "the energy counter did not move")

    def test_no_counter(self, clock, telemetry):
        with telemetry().watch() as watched:
            clock.s += 5
        assert (watched.joules, watched.joules_reason) == (None, "no RAPL here")
        assert telemetry().shortest == 0.0
        assert (telemetry().energy(), telemetry().energy_source, telemetry().energy_reason) == (
            None,
            None,
            "no RAPL here",
        )

    def test_clocks_of_a_cpu_may_wander(self, clock, telemetry, tmp_path):
        path = tmp_path / "cpus" / "cpu0" / "cpufreq" / "scaling_cur_freq"
        path.parent.mkdir(parents=True)
        path.write_text("3000000")
        with telemetry().watch() as watched:
            clock.s += 5
            path.write_text("1000000")
        assert watched.noise == ()
        assert telemetry().snapshot() == Snapshot(clock_mhz=1000)

    def test_others(self, clock, telemetry, monkeypatch):
        loads = iter([Load(0, 0, 0), Load(10, 16, 10)])
        monkeypatch.setattr(module, "load", lambda _: next(loads))
        with telemetry().watch() as watched:
            clock.s += 10
        assert (watched.others, watched.noise) == (0.6, ("other processes used 0.6 cores",))

    def test_an_error_inside_the_block_is_the_callers(self, telemetry):
        with pytest.raises(ZeroDivisionError), telemetry().watch():
            _ = 1 / 0

    def test_this_machine_is_watched_for_what_it_shows(self):
        with Telemetry(CPU).watch() as watched:
            torch.ones(8)
        assert watched.seconds > 0
        assert (watched.joules is None) == bool(watched.joules_reason)


class TestCuda:
    def test_joules_of_a_block(self, clock, nvml):
        gpu = nvml.add("GPU-b", energy=10_000)
        with Telemetry(CUDA).watch() as watched:
            clock.s += 2
            gpu["energy"] = 1_010_000
        assert (watched.seconds, watched.joules, watched.joules_reason) == (2.0, 1000.0, "")
        assert Telemetry(CUDA).shortest == 1.0

    def test_less_than_a_second_is_too_short(self, clock, nvml):
        gpu = nvml.add("GPU-b", energy=10_000)
        with Telemetry(CUDA).watch() as watched:
            clock.s += 0.9
            gpu["energy"] = 1_010_000
        assert watched.joules is None
        assert watched.joules_reason == "the block took 0.9 s, too short for a counter that needs 1 s"

    def test_a_gpu_that_does_not_count(self, clock, nvml):
        nvml.add("GPU-b", energy=nvml.NVMLError("Not Supported"))
        with Telemetry(CUDA).watch() as watched:
            clock.s += 2
        assert (watched.joules, watched.joules_reason) == (None, "NVML does not tell this GPU's energy: Not Supported")

    def test_a_gpu_that_is_lost_in_the_block(self, clock, nvml):
        gpu = nvml.add("GPU-b")
        with Telemetry(CUDA).watch() as watched:
            clock.s += 2
            gpu["energy"] = nvml.NVMLError("GPU is lost")
        assert (watched.joules, watched.joules_reason) == (None, "NVML does not tell this GPU's energy: GPU is lost")

    def test_everything_that_disturbs(self, clock, nvml, monkeypatch):
        gpu = nvml.add("GPU-b")
        loads = iter([Load(0, 0, 0), Load(2, 2.6, 2)])
        monkeypatch.setattr(module, "load", lambda _: next(loads))
        with Telemetry(CUDA).watch() as watched:
            clock.s += 2
            gpu.update(clock={1: 1410}, events=0x4, pids=[os.getpid(), 4_000_001])
        assert watched.noise == (
            "other processes used 0.3 cores",
            "the clock changed from 1980 to 1410 MHz",
            "throttled: sw power cap",
            "another process computes on this GPU",
        )

    def test_a_quiet_block(self, clock, nvml, tmp_path):
        gpu = nvml.add("GPU-b", clock={1: 345}, events=0x1, pids=[4_000_001])
        with Telemetry(CUDA, stat=tmp_path / "none").watch() as watched:
            clock.s += 2
            gpu.update(clock={1: 1980}, events=0x2)
        assert watched.noise == ()

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_real_gpu(self):
        import time

        a = torch.randn(4096, 4096, device=CUDA)
        telemetry = Telemetry(CUDA)
        start = time.perf_counter()
        with telemetry.watch() as watched:
            while time.perf_counter() - start < 1.5:
                a @ a
                torch.cuda.synchronize()
        assert (watched.joules is None) == bool(watched.joules_reason)
        assert watched.joules is None or 10 < watched.joules < 5000


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_other_devices_are_not_read(kind):
    telemetry = Telemetry(torch.device(kind, 0))
    assert (telemetry.energy(), telemetry.energy_reason) == (None, f"no sensor of {kind} devices is read")
    assert (telemetry.snapshot(), telemetry.sharing()) == (Snapshot(), None)


@given(SOME, SOME, st.floats(0, 100), st.floats(0.1, 1))
def test_joules_are_above_zero_or_there_is_a_reason(before, after, seconds, least_s):
    joules, reason = joules_between(before, after, seconds, least_s, "no counter")
    assert (joules is None) == bool(reason)
    assert joules is None or (joules > 0 and seconds >= least_s)


@given(st.floats(0, 100))
def test_few_cores_of_others_are_no_noise(others):
    assert bool(noise(Snapshot(), Snapshot(), others, None)) == (others >= OTHERS_CORES)


@given(st.floats(100, 3000), st.floats(-0.5, 0.5).filter(lambda change: abs(abs(change) - CLOCK_CHANGE) > 1e-6))
def test_a_clock_changes_up_or_down_by_more_than_a_twentieth(clock_mhz, change):
    before, after = Snapshot(clock_mhz=clock_mhz), Snapshot(clock_mhz=clock_mhz * (1 + change))
    assert clock_changed(before, after) == (abs(change) > CLOCK_CHANGE)
    assert not clock_changed(before, Snapshot())
    assert not clock_changed(Snapshot(), after)
    assert not clock_changed(before, Snapshot(clock_mhz=1, idle=True))


def test_a_reason_that_stays_is_said_once():
    held = Snapshot(throttled=("sw power cap", "board limit"))
    assert noise(held, held, None, 2) == (
        "throttled: sw power cap",
        "throttled: board limit",
        "2 other processes compute on this GPU",
    )
