"""The sensors of NVIDIA's GPUs, read through NVML."""

import os
from importlib import import_module
from multiprocessing import parent_process
from types import ModuleType
from typing import Any

import torch

from lrbench.device.sensors import Silent, Snapshot

IDLE = 0x1
THROTTLED = {
    0x4: "sw power cap",
    0x8: "hw slowdown",
    0x10: "sync boost",
    0x20: "sw thermal slowdown",
    0x40: "hw thermal slowdown",
    0x80: "hw power brake",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""The bits of NVML's clock event reasons that hold the clock down against its user's will.

Left out are those that are no fault: idle (0x1) and the clocks that someone chose, for applications (0x2) or a display
(0x100).
"""


class Gpu:
    """The sensors of one GPU. A question that it, its driver or the user's rights do not allow is answered by None."""

    least_s = 1.0
    """The counter of joules moves some ten times a second: within a second, it errs by a tenth at most."""

    steady = True

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self.reason = ""
        self.source = None if self.energy() is None else "NVML: the whole GPU"

    def energy(self) -> float | None:
        """Joules since the driver was loaded, of the GPU with its memory, whoever uses it."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._nvml.NVMLError as error:
            self.reason = f"NVML does not tell this GPU's energy: {error}"
            return None

    def snapshot(self) -> Snapshot:
        """The clock of the multiprocessors (MHz), the temperature, the power now, and what throttles the GPU."""
        power_mw = self._ask("nvmlDeviceGetPowerUsage")
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # drivers before 535 know the same by this name
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return Snapshot(
            clock_mhz=self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            temperature_c=self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power_mw is None else power_mw / 1e3,
            throttled=throttling(bits or 0),
            idle=bool((bits or 0) & IDLE),
        )

    def sharing(self) -> int | None:
        """How many processes compute on the GPU beside this one and the one that started it, given that these do."""
        processes, parent = self._ask("nvmlDeviceGetComputeRunningProcesses"), parent_process()
        own = {os.getpid()} | ({parent.pid} if parent and parent.pid else set())
        return None if processes is None else besides(own, {process.pid for process in processes})

    def _ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def gpu(device: torch.device) -> Gpu | Silent:
    """The sensors of a CUDA device, or why there are none."""
    if torch.version.hip:
        return Silent("NVML knows no AMD GPU")
    if not torch.cuda.is_available():
        return Silent(f"torch {torch.__version__} sees no CUDA device here")
    try:
        nvml = _nvml()
    except ImportError:
        return Silent("nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
        return Gpu(nvml, _handle(nvml, torch.cuda.get_device_properties(device)))
    except nvml.NVMLError as error:
        return Silent(f"NVML does not find this GPU: {error}")


def driver() -> str | None:
    """The version of NVIDIA's driver, or None where there is none to ask."""
    try:
        nvml = _nvml()
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None


def throttling(bits: int) -> tuple[str, ...]:
    """The words for the bits that throttle.

    >>> throttling(0x1 | 0x4 | 0x40)
    ('sw power cap', 'hw thermal slowdown')
    """
    return tuple(word for bit, word in THROTTLED.items() if bits & bit)


def besides(own: set[int], pids: set[int]) -> int:
    """How many of the processes on a GPU are not the own ones, which are on it.

    Where none of these is listed, as in a container with numbers of its own, they are there under other numbers.

    >>> besides({7}, {7, 8}), besides({7}, {123456}), besides({7, 6}, {123456, 654321}), besides({7}, set())
    (1, 0, 0, 0)
    """
    others = pids - own
    return len(others) if own & pids else max(len(others) - len(own), 0)


def _nvml() -> ModuleType:
    return import_module("pynvml")


def _handle(nvml: ModuleType, props: Any) -> Any:
    """NVML's handle of the GPU that torch gave these properties of.

    NVML counts all GPUs and torch those that CUDA_VISIBLE_DEVICES leaves, so an index is no name: the UUID is, and so
    is the PCI address.
    """
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{props.uuid}")
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetHandleByPciBusId(
            f"{props.pci_domain_id:08x}:{props.pci_bus_id:02x}:{props.pci_device_id:02x}.0"
        )
