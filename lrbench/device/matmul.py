"""lrbench's own product of many small matrices on a CPU, built once per machine, and its way into compiled functions."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass

from lrbench.spec.cache import cache_folder

SOURCE = Path(__file__).with_name("matmul.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared")
LARGEST = 1024
"""Products with a longer side than this are left to PyTorch's libraries, which are made for them."""


@cache
def missing() -> str | None:
    """Load the operator ``torch.ops.lrbench.matmul``, built if need be; returns why it cannot be had here, or None."""
    try:
        torch.ops.load_library(_built())
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"the matrix kernel could not be built: {' '.join(str(said).split())[:200]}"

    torch.library.register_fake("lrbench::matmul", lambda a, b: a.new_empty(a.shape[0], a.shape[1], b.shape[2]))
    return None


def _built() -> Path:
    """The shared library, from the cache folder or the compiler.

    Raises: OSError when there is no compiler; subprocess.CalledProcessError with what it said.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++", "c++"))), None)
    if compiler is None:
        raise OSError("there is no C++ compiler")
    decides = [SOURCE.read_text(encoding="utf-8"), compiler, *FLAGS, torch.__version__, platform.machine(), _cpu_flags()]
    name = hashlib.sha256("\n".join(decides).encode()).hexdigest()[:16]
    path = cache_folder() / f"matmul-{name}.so"
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


class OwnProducts(CustomGraphPass):
    """Put lrbench's operator in the place of ``bmm`` of small float32 or float64 matrices, in a graph about to be compiled."""

    def __call__(self, graph: fx.Graph) -> None:
        """Change the graph."""
        for node in graph.nodes:
            if node.target is torch.ops.aten.bmm.default and _is_small(node):
                node.target = torch.ops.lrbench.matmul.default

    def uuid(self) -> bytes:
        """What compiled graphs are cached under, beside the graph."""
        return hashlib.sha256(SOURCE.read_bytes()).digest()


def _is_small(node: fx.Node) -> bool:
    a, b = (argument.meta["val"] for argument in node.args if isinstance(argument, fx.Node))
    sides = (*a.shape[1:], b.shape[2])
    return (
        a.device.type == "cpu" and a.dtype in (torch.float32, torch.float64) and all(isinstance(s, int) and 0 < s <= LARGEST for s in sides)
    )
