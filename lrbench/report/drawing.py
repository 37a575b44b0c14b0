"""What all figures share: panels, colours, and bytes that do not change."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
) -> "Figure":
    """A figure with one panel per name, each ``size`` inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, name in zip(axes, names, strict=False):
            panel(ax, name)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
    return figure


def encoded(figure: "Figure", kind: str) -> bytes:
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
