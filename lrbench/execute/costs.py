"""The costs of a study, measured and stored."""

from pathlib import Path

from lrbench.config.cost import Costs
from lrbench.cost import measure_study
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
            found = measure_study(plan, session.devices, ticker, session.plugins, _earlier(store.folder))
        write_costs(store.folder, found)
    return found


def _earlier(folder: Path) -> Costs:
    """The costs that are there; none where they cannot be read, since they are about to be replaced."""
    try:
        return read_costs(folder)
    except (ValueError, LookupError, TypeError):
        return Costs()
