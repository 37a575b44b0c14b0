import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch


class NVMLError(Exception):
    pass


class FakeNvml(ModuleType):
    """NVML as nvidia-ml-py shows it, of GPUs that are dicts; a value that is an exception is raised."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self):
        super().__init__("pynvml")
        self.fault = None
        self.gpus = []
        self.nvmlInit = self.start
        self.nvmlSystemGetDriverVersion = lambda: "580.95.05"
        self.nvmlDeviceGetHandleByUUID = lambda uuid: self.find("uuid", uuid)
        self.nvmlDeviceGetHandleByPciBusId = lambda address: self.find("pci", address)
        self.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: told(gpu["energy"])
        self.nvmlDeviceGetClockInfo = lambda gpu, which: told(gpu["clock"][which])
        self.nvmlDeviceGetTemperature = lambda gpu, which: told(gpu["temperature"][which])
        self.nvmlDeviceGetPowerUsage = lambda gpu: told(gpu["power"])
        self.nvmlDeviceGetCurrentClocksEventReasons = lambda gpu: told(gpu["events"])
        self.nvmlDeviceGetCurrentClocksThrottleReasons = lambda gpu: told(gpu["throttle"])
        self.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [SimpleNamespace(pid=pid) for pid in told(gpu["pids"])]

    def add(self, uuid, pci="00000000:00:00.0", **facts):
        """A GPU with these facts, in NVML's units. The graphics clock and the hottest sensor, which nobody asks for, are not there."""
        usual = {
            "energy": 5000,
            "clock": {1: 1980},
            "temperature": {0: 41},
            "power": 250_500,
            "events": 0,
            "throttle": 0,
            "pids": [],
        }
        self.gpus.append({"uuid": uuid, "pci": pci} | usual | facts)
        return self.gpus[-1]

    def start(self):
        if self.fault:
            raise self.fault

    def find(self, key, value):
        found = [gpu for gpu in self.gpus if gpu[key] == value]
        if not found:
            raise NVMLError("Not Found")
        return found[0]


def told(value):
    if isinstance(value, Exception):
        raise value
    return value


@pytest.fixture
def nvml(monkeypatch):
    """A fake NVML, and a torch that sees the one GPU whose UUID ends in ``b`` at PCI address 0:3b:0, as with CUDA_VISIBLE_DEVICES."""
    fake = FakeNvml()
    props = SimpleNamespace(uuid="b", pci_domain_id=0, pci_bus_id=0x3B, pci_device_id=0)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: props)
    return fake


@pytest.fixture
def powercap(tmp_path):
    """A function that makes a domain of RAPL, and returns the file of its counter (microjoules)."""

    def make(zone, name, energy, most=262_143_328_850):
        folder = tmp_path / "powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{most}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
        return folder / "energy_uj"

    make.root = tmp_path / "powercap"
    return make
