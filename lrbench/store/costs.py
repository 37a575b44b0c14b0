"""Step costs on disk: ``costs.json`` beside the runs, one line per case, sorted."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from lrbench.config.cost import Costs, Peak, StepCost, TimedRun
from lrbench.store.files import write_whole

FILE = "costs.json"
SCHEMA = 1
Kind = TypeVar("Kind", StepCost, TimedRun, Peak)


def write_costs(folder: Path, costs: Costs) -> Path:
    """Write the costs of a study whole, in place of earlier ones."""
    parts = {"costs": costs.costs, "timed": costs.timed, "peaks": costs.peaks}
    lines = [f' "schema": {SCHEMA}', f' "conditions": {json.dumps(costs.conditions, sort_keys=True)}']
    lines += [f' "{name}": {_list(values)}' for name, values in parts.items()]
    return write_whole(folder / FILE, "{\n" + ",\n".join(lines) + "\n}\n")


def _list(values: Iterable[Any]) -> str:
    """A JSON array with one sorted line per value, and numbers to six significant digits.

    So a change of one value changes one line.
    """
    lines = sorted(json.dumps(_rounded(asdict(value))) for value in values)
    return "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else "[]"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(v) for name, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_costs(folder: Path) -> Costs:
    """The costs of a study; empty where nothing was measured.

    Raises: ValueError, LookupError or TypeError when the file is damaged or newer than this lrbench.
    """
    if not (folder / FILE).is_file():
        return Costs()
    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if values["schema"] > SCHEMA:
        raise ValueError(
            f"{FILE} has schema {values['schema']}, and this lrbench reads up to {SCHEMA}: upgrade lrbench"
        )
    return Costs(
        costs=tuple(_made(StepCost, v) for v in values["costs"]),
        timed=tuple(_made(TimedRun, v) for v in values["timed"]),
        peaks=tuple(_made(Peak, v) for v in values["peaks"]),
        conditions=values["conditions"],
    )


def _made(kind: type[Kind], values: dict[str, Any]) -> Kind:
    """A record from JSON, with tuples in place of lists."""
    known = {field.name for field in fields(kind)}
    if unknown := values.keys() - known:
        raise ValueError(f"{FILE}: unknown {sorted(unknown)}")
    return kind(**{name: _tuple(value) for name, value in values.items()})


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
