"""lrbench compares learning-rate strategies: optimizer x per-layer lr x schedule.

``make_plan``, ``run``, ``results`` and ``write_reports`` do from Python what the command line does; ``optimizer``,
``layer_lr``, ``schedule`` and ``add_workload`` enter your own strategies and workloads. All are imported when first
used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbench.execute import make_plan, run
    from lrbench.report import results, write_reports
    from lrbench.strategies import Rate, layer_lr, optimizer, schedule
    from lrbench.workloads import add_workload

os.environ.setdefault(
    "MKL_CBWR", "AUTO"
)  # one row of a batched product like another; MKL reads it at its first product

__version__ = "0.1.0"
__all__ = [
    "Rate",
    "__version__",
    "add_workload",
    "layer_lr",
    "make_plan",
    "optimizer",
    "results",
    "run",
    "schedule",
    "write_reports",
]

_HOMES = {
    "lrbench.execute": ("make_plan", "run"),
    "lrbench.report": ("results", "write_reports"),
    "lrbench.strategies": ("Rate", "layer_lr", "optimizer", "schedule"),
    "lrbench.workloads": ("add_workload",),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'lrbench' has no attribute {name!r}")
