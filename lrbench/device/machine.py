"""What a machine is: the facts that a result depends on, and none that identify its user."""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lrbench.device import nvml
from lrbench.device.processor import governor
from lrbench.device.telemetry import Telemetry
from lrbench.device.threads import threads

SAME_NAME = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "scikit-learn", "schedulefree", "prodigyopt")
PACKAGES = {"lrbench": "lrbench-suite"} | {name: name for name in SAME_NAME}
"""What is told of, and the name of the distribution that it is installed from."""


@dataclass(frozen=True)
class Machine:
    """The facts that tell one machine from another. Two machines with the same ``slug`` count as one."""

    kind: str
    model: str
    count: int
    memory_gib: int
    driver: str | None
    cuda: str | None
    torch: str
    threads_per_worker: int

    @property
    def slug(self) -> str:
        """A folder name: readable, and different when any fact is."""
        words = re.sub(r"\b(nvidia|geforce|processor|cpu|core)\b|\(r\)|\(tm\)|@.*", " ", self.model.lower())
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "unknown"
        unit = "core" if self.kind == "cpu" else "gpu"
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:6]
        threads = f"-{self.threads_per_worker}threads" if self.threads_per_worker > 1 else ""
        return f"{self.kind}-{name}-{self.count}{unit}{threads}-{digest}"


def describe(devices: Sequence[torch.device]) -> Machine:
    """The machine that these devices are part of.

    GPUs other than CUDA's, on which lrbench was never tried, go by the names of their kind and of the processor they
    share it with.
    """
    common: dict[str, Any] = {"torch": torch.__version__, "threads_per_worker": threads()}
    if devices[0].type == "cpu":
        return Machine("cpu", _cpu_model(), cpu_cores(), _memory_gib(), None, None, **common)
    if devices[0].type != "cuda":
        return Machine(devices[0].type, _cpu_model(), len(devices), _memory_gib(), None, None, **common)
    props = torch.cuda.get_device_properties(devices[0])
    return Machine(
        "cuda",
        props.name,
        len(devices),
        round(props.total_memory / 2**30),
        _driver(),
        torch.version.cuda,
        **common,
    )


def provenance(machine: Machine) -> dict[str, Any]:
    """``machine.json``: the machine, the software and their settings, without user names, paths or addresses.

    None is what does not apply here or cannot be told.
    """
    energy = Telemetry(torch.device(machine.kind))
    return (
        asdict(machine)
        | {
            "driver": machine.driver or nvml.driver(),
            "slug": machine.slug,
            "cores": cpu_cores(),
            "cpu": _cpu_model(),
            "python": platform.python_version(),
            "os": f"{platform.system()} {platform.release().split('-')[0]}",
            "packages": {name: v for name, distribution in PACKAGES.items() if (v := _version(distribution))},
            "ram_gib": _memory_gib() or None,
            "cpu_vectors": torch.backends.cpu.get_cpu_capability(),
            "cpu_governor": governor(),
            "energy_source": energy.energy_source,
            "energy_reason": energy.energy_reason,
            "precision": _precision(),
            "determinism": _determinism(),
        }
        | _gpus()
        | _commit()
    )


def _gpus() -> dict[str, Any]:
    """The CUDA devices that torch sees, those that are not used included, and the libraries for them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
        "compute_capability": ["{}.{}".format(*torch.cuda.get_device_capability(i)) for i in range(count)],
        "cudnn": torch.backends.cudnn.version(),
        "rocm": torch.version.hip,
    }


def _precision() -> dict[str, str | None]:
    """How float32 products are rounded. None is a flag that torch refuses to tell, as the older one after the newer ones are set."""
    flags: dict[str, Callable[[], str]] = {
        "float32_matmul": torch.get_float32_matmul_precision,
        "cuda_matmul_fp32": lambda: torch.backends.cuda.matmul.fp32_precision,
        "cudnn_conv_fp32": lambda: torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined] # made when torch is imported
    }
    return {name: _told(flag) for name, flag in flags.items()}


def _told(flag: Callable[[], str]) -> str | None:
    try:
        return flag()
    except RuntimeError:
        return None


def _determinism() -> dict[str, bool | str | None]:
    return {
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "mkl_cbwr": os.environ.get("MKL_CBWR"),
    }


def cpu_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory_gib() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        return 0


def _driver() -> str | None:
    try:
        found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        return None
    return found[1] if found else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    """The commit of lrbench's own checkout, where it runs from one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        commit = subprocess.run(
            ["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "-C", here, "status", "--porcelain", "--", "lrbench", "benchmarks/*.toml"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(status.strip())}
