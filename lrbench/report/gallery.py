"""The pictures of a report: what each shows, how many there may be, and the files that they become."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrbench.report.drawing import draw, encoded
from lrbench.store import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_FIGURE = 4
"""Workloads in one figure."""
MOST = 3
"""The most figures of one kind, so that a report has no more than 25 images."""


@dataclass(frozen=True)
class Picture:
    """A drawn figure: its name, which is that of its file without the ending, and what it shows."""

    name: str
    alt: str
    figure: "Figure"

    @property
    def file(self) -> str:
        """Where it lies, seen from the report."""
        return f"figures/{self.name}.png"


@dataclass(frozen=True)
class Gallery:
    """The figures of one kind, and the workloads for which there was no room."""

    pictures: tuple[Picture, ...] = ()
    left_out: tuple[str, ...] = ()


def gallery(
    kind: str,
    alt: str,
    workloads: Sequence[str],
    panel: Callable[["Axes", str], None],
    *,
    per_figure: int | None = None,
    most: int | None = None,
    **layout: Any,
) -> Gallery:
    """The figures of one kind: a panel per workload, several in each figure, ``layout`` as ``drawing.draw`` takes it."""
    per, most = per_figure or PER_FIGURE, most or MOST
    groups = [workloads[i : i + per] for i in range(0, len(workloads), per)][:most]
    pictures = [
        Picture(numbered(kind, i, len(groups)), f"{alt}: {', '.join(group)}", draw(group, panel, **layout))
        for i, group in enumerate(groups, 1)
    ]
    return Gallery(tuple(pictures), tuple(workloads[per * most :]))


def numbered(kind: str, i: int, of: int) -> str:
    """The name of one of several pictures of a kind; a single one has no number."""
    return f"{kind}-{i}" if of > 1 else kind


def write_pictures(folder: Path, galleries: Iterable[Gallery], *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write pictures into ``figures/`` of a folder, in place of those of the same formats from before. Returns: the files."""
    pictures = [picture for gallery in galleries for picture in gallery.pictures]
    place = folder / "figures"
    wanted = [
        write_whole(place / f"{picture.name}.{kind}", encoded(picture.figure, kind))
        for picture in pictures
        for kind in formats
    ]
    for old in {old for kind in formats for old in place.glob(f"*.{kind}")} - set(wanted):
        old.unlink()
    return wanted
