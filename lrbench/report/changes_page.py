"""What changed, as something to read: Markdown for a pull request with a forest plot beside it, lines for a terminal."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lrbench.analyse import rows, strategy
from lrbench.analyse.changes import (
    BOTH,
    CRASHED,
    CRASHES,
    DIVERGENCE,
    DOUBTFUL,
    GONE,
    LEAST_COST_CHANGE,
    MENDED,
    NEW,
    STEP_COST,
    STEPS,
    VALIDATION,
)
from lrbench.report import text
from lrbench.report.changes import (
    Compared,
    as_json,
    gravest_first,
    nothing_changed,
    provenance,
    summary,
    table_of,
    warnings,
)
from lrbench.report.document import (
    Block,
    Bullets,
    Code,
    Column,
    Figure,
    Fold,
    Paragraph,
    Strong,
    Table,
    Warnings,
    Words,
    caption,
    joined,
    plain,
    prose,
)
from lrbench.report.drawing import COLOURS, ForestRow, draw, forest, write_figures
from lrbench.report.render import markdown
from lrbench.stats.comparison import BETTER, PAIRS_NEEDED, TIED, WORSE
from lrbench.stats.significance import NEGLIGIBLE
from lrbench.store import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT = 60_000
"""The most characters of the Markdown: GitHub takes comments of up to 65,536."""
LABEL = 160
"""The most characters of a name."""
LINES = 40
"""The most lines of each kind on a terminal."""
PAIRS = 8
"""The most pairs of studies that are named one by one."""
KEYS = 5
"""The most keys told of a row: as many as seeds."""
MATTERS = (WORSE, CRASHES, BETTER, MENDED)
"""What is told first, the gravest first."""
FILE = "changes.md"


def as_markdown(compared: Compared, most: int = LIMIT, *, picture: Figure | None = None) -> str:
    """A body for a pull request, of at most ``most`` characters: the gravest first, the rest folded, with a count of what is left out."""
    shown: list[Block] = [picture, caption(FOREST)] if picture else []
    opening = [Paragraph((Strong("lrbench:"), f" {summary(compared)}")), *_origin(compared), *shown]
    return markdown.fitted(opening, _body(compared), most)


def write(compared: Compared, folder: Path) -> Path:
    """Write ``changes.md`` and, where something is better or worse, ``figures/changes.png``. Returns: the path of the former."""
    picture = forest_figure(compared)
    write_figures(folder, [picture] if picture else [])
    return write_whole(folder / FILE, as_markdown(compared, picture=picture))


def _origin(compared: Compared) -> list[Block]:
    sides = prose("From {} to {}.", code(compared.base), code(compared.head))
    lines: list[Words] = [sides, *(f"{_clipped(provenance(found), 400)}." for found in compared.found[:PAIRS])]
    if (more := len(compared.found) - PAIRS) > 0:
        lines.append(f"And {text.count(more, 'more pair')} of studies.")
    return [Bullets(lines)]


def _body(compared: Compared) -> list[Block]:
    measures = table_of(compared, "measures")
    changed = gravest_first(measures, MATTERS)
    others = gravest_first(measures, (DOUBTFUL, TIED))
    single = table_of(compared, "cells")
    at_lrs = gravest_first(single, (WORSE, BETTER))
    tied = int((single.verdict == TIED).sum())
    at_lrs_title = f"At single lrs, {len(single):,} compared, {tied:,} statistically tied, better or worse"
    with_keys = changed[changed.head_keys != ""]
    body: list[Block] = [
        changed_table(compared),
        Warnings([_clipped(line, 500) for line in warnings(compared)]),
        _folded("New", Table("new", _on_one_side(compared, "head"), _of_state(compared, NEW), rest=REST)),
        _folded("Gone", Table("gone", _on_one_side(compared, "base"), _of_state(compared, GONE), rest=REST)),
        _folded(
            "The best lr moved",
            Table("moved", [*_named(compared), _lr(lr_told)], list(rows(moved(compared))), rest=REST),
        ),
        _folded(
            at_lrs_title, Table("at-lrs", [*_columns(compared, _own_lr), _diverged], list(rows(at_lrs)), rest=REST)
        ),
        _folded("Measures statistically tied", Table("tied", _columns(compared), list(rows(others)), rest=REST)),
        _folded("Runs under what changed", Table("runs", _with_runs(compared), list(rows(with_keys)), rest=REST)),
    ]
    reading = [Paragraph(prose(part)) for part in HOW_TO_READ] + [Bullets([prose(line) for line in MEASURES])]
    if not nothing_changed(compared):
        body.append(Fold("How to read this", reading))
    return body


REST = "rows are left out"


def changed_table(compared: Compared, most: int | None = None) -> "Table[Any]":
    """What became better or worse, the gravest first."""
    changed = gravest_first(table_of(compared, "measures"), MATTERS)
    return Table("changes", _columns(compared), list(rows(changed)), most, rest=REST)


def _folded(title: str, table: "Table[Any]") -> Fold:
    """A folded table with its number of rows in the title; nothing without any."""
    return Fold(f"{title}: {len(table.rows):,}", [table] if table.rows else [])


def _clipped(words: str, most: int = LABEL) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def code(label: str) -> Code:
    """A name as it is typed, shortened where it is very long."""
    return Code(_clipped(label.replace("`", "'")))


# ---- columns


def _named(compared: Compared) -> list[Column[Any]]:
    study: Column[Any] = Column("Study", lambda row: code(compared.found[row.pair].name))
    return [
        *([study] if len(compared.found) > 1 else []),
        Column("Workload", lambda row: code(row.workload)),
        Column("Strategy", lambda row: code(strategy(row))),
    ]


def _lr(show: Callable[[Any], str]) -> Column[Any]:
    return Column("lr", show)


def _own_lr(row: Any) -> str:
    return text.lr(row.lr)


_diverged: Column[Any] = Column("Diverged", lambda row: f"{row.base_hits} → {row.head_hits}")


def _columns(compared: Compared, lr: Callable[[Any], str] | None = None) -> list[Column[Any]]:
    """The columns of a table of measures; ``lr`` shows that of a row, by default the best one of its strategy."""
    best = {_at(row): lr_told(row) for row in rows(table_of(compared, "strategies"))}

    def side(title: str, i: int) -> Column[Any]:
        return Column(title, lambda row: told(compared, row)[i])

    return [
        Column("", lambda row: Strong(row.verdict) if row.verdict in (WORSE, CRASHES) else row.verdict),
        *_named(compared),
        Column("Measure", lambda row: row.measure),
        side("Before", 0),
        side("Now", 1),
        side("Change", 2),
        Column("p", lambda row: p_told(row.p)),
        _lr(lr or (lambda row: best.get(_at(row), text.NONE))),
    ]


def _at(row: Any) -> tuple[Any, ...]:
    return (row.pair, row.workload, row.optimizer, row.layer_lr, row.schedule)


def lr_told(row: Any) -> str:
    """The best lr, or the two of them where it moved; *boundary* where a better one may lie beyond the grid."""
    sides = [(row.base_lr, row.base_edge), (row.head_lr, row.head_edge)]
    words = [text.lr(lr) + (" (boundary)" if edge else "") if math.isfinite(lr) else "none" for lr, edge in sides]
    return " → ".join(dict.fromkeys(words))


def p_told(p: float) -> str:
    """A p-value; none where nothing was tested.

    >>> p_told(0.01234), p_told(0.0), p_told(float("nan"))
    ('0.012', '< 0.0001', '-')
    """
    return "< 0.0001" if p < 1e-4 else text.number(p, 2)


def told(compared: Compared, row: Any) -> tuple[str, str, str]:
    """A measure before, now, and its change with the interval."""
    before, runs, now, runs_now = (int(n) for n in (row.base_hits, row.base_runs, row.head_hits, row.head_runs))

    def counted(how: Callable[[float], str]) -> tuple[str, str]:
        return f"{how(row.base)} ({before} of {runs})", f"{how(row.head)} ({now} of {runs_now})"

    def change(how: Callable[[float], str], unit: str) -> str:
        interval = f" [{how(row.low)}, {how(row.high)}]" if math.isfinite(row.low) else ""
        return f"{'+' if row.difference > 0 else ''}{how(row.difference)} {unit}{interval}"

    if row.measure == STEP_COST:
        return text.measure(row.base, text.TIME), text.measure(row.head, text.TIME), text.times(row.head / row.base)
    if row.measure == CRASHED:
        return f"{before} of {runs}", f"{now} of {runs_now}", change(_points, "points")
    if row.measure == STEPS:
        return *counted(text.number), change(text.number, "steps")
    if row.measure == DIVERGENCE:
        return *counted(text.share), change(_points, "points")
    metric = compared.found[row.pair].metric(row.workload)
    return (
        metric.show(row.base),
        metric.show(row.head),
        metric.gain(row.difference) + metric.interval(row.low, row.high),
    )


def _points(share: float) -> str:
    return text.number(round(100 * share, 1))


def _of_state(compared: Compared, state: str) -> list[Any]:
    table = table_of(compared, "strategies")
    order = ["pair", "workload", "optimizer", "layer_lr", "schedule"]
    return list(rows(table[table.state == state].sort_values(order)))


def _on_one_side(compared: Compared, side: str) -> list[Column[Any]]:
    return [
        *_named(compared),
        Column("Best lr", lambda row: text.lr(getattr(row, f"{side}_lr"))),
        Column("Runs", lambda row: str(getattr(row, f"{side}_runs"))),
        Column("Crashed", lambda row: str(getattr(row, f"{side}_crashed"))),
        Column("Why not on the other side", lambda row: code(row.reason) if row.reason else text.NONE),
    ]


def moved(compared: Compared) -> pd.DataFrame:
    """The strategies whose best lr is another one now, or is none where there was one."""
    table = table_of(compared, "strategies")
    other = (table.base_lr != table.head_lr) & ~(table.base_lr.isna() & table.head_lr.isna())
    order = ["pair", "workload", "optimizer", "layer_lr", "schedule"]
    return table[(table.state == BOTH) & other].sort_values(order, ignore_index=True)


def _with_runs(compared: Compared) -> list[Column[Any]]:
    return [
        *_named(compared),
        Column("Measure", lambda row: row.measure),
        Column("Runs before", lambda row: keys_told(row.base_keys)),
        Column("Runs now", lambda row: keys_told(row.head_keys)),
    ]


def keys_told(keys: str) -> Words:
    """Keys as they are typed, the first ``KEYS`` of them.

    >>> keys_told("a1 b2")
    ((Code(text='a1'), ' ', Code(text='b2')), '')
    """
    each = keys.split()
    return joined(map(Code, each[:KEYS]), " "), f" and {len(each) - KEYS} more" if len(each) > KEYS else ""


# ---- how to read it

HOW_TO_READ = [
    "Strategies are counted once for each workload. Each side is taken at its own best lr, chosen on validation; the column "
    "*lr* shows both where it moved. Numbers are means over the seeds compared, with a 95 % interval (t distribution) of the "
    "change. Seeds that both sides have are compared pair by pair (paired t-test), others as two samples (Welch). *Better* and "
    f"*worse* need both an effect and a test: a mean change beyond {NEGLIGIBLE:g} of the metric's scale, of one evaluation interval "
    f"for steps, of {100 * NEGLIGIBLE:g} points for divergence; and p < 0.05 after Holm's correction over all measures of a "
    f"workload. Anything else is *statistically tied*, as is everything with fewer than {PAIRS_NEEDED} seeds. *Unchanged* are runs "
    "with the same key and the same outcome to the bit. `lrbench show KEY` tells a run's whole story; `lrbench compare "
    "--format json` names the runs under every row."
]
MEASURES = [
    f"{VALIDATION}: the final validation result; a diverged run counts as the untrained model.",
    f"{STEPS}: in brackets the runs that reach it; one that does not counts with its whole budget, which it is known to need.",
    f"{DIVERGENCE}: share of the runs, over the lrs that both sides have, and over the seeds where they share {PAIRS_NEEDED} or more.",
    f"{CRASHED}: share of the runs, over the lrs and seeds that both sides have, else over all; not tested. What else a "
    "strategy trained is compared.",
    f"{STEP_COST}: medians from the same machine, averaged over the budget; told apart where they differ by "
    f"{100 * LEAST_COST_CHANGE:g} % and their quartiles do not overlap.",
]


# ---- the picture

ROWS = 20
"""The most rows of the picture."""
FOREST = (
    "What became better (blue) or worse (orange), each with its 95 % interval, in the unit of its measure; better is to the "
    "right, and the dashed line is no change."
)


def forest_figure(compared: Compared) -> Figure | None:
    """The changes for better or worse, a panel for each measure and unit, the gravest first; None without any."""
    changed = [row for row in rows(gravest_first(table_of(compared, "measures"), MATTERS)) if math.isfinite(row.low)]
    panels: dict[str, list[ForestRow]] = {}
    for row in changed[:ROWS]:
        unit, better, scale = _axis(compared, row)
        low, high = sorted(better * scale * x for x in (row.low, row.high))
        colour = COLOURS[0] if row.verdict == BETTER else COLOURS[1]
        label = f"{row.workload}: {strategy(row)}"
        panels.setdefault(unit, []).append(ForestRow(label, better * scale * row.difference, low, high, colour))
    if not panels:
        return None

    def panel(ax: "Axes", unit: str) -> None:
        forest(ax, panels[unit], wrap=48)
        ax.axvline(0.0, color="black", linestyle="--", linewidth=1.0)
        ax.set_title(unit, loc="left", weight="bold")

    tall = 0.7 + 0.34 * max(map(len, panels.values()))
    left_out = f", the gravest {ROWS} of {len(changed)}" if len(changed) > ROWS else ""
    alt = f"What became better or worse{left_out}: {summary(compared)}"
    return Figure("changes", alt, partial(draw, list(panels), panel, columns=1, size=(8.1, tall)))


def _axis(compared: Compared, row: Any) -> tuple[str, int, float]:
    """The title of a row's panel, the sign that turns better to the right, and the scale of its unit."""
    metric = compared.found[row.pair].metric(row.workload)
    if row.measure == VALIDATION:
        unit = f"gain of validation {metric.name}" + (", points" if metric.percent else "")
        return unit, 1 if metric.higher_is_better else -1, metric.scale
    if row.measure == STEPS:
        return "steps to target saved", -1, 1.0
    if row.measure == STEP_COST:
        return "time of a step saved, µs", -1, 1e6
    return f"share of runs that {'crashed' if row.measure == CRASHED else 'diverged'}, points less", -1, 100.0


# ---- a terminal


def as_text(compared: Compared) -> str:
    """Lines for a terminal."""
    lr = {_at(row): lr_told(row) for row in rows(table_of(compared, "strategies"))}
    strategies = table_of(compared, "strategies")

    def line(row: Any) -> str:
        base, head, change = told(compared, row)
        p = "" if math.isnan(row.p) else f", p {p_told(row.p)}"
        where = f"{row.verdict}: {row.workload}: {strategy(row)}: {row.measure}"
        return f"{where} {base} → {head} ({change}{p}; lr {lr.get(_at(row), text.NONE)})"

    def on_one_side(state: str) -> list[str]:
        reasons = (
            (row, f" ({row.reason})" if row.reason else "") for row in rows(strategies[strategies.state == state])
        )
        return [f"{state}: {row.workload}: {strategy(row)}{why}" for row, why in reasons]

    cells = table_of(compared, "cells")
    apart = int(cells.verdict.isin([WORSE, BETTER]).sum())
    single = f"at single lrs: {apart:,} of {len(cells):,} better or worse (--format md or json lists them)"
    parts = [
        [summary(compared)],
        [f"from {compared.base} to {compared.head}", *map(provenance, compared.found)],
        [line(row) for row in rows(gravest_first(table_of(compared, "measures"), MATTERS))],
        *(on_one_side(state) for state in (GONE, NEW)),
        [f"best lr moved: {row.workload}: {strategy(row)}: {lr_told(row)}" for row in rows(moved(compared))],
        [single] if apart else [],
        [f"warning: {plain(line)}" for line in warnings(compared)],
    ]
    return "\n\n".join("\n".join(_shortened(part)) for part in parts if part)


def _shortened(lines: Sequence[str]) -> list[str]:
    return list(lines) if len(lines) <= LINES else [*lines[:LINES], f"... and {len(lines) - LINES:,} more"]


FORMATS: dict[str, Callable[[Compared], str]] = {
    "text": as_text,
    "md": lambda compared: as_markdown(compared).rstrip("\n"),
    "json": lambda compared: json.dumps(as_json(compared), indent=1),
}
"""The ways to tell it, by the names of ``--format``."""
