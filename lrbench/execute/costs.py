"""The costs of a study, measured and stored."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lrbench.config.cost import Case, Costs
from lrbench.cost import measure_study
from lrbench.cost.measure import Take, Turn
from lrbench.cost.study import TurnTrial
from lrbench.device import Device
from lrbench.execute.processes import FreshProcesses
from lrbench.execute.progress import Ticker
from lrbench.execute.run import Session, prepare, write_description
from lrbench.store import write_costs
from lrbench.store.costs import read_costs


def measure_costs(session: Session) -> Costs:
    """Measure what the steps of a session's matrix cost on each of its devices, and store that beside its runs, in place of what was there.

    The costs from before stay until all is measured, and what differs from them is marked; a folder that cannot be
    written is told before anything is.
    """
    store = session.store
    with store.alone():
        plan = prepare(session.plan)
        write_description(session, plan, adds=False)
        with Ticker() as ticker:
            take_on = partial(turns_on, plugins=session.plugins)
            found = measure_study(plan, session.devices, ticker, take_on, _earlier(store.folder))
        write_costs(store.folder, found)
    return found


def turns_on(device: Device, plugins: Sequence[Path]) -> Take:
    """What takes the turns of cases on a device, each in a new process."""
    executor = FreshProcesses(device, plugins)

    def take(cases: Sequence[Case], first: bool) -> Turn:
        [turn] = executor.measure([TurnTrial(tuple(cases), first)])
        return turn

    return take


def _earlier(folder: Path) -> Costs:
    """The costs that are there; none where they cannot be read, since they are about to be replaced."""
    try:
        return read_costs(folder)
    except (ValueError, LookupError, TypeError):
        return Costs()
