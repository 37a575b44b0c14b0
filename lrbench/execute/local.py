"""Which executor carries out some runs on this machine: this process, or several."""

from collections.abc import Sequence
from pathlib import Path

from lrbench.config.run import Run
from lrbench.device import Device
from lrbench.execute.executor import Executor
from lrbench.execute.in_process import InProcess
from lrbench.execute.processes import Processes
from lrbench.execute.reach import reached, stays_here


def local_executor(
    runs: Sequence[Run],
    devices: Sequence[Device],
    workers: int,
    checkpoints: Path,
    plugins: Sequence[Path],
    here: str = "",
) -> Executor:
    """Processes on this machine, or this process for a single worker on a CPU.

    It is this process, too, where an entry of the runs cannot be imported by another, or where ``here`` says why others
    cannot be started; the executor then has the reason. A GPU that fails takes its process with it, so it is never that
    of a single worker.
    """
    files, unreachable = reached(runs, plugins)
    enough = workers == 1 and devices[0].type == "cpu"
    reason = stays_here(unreachable) or here
    if reason or enough:
        return InProcess(devices[0], checkpoints, "" if enough else reason)
    return Processes([devices[i % len(devices)] for i in range(workers)], checkpoints, files)
