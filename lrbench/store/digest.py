"""One number for what a study found."""

import hashlib
import json

import numpy as np
import pandas as pd

from lrbench.config.types import known
from lrbench.store.table import CONTENT

_CURVES = {"eval_step": "<i4", "val_metric": "<f4", "val_loss": "<f4"}


def digest(runs: pd.DataFrame) -> str:
    """The SHA-256 of every run's key, resolved values and outcome, in order of the keys; 64 hexadecimal digits.

    Args: runs: those of a ``Study``. Clocks, how runs were trained, and in which files and order they are stored do not
    enter, so the same results have the same digest wherever they were made.
    """
    found = hashlib.sha256()
    for run in runs.sort_values("key").to_dict("records"):
        plain = [known(run[name]) for name in CONTENT if name not in _CURVES]
        text = json.dumps([run["key"], json.loads(run["run"]), plain], sort_keys=True, separators=(",", ":"))
        found.update(text.encode())
        for name, kind in _CURVES.items():
            curve = np.asarray(run[name], kind)
            found.update(len(curve).to_bytes(8, "little") + curve.tobytes())
    return found.hexdigest()
