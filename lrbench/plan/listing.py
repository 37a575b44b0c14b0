"""The catalogs for people: what a matrix can name."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrbench.config.faults import BadInput, closest
from lrbench.plan.vocabulary import load_plugins, vocabulary
from lrbench.workloads import Workload


def entries(what: str, plugins: Sequence[Path] = ()) -> dict[str, list[dict[str, Any]]]:
    """The entries of one axis, or the one of that name, or all when ``what`` is empty, as plain values.

    Raises: BadInput when there is neither such an axis nor such an entry.
    """
    load_plugins(plugins)
    words = vocabulary()
    named = [name for catalog in words.values() for name in catalog]
    if what and what not in words and what not in named:
        raise BadInput(
            f"list {what}: there is no such kind or entry. {closest(what, [*words, *named])}Kinds: {', '.join(words)}; "
            f"`lrbench list` shows all entries."
        )
    found = {
        axis: [_facts(entry) for entry in words[axis].values() if what in ("", axis, entry.name)] for axis in words
    }
    return {axis: items for axis, items in found.items() if items}


def _facts(entry: Any) -> dict[str, Any]:
    common = {"name": entry.name, "meaning": entry.meaning, "source": entry.source}
    if isinstance(entry, Workload):
        settings = {
            "steps": entry.steps,
            "batch_size": entry.batch_size,
            "eval_every": entry.eval_every,
            "target": entry.target,
        }
        rest = {
            "metric": entry.metric.name,
            "layers": list(entry.layers),
            "licence": entry.licence,
            "missing": entry.missing(),
        }
        return common | {"settings": settings} | rest
    required = {name: "required" for name, f in entry.settings.model_fields.items() if f.is_required()}
    settings = required | entry.listed() | entry.defaults()
    return common | {"settings": settings, "flags": sorted(entry.flags)}


def text(found: dict[str, list[dict[str, Any]]]) -> str:
    """The entries to read, under the name of their axis."""
    return "\n\n".join(
        "\n".join([axis, *(line for entry in items for line in _lines(entry))]) for axis, items in found.items()
    )


def _lines(entry: dict[str, Any]) -> list[str]:
    rest = {k: v for k, v in entry.items() if k not in ("name", "meaning", "source", "settings") and v}
    settings = ", ".join(f"{name}={_plain(value)}" for name, value in entry["settings"].items())
    lines = [f"  {entry['name']}"]
    lines += textwrap.wrap(entry["meaning"], 110, initial_indent="      ", subsequent_indent="      ")
    lines += textwrap.wrap(settings, 110, initial_indent="      ", subsequent_indent="        ") if settings else []
    lines += [f"      {name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in rest.items()]
    return [*lines, f"      source: {entry['source']}"]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
