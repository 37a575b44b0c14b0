"""Pictures that cost nothing, for tests of what a report tells beside them."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import lrbench.report
from lrbench.report.drawing import draw, encoded

DRAWING = {"draw": draw, "encoded": encoded}
"""The two functions that take nearly all the time of a report."""


@dataclass(frozen=True)
class Blank:
    """What stands for a figure: the names of its panels. Nothing is in them."""

    panels: tuple[str, ...]


def blank(names: Sequence[str], _: Callable[..., None], **layout: Any) -> Blank:
    """Stands for ``drawing.draw``: no panel is drawn."""
    assert names
    assert set(layout) == {"columns", "size"}
    return Blank(tuple(names))


def named(figure: Blank, kind: str) -> bytes:
    """Stands for ``drawing.encoded``: the names of the panels, which nobody takes for a picture."""
    return f"{kind} of {figure.panels}".encode()


@contextmanager
def not_drawn() -> Iterator[None]:
    """Reports have as many pictures as ever, with the same names and words. Nothing is drawn in them."""
    with using({"draw": blank, "encoded": named}):
        yield


@contextmanager
def using(functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Wherever ``lrbench.report`` draws, these functions do it."""
    names = [module.name for module in pkgutil.iter_modules(lrbench.report.__path__)]
    modules = [importlib.import_module(f"lrbench.report.{name}") for name in names]
    with pytest.MonkeyPatch.context() as patch:
        for name, function in functions.items():
            for module in modules:
                if hasattr(module, name):
                    patch.setattr(module, name, function)
        yield
