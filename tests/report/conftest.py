"""Reports are written without pictures here, save where a test or a fixture asks for ``drawn``."""

import pictures
import pytest

from lrbench.report.drawing import picture


@pytest.fixture(autouse=True, scope="module")
def _not_drawn():
    with pictures.not_drawn():
        yield


@pytest.fixture
def drawn():
    """Pictures are drawn as they are for a reader."""
    with pictures.using(picture=picture):
        yield
