"""The folder for what lrbench can compute or download again."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Data, prepared weights, compiled kernels, step times: in ``LRBENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("LRBENCH_CACHE") or platformdirs.user_cache_path("lrbench"))
