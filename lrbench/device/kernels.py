"""lrbench's own products and convolutions of many small tensors on a CPU, built once per machine."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lrbench.config.cache import cache_folder
from lrbench.config.faults import one_line

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared")


@cache
def missing() -> str | None:
    """Load the operators of ``torch.ops.lrbench``, built if need be; returns why they cannot be had here, or None."""
    try:
        torch.ops.load_library(_built())
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"the kernels could not be built: {one_line(said)}"

    fakes: dict[str, Callable[..., Any]] = {
        "matmul": lambda a, b: a.new_empty(a.shape[0], a.shape[1], b.shape[2]),
        "convolution": lambda x, w, sh, sw, ph, pw, _: x.new_empty(
            x.shape[0],
            w.shape[0],
            (x.shape[2] + 2 * ph - w.shape[2]) // sh + 1,
            (x.shape[3] + 2 * pw - w.shape[3]) // sw + 1,
        ),
        "convolution_weight": lambda g, x, kh, kw, _sh, _sw, _ph, _pw, groups: g.new_empty(
            g.shape[1], x.shape[1] // groups, kh, kw
        ),
        "convolution_input": lambda g, w, h, width, _sh, _sw, _ph, _pw, groups: g.new_empty(
            g.shape[0], groups * w.shape[1], h, width
        ),
    }
    for name, fake in fakes.items():
        torch.library.register_fake(f"lrbench::{name}", fake)
    return None


def _built() -> Path:
    """The shared library, from the cache folder or the compiler.

    Raises: OSError when there is no compiler; subprocess.CalledProcessError with what it said.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++", "c++"))), None)
    if compiler is None:
        raise OSError("there is no C++ compiler")
    decides = [
        SOURCE.read_text(encoding="utf-8"),
        compiler,
        *FLAGS,
        torch.__version__,
        platform.machine(),
        _cpu_flags(),
    ]
    name = hashlib.sha256("\n".join(decides).encode()).hexdigest()[:16]
    path = cache_folder() / f"kernels-{name}.so"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            torch_home = Path(torch.__file__).parent
            links = [f"-I{torch_home / 'include'}", f"-L{torch_home / 'lib'}", "-ltorch_cpu"]
            subprocess.run([compiler, *FLAGS, SOURCE, *links, "-o", made], check=True, capture_output=True, text=True)
            made.replace(path)
    return path


def _cpu_flags() -> str:
    """What tells processors apart for which native code differs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
