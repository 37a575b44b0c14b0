"""From a run to its outcome."""

from lrbench.train.checkpoint import Checkpoint, Interrupted
from lrbench.train.data import data_for, dtype_of
from lrbench.train.membership import alone, shared
from lrbench.train.notices import say_once, share
from lrbench.train.population import Population
from lrbench.train.reference import AuditError, Training
from lrbench.train.single import train
from lrbench.train.slots import rule_of
from lrbench.train.trial import try_out

__all__ = [
    "AuditError",
    "Checkpoint",
    "Interrupted",
    "Population",
    "Training",
    "alone",
    "data_for",
    "dtype_of",
    "rule_of",
    "say_once",
    "share",
    "shared",
    "train",
    "try_out",
]
