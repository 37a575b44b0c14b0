"""Which studies of two folders are compared with which."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lrbench.config.faults import BadInput
from lrbench.store import Study

Place = tuple[str, str]
"""A matrix and the slug of a machine."""


@dataclass(frozen=True)
class Pair:
    """Two studies of one matrix, mostly of one machine too."""

    base: Study
    head: Study

    @property
    def one_machine(self) -> bool:
        """Whether both come from the same machine: only then are step costs comparable, and outcomes equal to the bit."""
        return slug(self.base) == slug(self.head)


@dataclass(frozen=True)
class Matched:
    """The pairs, in order of their names, and the studies without a partner."""

    pairs: tuple[Pair, ...]
    base_only: tuple[Place, ...]
    head_only: tuple[Place, ...]


def slug(study: Study) -> str:
    """The name of a study's machine."""
    return str(study.machine["slug"])


def match(base: Iterable[Study], head: Iterable[Study]) -> Matched:
    """Pair studies by matrix and machine. A matrix that shares no machine but has one on each side is compared across the two.

    Raises: BadInput when a side has two studies of one matrix and machine, or nothing can be paired.
    """
    one, other = _places(base), _places(head)
    places = {(at, at) for at in one.keys() & other.keys()} | _across(one, other)
    if not places:
        raise BadInput(
            f"compare: nothing in common. BASE has {_told(one)}; HEAD has {_told(other)}. Give results of one matrix."
        )
    ordered = sorted(places)
    used_one, used_other = {at for at, _ in ordered}, {at for _, at in ordered}
    pairs = tuple(Pair(one[here], other[there]) for here, there in ordered)
    return Matched(pairs, tuple(sorted(one.keys() - used_one)), tuple(sorted(other.keys() - used_other)))


def _across(one: Mapping[Place, Study], other: Mapping[Place, Study]) -> set[tuple[Place, Place]]:
    """The matrices with one machine on each side, and not the same one."""
    found = set()
    for matrix in {name for name, _ in one} & {name for name, _ in other}:
        here, there = ([at for at in side if at[0] == matrix] for side in (one, other))
        if len(here) == len(there) == 1 and here != there:
            found.add((here[0], there[0]))
    return found


def _places(studies: Iterable[Study]) -> dict[Place, Study]:
    found: dict[Place, Study] = {}
    for study in sorted(studies, key=lambda study: study.folder):
        at = (study.name, slug(study))
        if at in found:
            raise BadInput(
                f"{study.folder}: is matrix {at[0]} on {at[1]}, as {found[at].folder} is. Give a folder that holds one "
                f"of them."
            )
        found[at] = study
    return found


def _told(studies: Mapping[Place, Study]) -> str:
    names = [f"{matrix} on {machine}" for matrix, machine in sorted(studies)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
