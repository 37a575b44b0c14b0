"""Marks time the parts of a step, on CUDA without waiting inside it."""

import time

import pytest
import torch

from lrbench.device import Marks
from lrbench.device import timing as module


def test_parts_of_a_step_on_a_cpu(cpu):
    marks = Marks(cpu)
    marks.mark()
    time.sleep(0.02)
    marks.mark()
    marks.mark()
    long, short = marks.seconds()
    assert 0.02 <= long < 5
    assert 0 <= short < long


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_there_is_one_part_fewer_than_marks(cpu, count):
    marks = Marks(cpu)
    for _ in range(count):
        marks.mark()
    assert len(marks.seconds()) == max(count - 1, 0)
    marks.clear()
    assert marks.seconds() == []


@pytest.fixture
def done(monkeypatch):
    """What was done on a fake GPU, whose stream takes 3 ms from event to event."""
    done = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            self.number = sum(what.startswith("record") for what in done)
            done.append(f"record on {stream}")

        def synchronize(self):
            done.append(f"wait for {self.number}")

        def elapsed_time(self, other):
            return 3.0 * (other.number - self.number)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"{device}'s stream")
    return done


def test_events_on_the_devices_stream_are_waited_for_once(done):
    marks = Marks(torch.device("cuda", 1))
    for _ in range(3):
        marks.mark()
    assert marks.seconds() == [0.003, 0.003]
    assert done == ["record on cuda:1's stream"] * 3 + ["wait for 2"]
    marks.clear()
    assert marks.seconds() == []


def test_other_devices_are_waited_for_at_each_mark(monkeypatch):
    waited = []
    monkeypatch.setattr(module, "synchronize", waited.append)
    marks = Marks(torch.device("xpu", 0))
    marks.mark()
    marks.mark()
    assert len(waited) == 2
    assert len(marks.seconds()) == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_gpu():
    device = torch.device("cuda", 0)
    a, marks = torch.randn(2048, 2048, device=device), Marks(device)
    marks.mark()
    a @ a
    marks.mark()
    assert 0 < marks.seconds()[0] < 5
