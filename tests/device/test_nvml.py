"""NVML is asked about the right GPU, and what it cannot tell is None, with the reason in words."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrbench.device.nvml import THROTTLED, besides, driver, gpu, throttling
from lrbench.device.sensors import Snapshot

CUDA = torch.device("cuda", 0)


class TestFinding:
    def test_the_gpu_that_torch_calls_0_is_found_by_its_uuid(self, nvml):
        nvml.add("GPU-a", energy=1000)
        nvml.add("GPU-b", energy=7000)
        assert gpu(CUDA).energy() == 7.0

    def test_or_by_its_pci_address(self, nvml):
        nvml.add("GPU-a", energy=1000)
        nvml.add("GPU-other", pci="00000000:3b:00.0", energy=7000)
        assert gpu(CUDA).energy() == 7.0

    def test_a_gpu_that_nvml_does_not_know(self, nvml):
        nvml.add("GPU-a")
        assert (gpu(CUDA).source, gpu(CUDA).reason) == (None, "NVML does not find this GPU: Not Found")

    @pytest.mark.parametrize("why", ["NVML Shared Library Not Found", "Driver Not Loaded", "Insufficient Permissions"])
    def test_no_nvml(self, nvml, why):
        nvml.fault = nvml.NVMLError(why)
        sensors = gpu(CUDA)
        assert sensors.reason == f"NVML does not find this GPU: {why}"
        assert (sensors.source, sensors.energy(), sensors.snapshot(), sensors.sharing()) == (
            None,
            None,
            Snapshot(),
            None,
        )
        assert driver() is None

    @pytest.mark.usefixtures("nvml")
    def test_no_library_for_nvml(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert gpu(CUDA).reason == "nvidia-ml-py is not installed"
        assert driver() is None

    @pytest.mark.usefixtures("nvml")
    def test_a_gpu_of_amd(self, monkeypatch):
        monkeypatch.setattr(torch.version, "hip", "7.0")
        assert gpu(CUDA).reason == "NVML knows no AMD GPU"

    def test_no_cuda(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert "sees no CUDA device here" in gpu(CUDA).reason

    @pytest.mark.usefixtures("nvml")
    def test_the_driver(self):
        assert driver() == "580.95.05"


class TestReading:
    def test_units_are_joules_megahertz_degrees_and_watts(self, nvml):
        nvml.add("GPU-b")
        sensors = gpu(CUDA)
        assert (sensors.energy(), sensors.source, sensors.reason) == (5.0, "NVML: the whole GPU", "")
        assert sensors.snapshot() == Snapshot(clock_mhz=1980, temperature_c=41, power_w=250.5)

    def test_an_energy_that_is_not_told_has_a_reason(self, nvml):
        nvml.add("GPU-b", energy=nvml.NVMLError("Not Supported"))
        sensors = gpu(CUDA)
        assert (sensors.energy(), sensors.source) == (None, None)
        assert sensors.reason == "NVML does not tell this GPU's energy: Not Supported"
        assert sensors.snapshot().clock_mhz == 1980

    @pytest.mark.parametrize(
        ("key", "field"), [("clock", "clock_mhz"), ("temperature", "temperature_c"), ("power", "power_w")]
    )
    def test_each_is_unknown_alone(self, nvml, key, field):
        refusal = nvml.NVMLError("Insufficient Permissions")
        nvml.add("GPU-b", **{key: refusal if key == "power" else [refusal, refusal]})
        told = gpu(CUDA).snapshot()
        assert [name for name in ("clock_mhz", "temperature_c", "power_w") if getattr(told, name) is None] == [field]

    def test_throttling_and_idling(self, nvml):
        nvml.add("GPU-b", events=0x1 | 0x4)
        assert gpu(CUDA).snapshot().throttled == ("sw power cap",)
        assert gpu(CUDA).snapshot().idle

    def test_an_older_driver_knows_throttling_by_another_name(self, nvml):
        nvml.add("GPU-b", events=nvml.NVMLError("Function Not Found"), throttle=0x40)
        assert gpu(CUDA).snapshot().throttled == ("hw thermal slowdown",)

    def test_no_word_where_throttling_is_unknown(self, nvml):
        nvml.add("GPU-b", events=nvml.NVMLError("Not Supported"), throttle=nvml.NVMLError("Not Supported"))
        assert (gpu(CUDA).snapshot().throttled, gpu(CUDA).snapshot().idle) == ((), False)

    @pytest.mark.parametrize(
        ("pids", "others"),
        [([], 0), (["own"], 0), (["own", 1], 1), (["own", 1, 2, 1], 2), ([4_000_001], 0), ([4_000_001, 4_000_002], 1)],
    )
    def test_other_processes_on_the_gpu(self, nvml, pids, others):
        nvml.add("GPU-b", pids=[os.getpid() if pid == "own" else pid for pid in pids])
        assert gpu(CUDA).sharing() == others

    @pytest.mark.parametrize(
        ("pids", "others"),
        [(["own", "parent"], 0), (["own"], 0), (["own", "parent", 1], 1), ([4_000_001, 4_000_002], 0)],
    )
    def test_the_process_that_started_this_one_is_no_other(self, nvml, monkeypatch, pids, others):
        monkeypatch.setattr("lrbench.device.nvml.parent_process", lambda: SimpleNamespace(pid=os.getppid()))
        known = {"own": os.getpid(), "parent": os.getppid()}
        nvml.add("GPU-b", pids=[known.get(pid, pid) for pid in pids])
        assert gpu(CUDA).sharing() == others

    def test_processes_that_are_not_told(self, nvml):
        nvml.add("GPU-b", pids=nvml.NVMLError("Insufficient Permissions"))
        assert gpu(CUDA).sharing() is None


@given(st.integers(0, 2**64 - 1))
def test_words_are_those_of_the_bits_that_throttle(bits):
    assert len(throttling(bits)) == sum(bool(bits & bit) for bit in THROTTLED)
    assert throttling(bits & 0x103) == ()


@given(st.sets(st.integers(1, 9), min_size=1), st.sets(st.integers(1, 9)))
def test_own_processes_are_never_counted(own, pids):
    assert besides(own, own | pids) == len(pids - own)
    assert 0 <= besides(own, pids) <= len(pids)


def test_its_bits_are_those_of_the_library():
    library = pytest.importorskip("pynvml")
    reasons = {name: value for name, value in vars(library).items() if name.startswith("nvmlClocksThrottleReason")}
    harmless = ("All", "None", "GpuIdle", "ApplicationsClocksSetting", "UserDefinedClocks", "DisplayClockSetting")
    assert {value for name, value in reasons.items() if not name.endswith(harmless)} == set(THROTTLED)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_gpu_is_found():
    assert gpu(CUDA).snapshot().clock_mhz > 0
