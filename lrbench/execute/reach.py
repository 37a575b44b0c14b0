"""Which entries worker processes come to have: those of plug-in files, of installed plug-ins, and of a script that can be imported."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lrbench.config.origin import ENTRY_POINTS, MAIN, Origin
from lrbench.config.run import Run
from lrbench.plan import origins_of


def reached(runs: Iterable[Run], plugins: Sequence[Path]) -> tuple[tuple[Path, ...], list[str]]:
    """The plug-in files that workers must import for some runs, those given first, and the entries that nothing brings to them."""
    origins: dict[str, Origin] = {}
    for run in runs:
        if run.has_plugin:
            origins |= origins_of(run)
    through = [origin.through for origin in origins.values() if origin.through not in (None, MAIN, ENTRY_POINTS)]
    files = dict.fromkeys(
        [*plugins, *(Path(file) for file in through if file and Path(file) not in {p.resolve() for p in plugins})]
    )
    return tuple(files), sorted(name for name, origin in origins.items() if origin.through is None)


UNGUARDED = (
    "lrbench.run is called where a worker process that imports the script would call it again, so that this process "
    "trains alone: put the "
    'call under if __name__ == "__main__": to use workers'
)


def stays_here(names: Sequence[str]) -> str:
    """What is said where some entries keep the work in this process; nothing where there are none."""
    if not names:
        return ""
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    return (
        f"{', '.join(names)} {are} defined in this session, which no other process can import, so that this process "
        f"trains alone: put "
        f"{them} in a file and give it as a plug-in to use workers"
    )
