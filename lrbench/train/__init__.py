"""From a run to its outcome."""

from lrbench.train.checkpoint import Checkpoint, Interrupted
from lrbench.train.reference import AuditError, Training, train

__all__ = ["AuditError", "Checkpoint", "Interrupted", "Training", "train"]
