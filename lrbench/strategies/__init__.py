"""The three axes of a strategy: optimizers, layer-lr policies and schedules."""

from lrbench.strategies.combine import groups_of, impossible, matrices_of
from lrbench.strategies.layer_lr import FROZEN, LAYER_LRS, Group, Rate, layer_lr
from lrbench.strategies.optimizers import OPTIMIZERS, built, optimizer, swaps_weights
from lrbench.strategies.pacer import (
    CallOrderError,
    Pacer,
    Timing,
    Unpaced,
    audit,
    audit_run,
    lr_curve,
    lr_table,
    rounding_of,
)
from lrbench.strategies.schedules import SCHEDULES, schedule

__all__ = [
    "FROZEN",
    "LAYER_LRS",
    "OPTIMIZERS",
    "SCHEDULES",
    "CallOrderError",
    "Group",
    "Pacer",
    "Rate",
    "Timing",
    "Unpaced",
    "audit",
    "audit_run",
    "built",
    "groups_of",
    "impossible",
    "layer_lr",
    "lr_curve",
    "lr_table",
    "matrices_of",
    "optimizer",
    "rounding_of",
    "schedule",
    "swaps_weights",
]
