"""Where lrbench keeps what it can make or fetch again."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Of data, prepared weights, compiled kernels and measured paces: ``LRBENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("LRBENCH_CACHE") or platformdirs.user_cache_path("lrbench"))
