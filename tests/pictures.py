"""Pictures that cost nothing, for tests of what a report tells beside them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lrbench.report import drawing
from lrbench.report.document import Figure


def named(figure: Figure, kind: str = "png") -> bytes:
    """Stands for ``drawing.picture``: what the figure shows, which nobody takes for a picture."""
    return f"{kind} of {figure.name}: {figure.alt}".encode()


@contextmanager
def not_drawn() -> Iterator[None]:
    """Reports have as many pictures as ever, with the same names and words. Nothing is drawn in them."""
    with using(picture=named):
        yield


@contextmanager
def using(**functions: Callable[..., bytes]) -> Iterator[None]:
    """``lrbench.report.drawing`` with other functions in the place of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, function in functions.items():
            patch.setattr(drawing, name, function)
        yield
