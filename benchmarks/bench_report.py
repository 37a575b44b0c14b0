"""How long the report of a large study takes, and how much memory: ``pytest benchmarks/bench_report.py``.

Studies of a formula, of as many runs as their names say, in the shape of ``fifty-thousand.toml``: five optimizers, four
layer-lr policies, five schedules, up to 20 lrs and 25 seeds. What is timed is the whole command ``lrbench report``.
"""

import os
import sys

import pytest
from synthetic import study

SHAPE = {
    "workloads": ["digits_mlp"],
    "optimizers": ["sgd(momentum=0.9)", "adam", "adamw(weight_decay=0.1)", "rmsprop", "lion"],
    "layer_lrs": ["uniform", "depth-decay", "bias-norm", "gradual-unfreezing"],
    "schedules": ["constant", "cosine", "cosine(warmup=0.1)", "step", "one-cycle"],
}
LRS = [10.0 ** (-4 + 4 * i / 19) for i in range(20)]


def report(folder):
    """Write the report of a stored study; returns the most memory that the command had, in MiB."""
    command = [sys.executable, "-m", "lrbench", "report", str(folder)]
    _, status, usage = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    assert status == 0
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize(("lrs", "seeds"), [(5, 2), (10, 5), (20, 25)], ids=["1000-runs", "5000-runs", "50000-runs"])
def bench_report(benchmark, tmp_path, lrs, seeds):
    runs = len(study(tmp_path, **SHAPE, lrs=LRS[:: len(LRS) // lrs], seeds=range(seeds)).runs)
    benchmark.extra_info["runs"] = runs
    benchmark.extra_info["peak_mebibytes"] = round(benchmark.pedantic(report, (tmp_path,), rounds=1))
