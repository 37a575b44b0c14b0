"""What all figures share: panels, colours, galleries, and bytes that do not change."""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrbench.report.document import Block, Figure, Words, caption
from lrbench.store import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
"""Told apart by colour-blind readers (Okabe and Ito 2008, with a grey and a brown)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
Style = dict[str, Any]
"""How a line is drawn: arguments of ``Axes.plot``."""
BASELINE: Style = {"color": "black", "linestyle": "--", "marker": "o"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "lrbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def draw(
    names: Sequence[str], panel: Callable[["Axes", str], None], *, columns: int, size: tuple[float, float]
) -> "Drawing":
    """A figure with one panel per name, each ``size`` inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Drawing(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, name in zip(axes, names, strict=False):
            panel(ax, name)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
    return figure


def picture(figure: Figure, kind: str = "png") -> bytes:
    """A figure, drawn, as the bytes of a file."""
    return encoded(figure.draw(), kind)


def encoded(figure: "Drawing", kind: str) -> bytes:
    """The figure as ``png``, ``svg`` or ``pdf``, on white, so that it reads in dark mode too; the same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # a name in letters that the font lacks: the tables have it
        quick: dict[str, Any] = {"pil_kwargs": {"compress_level": 0}} if kind == "png" else {}  # it is encoded anew
        figure.savefig(buffer, format=kind, dpi=110, facecolor="white", metadata=UNDATED[kind], **quick)
    return _small(buffer) if kind == "png" else buffer.getvalue()


def _small(png: io.BytesIO) -> bytes:
    """The picture in 256 colours of its own choice: a third of the bytes, and no difference to the eye for lines, bars and cells."""
    from PIL import Image

    few = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, "png", compress_level=9)
    return buffer.getvalue()


UNDATED: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""For each format, what would make the bytes of one figure differ from day to day, left out."""


def line_style(rank: int) -> Style:
    """The colour and marker of the line with this rank; after eight they come again."""
    return {"color": COLOURS[rank % len(COLOURS)], "marker": MARKERS[rank % len(MARKERS)]}


# ---- forest plots


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot: what it is of, the value with its 95 % interval (NaN where there is none), and its colour."""

    label: str
    value: float
    low: float
    high: float
    colour: str = COLOURS[0]


def forest(ax: "Axes", rows: Sequence[ForestRow], *, better_is_less: bool = False, wrap: int = 44) -> None:
    """Points with their intervals, the first row on top; better is always to the right."""
    for y, row in enumerate(rows):
        if math.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=row.colour, linewidth=2.2, solid_capstyle="butt")
        ax.plot([row.value], [y], "o", color=row.colour, markersize=6)
    ax.set_yticks(range(len(rows)), [broken(row.label, wrap) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    if better_is_less:
        ax.invert_xaxis()


def broken(label: str, width: int) -> str:
    """A label over several lines."""
    return "\n".join(textwrap.wrap(label, width, break_long_words=False, break_on_hyphens=False))


# ---- galleries

PER_FIGURE = 4
"""Workloads in one figure."""
MOST_FIGURES = 3
"""The most figures of one kind, so that a report has no more than 25 images."""


@dataclass(frozen=True)
class Gallery:
    """The figures of one kind, and the workloads for which there was no room."""

    figures: tuple[Figure, ...] = ()
    left_out: tuple[str, ...] = ()

    def blocks(self, text: str, **named: Words) -> list[Block]:
        """The figures and, in italics, what to see in them; nothing without any."""
        if not self.figures:
            return []
        more = f" Not drawn: {', '.join(self.left_out)}." if self.left_out else ""
        return [*self.figures, caption(text + "{more}", more=more, **named)]


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
    """The figures of one kind: a panel per workload, several in each figure, ``layout`` as ``draw`` takes it."""
    per, most = per_figure or PER_FIGURE, most or MOST_FIGURES
    groups = [workloads[i : i + per] for i in range(0, len(workloads), per)][:most]
    figures = [
        Figure(numbered(kind, i, len(groups)), f"{alt}: {', '.join(group)}", partial(draw, group, panel, **layout))
        for i, group in enumerate(groups, 1)
    ]
    return Gallery(tuple(figures), tuple(workloads[per * most :]))


def numbered(kind: str, i: int, of: int) -> str:
    """The name of one of several figures of a kind; a single one has no number."""
    return f"{kind}-{i}" if of > 1 else kind


def write_figures(folder: Path, figures: Iterable[Figure], *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw figures into ``figures/`` of a folder, in place of those of the same formats from before. Returns: the files."""
    place = folder / "figures"
    written = []
    for figure in figures:
        written += [write_whole(place / f"{figure.name}.{kind}", picture(figure, kind)) for kind in formats]
    for old in {old for kind in formats for old in place.glob(f"*.{kind}")} - set(written):
        old.unlink()
    return written
