import gc
import os
import sys

import hypothesis
import pytest
import torch

from lrbench.cost import Bench
from lrbench.device import Telemetry, use_threads

os.environ.setdefault(
    "TORCHINDUCTOR_VEC_ISA_OK", "1"
)  # else PyTorch compiles a program for each kind of vectors first: 20 seconds

hypothesis.settings.register_profile("all", deadline=None, max_examples=100)  # a busy machine is no failure
hypothesis.settings.register_profile("some", deadline=None, max_examples=25)


def pytest_configure(config):
    """A property is tried with a quarter of the examples where the exhaustive tests are left out."""
    hypothesis.settings.load_profile("some" if config.option.markexpr == "not exhaustive" else "all")


def pytest_collection_modifyitems(items):
    """Long tests begin first, so that the workers of a parallel run end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not look at it again and again, which takes a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread():
    use_threads(1)


@pytest.fixture
def cpu():
    return torch.device("cpu")


@pytest.fixture
def quick_turns(monkeypatch):
    """Costs are measured without processes of their own, which ``tests/cost`` looks after, and beside a peak that is made up."""
    monkeypatch.setattr("lrbench.cost.study.matmul_peak", lambda *_: (1e11, 256))
    monkeypatch.setattr("lrbench.execute.costs.turns_on", lambda device, **_: Bench(device, Telemetry(device)).turn)


@pytest.fixture
def no_pictures(monkeypatch):
    """Reports have all their text, and their picture files are empty: ``tests/report`` looks after the pictures."""
    monkeypatch.setattr("lrbench.report.drawing.picture", lambda *_: b"")


@pytest.fixture
def two_visits(monkeypatch):
    """No step is visited again: other tests that run meanwhile would unsettle it anyway."""
    monkeypatch.setattr(sys.modules["lrbench.cost.measure"], "REPEATS", 0)
