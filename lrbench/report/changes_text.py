"""What changed, as something to read: Markdown for a pull request, lines for a terminal."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from lrbench.analyse import rows, strategy
from lrbench.analyse.changes import (
    BETTER,
    BOTH,
    CRASHED,
    CRASHES,
    DIVERGENCE,
    DOUBTFUL,
    GONE,
    MENDED,
    NEW,
    NOT_SEPARATED,
    STEP_COST,
    STEP_MARGIN,
    STEPS,
    VALIDATION,
    WORSE,
)
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.changes import (
    Compared,
    Found,
    as_json,
    gravest_first,
    nothing_changed,
    provenance,
    summary,
    table_of,
    warnings,
)
from lrbench.stats.comparison import FEWEST
from lrbench.stats.significance import MARGIN

LIMIT = 60_000
"""The most characters of the Markdown: GitHub takes comments of up to 65,536."""
LABEL = 160
"""The most characters of a name."""
LINES = 40
"""The most lines of each kind on a terminal."""
MATTERS = (WORSE, CRASHES, BETTER, MENDED)

Cells = list[str]


def as_markdown(compared: Compared, most: int = LIMIT) -> str:
    """A body for a pull request, of at most ``most`` characters: the gravest first, the rest folded, and a count of what is left out."""
    head = "\n\n".join([_title(compared), _origin(compared)])
    told = [head]
    sections = [_matters, _warned, _new, _gone, _moved, _cells, _others, _runs, _how_to_read]
    room = most - len(head) - 1
    for left, section in zip(range(len(sections), 0, -1), sections, strict=True):
        share = room // 2 if section is _matters else room // left
        block = section(compared, share - 2)
        if block:
            told.append(block)
            room -= len(block) + 2
    return "\n\n".join(told) + "\n"


def _title(compared: Compared) -> str:
    return f"**lrbench:** {summary(compared)}"


def _origin(compared: Compared) -> str:
    lines = [f"From {code(compared.base)} to {code(compared.head)}."]
    lines += [md.plain(_clipped(provenance(found), 400)) + "." for found in compared.found[:SHOWN]]
    more = len(compared.found) - SHOWN
    return "<br>\n".join(lines + ([f"And {text.count(more, 'more pair')} of studies."] if more > 0 else []))


SHOWN = 8


def _clipped(words: str, most: int = LABEL) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def code(label: str) -> str:
    """A name as it is typed, shortened where it is very long."""
    return md.code(_clipped(label.replace("`", "'")))


def _changed(compared: Compared) -> pd.DataFrame:
    """The measures that changed for better or worse, the gravest first."""
    return gravest_first(table_of(compared, "measures"), MATTERS)


def _matters(compared: Compared, room: int) -> str:
    table = _changed(compared)
    return _table(compared, table, room, lead="verdict") if len(table) else ""


HEADER = ["Workload", "Strategy", "Measure", "Before", "Now", "Change", "p", "lr"]


def _table(compared: Compared, table: pd.DataFrame, room: int, *, lead: str = "") -> str:
    """Rows of ``measures``, as many as there is room for."""
    lr = _lrs(compared)
    several = len(compared.found) > 1
    header = [*([" "] if lead else []), *(["Study"] if several else []), *HEADER]
    lines = (
        [
            *([_loud(row.verdict)] if lead else []),
            *([code(compared.found[row.pair].name)] if several else []),
            *(
                cell if i != LR else lr.get(_at(row), text.NONE)
                for i, cell in enumerate(_row(compared.found[row.pair], row))
            ),
        ]
        for row in rows(table)
    )
    return _fitted(header, lines, len(table), room)


LR = HEADER.index("lr")


def _loud(verdict: str) -> str:
    return f"**{verdict}**" if verdict in (WORSE, CRASHES) else verdict


def _at(row: Any) -> tuple[Any, ...]:
    return (row.pair, row.workload, row.optimizer, row.layer_lr, row.schedule)


def _lrs(compared: Compared) -> dict[tuple[Any, ...], str]:
    """The best lr of each strategy, before and now."""
    return {_at(row): lr_told(row) for row in rows(table_of(compared, "strategies"))}


def lr_told(row: Any) -> str:
    """The best lr, or the two of them where it moved; *edge* where a better one may lie beyond the grid."""
    sides = [(row.base_lr, row.base_edge), (row.head_lr, row.head_edge)]
    words = [text.lr(lr) + (" (edge)" if edge else "") if math.isfinite(lr) else "none" for lr, edge in sides]
    return " → ".join(dict.fromkeys(words))


def _row(found: Found, row: Any) -> Cells:
    base, head, change = told(found, row)
    names = [code(row.workload), code(strategy(row))]
    return [*names, row.measure, base, head, change, p_told(row.p), text.lr(row.lr) if hasattr(row, "lr") else ""]


def p_told(p: float) -> str:
    """A p-value; none where nothing was tested.

    >>> p_told(0.01234), p_told(0.0), p_told(float("nan"))
    ('0.012', '< 0.0001', '-')
    """
    return "< 0.0001" if p < 1e-4 else text.number(p, 2)


def told(found: Found, row: Any) -> tuple[str, str, str]:
    """A measure before, now, and its change with the interval."""
    if row.measure == STEP_COST:
        return text.measure(row.base, text.TIME), text.measure(row.head, text.TIME), text.times(row.head / row.base)
    if row.measure == CRASHED:
        (crashed, runs), (crash, now) = _counted(row)
        return f"{crashed} of {runs}", f"{crash} of {now}", _signed(row, _points) + " points"
    if row.measure == STEPS:
        base, head = _with_counts(row, text.number)
        return base, head, _signed(row, text.number) + " steps" + _interval(row, text.number)
    if row.measure == DIVERGENCE:
        base, head = _with_counts(row, text.share)
        return base, head, _signed(row, _points) + " points" + _interval(row, _points)
    metric = found.metric(row.workload)
    return (
        metric.show(row.base),
        metric.show(row.head),
        metric.gain(row.difference) + metric.interval(row.low, row.high),
    )


def _counted(row: Any) -> list[tuple[int, int]]:
    return [(int(row.base_hits), int(row.base_runs)), (int(row.head_hits), int(row.head_runs))]


def _with_counts(row: Any, how: Callable[[float], str]) -> tuple[str, str]:
    (base_hits, base_runs), (head_hits, head_runs) = _counted(row)
    return f"{how(row.base)} ({base_hits} of {base_runs})", f"{how(row.head)} ({head_hits} of {head_runs})"


def _points(share: float) -> str:
    return text.number(round(100 * share, 1))


def _signed(row: Any, how: Callable[[float], str]) -> str:
    return ("+" if row.difference > 0 else "") + how(row.difference)


def _interval(row: Any, how: Callable[[float], str]) -> str:
    return f" [{how(row.low)}, {how(row.high)}]" if math.isfinite(row.low) else ""


def _fitted(header: Sequence[str], lines: Iterable[Cells], total: int, room: int) -> str:
    """A table of no more than ``room`` characters, and how many rows did not fit."""
    kept: list[Cells] = []
    used = len(md.table(header, [])) + len(_left_out(total))
    for line in lines:
        used += len(md.table(line, [])) - len(md.table(line, []).partition("\n")[2])
        if used > room:
            break
        kept.append(line)
    if not kept:
        return _left_out(total).strip()
    return md.table(header, kept) + (_left_out(total - len(kept)) if len(kept) < total else "")


def _left_out(n: int) -> str:
    return f"\n\n*{text.count(n, 'row')} left out.*"


def _folded(title: str, n: int, room: int, body: Callable[[int], str]) -> str:
    """A folded section with its number of entries; nothing without any."""
    heading = f"{title}: {n:,}"
    return md.details(heading, body(room - len(md.details(heading, "")))) if n else ""


def _warned(compared: Compared, room: int) -> str:
    lines = [f"> - {md.plain(_clipped(line, 500))}" for line in warnings(compared)]
    kept: list[str] = []
    for line in lines:
        if sum(map(len, kept)) + len(kept) + len(line) > room - 100:
            kept.append(f"> - {len(lines) - len(kept):,} more.")
            break
        kept.append(line)
    return "\n".join(["> **Mind**", ">", *kept]) if kept else ""


NAMED = ["Study", "Workload", "Strategy"]


def _named(compared: Compared, row: Any) -> Cells:
    return [code(compared.found[row.pair].name), code(row.workload), code(strategy(row))]


def _on_one_side(compared: Compared, state: str, room: int) -> str:
    table = table_of(compared, "strategies")
    table = table[table.state == state].sort_values(["pair", "workload", "optimizer", "layer_lr", "schedule"])
    side = "head" if state == NEW else "base"
    lines = (
        [
            *_named(compared, row),
            text.lr(getattr(row, f"{side}_lr")),
            f"{getattr(row, f'{side}_runs')}",
            f"{getattr(row, f'{side}_crashed')}",
            code(row.reason) or text.NONE,
        ]
        for row in rows(table)
    )
    header = [*NAMED, "Best lr", "Runs", "Crashed", "Why not on the other side"]
    return _folded(state.capitalize(), len(table), room, lambda room: _fitted(header, lines, len(table), room))


def _new(compared: Compared, room: int) -> str:
    return _on_one_side(compared, NEW, room)


def _gone(compared: Compared, room: int) -> str:
    return _on_one_side(compared, GONE, room)


def moved(compared: Compared) -> pd.DataFrame:
    """The strategies whose best lr is another one now, or is none where there was one."""
    table = table_of(compared, "strategies")
    other = (table.base_lr != table.head_lr) & ~(table.base_lr.isna() & table.head_lr.isna())
    return table[(table.state == BOTH) & other].sort_values(
        ["pair", "workload", "optimizer", "layer_lr", "schedule"], ignore_index=True
    )


def _moved(compared: Compared, room: int) -> str:
    table = moved(compared)
    lines = ([*_named(compared, r), lr_told(r)] for r in rows(table))
    header = [*NAMED, "Best lr"]
    return _folded("The best lr moved", len(table), room, lambda room: _fitted(header, lines, len(table), room))


def _cells(compared: Compared, room: int) -> str:
    every = table_of(compared, "cells")
    table = gravest_first(every, (WORSE, BETTER))
    lines = (
        [row.verdict, *_row(compared.found[row.pair], row), f"{row.base_hits} → {row.head_hits}"] for row in rows(table)
    )
    header = ["Verdict", *HEADER, "Diverged"]
    title = f"At single lrs, {len(every):,} compared, {int((every.verdict == NOT_SEPARATED).sum()):,} not separated, better or worse"
    return _folded(title, len(table), room, lambda room: _fitted(header, lines, len(table), room))


def _others(compared: Compared, room: int) -> str:
    table = gravest_first(table_of(compared, "measures"), (DOUBTFUL, NOT_SEPARATED))
    return _folded(
        "Measures not separated", len(table), room, lambda room: _table(compared, table, room, lead="verdict")
    )


KEYS = 5
"""The most keys told of a row: as many as seeds."""


def _runs(compared: Compared, room: int) -> str:
    table = _changed(compared)
    table = table[table.head_keys != ""]
    lines = ([*_named(compared, r), r.measure, keys_told(r.base_keys), keys_told(r.head_keys)] for r in rows(table))
    header = [*NAMED, "Measure", "Runs before", "Runs now"]
    return _folded("Runs under what changed", len(table), room, lambda room: _fitted(header, lines, len(table), room))


def keys_told(keys: str) -> str:
    """Keys as they are typed, the first ``KEYS`` of them.

    >>> keys_told("a1 b2")
    '`a1` `b2`'
    """
    each = keys.split()
    return " ".join(map(md.code, each[:KEYS])) + (f" and {len(each) - KEYS} more" if len(each) > KEYS else "")


def _how_to_read(compared: Compared, room: int) -> str:
    if nothing_changed(compared):
        return ""
    folded = md.details("How to read this", HOW_TO_READ)
    return folded if len(folded) <= room else ""


HOW_TO_READ = f"""\
Strategies are counted once for each workload. Each side is taken at its own best lr, chosen on validation; the column *lr* shows both \
where it moved. Numbers are means over the seeds compared, with a 95 % interval (t distribution) of the change. Seeds that both sides have \
are compared pair by pair (paired t-test), others as two samples (Welch). *Better* and *worse* need both an effect and a test: a mean \
change beyond {MARGIN:g} of the metric's scale, of one evaluation interval for steps, of {100 * MARGIN:g} points for divergence; and \
p < 0.05 after Holm's correction over all measures of a workload. With fewer than {FEWEST} seeds nothing is separated. *Unchanged* \
are runs with the same key and the same outcome to the bit. `lrbench show KEY` tells a run's whole story; `lrbench compare --format json` \
names the runs under every row.

- {VALIDATION}: the final validation result; a diverged run counts as the untrained model.
- {STEPS}: in brackets the runs that reach it; one that does not counts with its whole budget, which it is known to need.
- {DIVERGENCE}: share of the runs, over the lrs that both sides have, and over the seeds where they share {FEWEST} or more.
- {CRASHED}: share of the runs, over the lrs and seeds that both sides have, else over all; not tested. What else a strategy trained is \
compared.
- {STEP_COST}: medians from the same machine, averaged over the budget; told apart where they differ by {100 * STEP_MARGIN:g} % and their \
quartiles do not overlap."""


def as_text(compared: Compared) -> str:
    """Lines for a terminal."""
    table, lr = _changed(compared), _lrs(compared)
    blocks = [[summary(compared)], [f"from {compared.base} to {compared.head}", *map(provenance, compared.found)]]
    blocks.append([_line(compared, row, lr) for row in rows(table)])
    strategies = table_of(compared, "strategies")
    blocks += [
        [f"{state}: {row.workload}: {strategy(row)}{_why(row)}" for row in rows(strategies[strategies.state == state])]
        for state in (GONE, NEW)
    ]
    blocks.append([f"best lr moved: {row.workload}: {strategy(row)}: {lr_told(row)}" for row in rows(moved(compared))])
    cells = table_of(compared, "cells")
    if apart := int(cells.verdict.isin([WORSE, BETTER]).sum()):
        blocks.append([f"at single lrs: {apart:,} of {len(cells):,} better or worse (--format md or json lists them)"])
    blocks.append([f"mind: {line}" for line in warnings(compared)])
    return "\n\n".join("\n".join(_shortened(block)) for block in blocks if block)


def _line(compared: Compared, row: Any, lr: dict[tuple[Any, ...], str]) -> str:
    base, head, change = told(compared.found[row.pair], row)
    p = "" if math.isnan(row.p) else f", p {p_told(row.p)}"
    return f"{row.verdict}: {row.workload}: {strategy(row)}: {row.measure} {base} → {head} ({change}{p}; lr {lr.get(_at(row), text.NONE)})"


def _why(row: Any) -> str:
    return f" ({row.reason})" if row.reason else ""


def _shortened(lines: list[str]) -> list[str]:
    return lines if len(lines) <= LINES else [*lines[:LINES], f"... and {len(lines) - LINES:,} more"]


FORMATS: dict[str, Callable[[Compared], str]] = {
    "text": as_text,
    "md": lambda compared: as_markdown(compared).rstrip("\n"),
    "json": lambda compared: json.dumps(as_json(compared), indent=1),
}
"""The ways to tell it, by the names of ``--format``."""
