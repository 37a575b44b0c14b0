"""The data of runs, in their dtype and on their device."""

from collections.abc import Callable
from functools import cache

import torch

from lrbench.config.run import Run
from lrbench.workloads import WORKLOADS, Data


def dtype_of(run: Run) -> torch.dtype:
    """The dtype of a run's weights and data. Lower precisions are autocast from float32."""
    return torch.float64 if run.precision == "fp64" else torch.float32


def data_for(run: Run, device: torch.device) -> Data:
    """The data of a run, in its dtype."""
    workload = WORKLOADS[run.workload.name]
    return _placed(workload.data, workload.revision, device, dtype_of(run))


@cache
def _placed(load: Callable[[], Data], _revision: int | str, device: torch.device, dtype: torch.dtype) -> Data:
    """A workload's data on a device, loaded and moved once per process and revision."""
    return load().to(device, dtype)
