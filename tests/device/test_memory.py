"""Peak memory of a step, held to what the step is seen to allocate."""

from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrbench.device import extra_memory
from lrbench.device.memory import peak, peak_memory, reset_peak_memory, step_memory

MB = 1_000_000
SLACK = 1024
"""Bytes for what a scalar or two take."""


def megabyte():
    return torch.empty(MB, dtype=torch.uint8)


def test_two_of_three_megabytes_at_once():
    def function():
        one, two = megabyte(), megabyte()
        del one
        three = megabyte()
        return two, three

    assert abs(step_memory(function) - 2 * MB) <= SLACK


def test_work_in_place_takes_nothing():
    held = torch.ones(1000)
    assert step_memory(lambda: held.mul_(2).add_(1)) <= SLACK


def test_what_was_there_before_is_not_counted():
    held = megabyte()
    assert step_memory(lambda: held) == 0


def test_what_takes_the_place_of_the_last_steps_needs_a_warm_up():
    held = []

    def step():
        held.clear()
        held.append(megabyte())

    assert step_memory(step) == MB
    assert step_memory(step, warm_up=1) == 0
    assert step_memory(megabyte, warm_up=2) == MB


def test_memory_inside_an_operator_counts():
    x = torch.ones(1000)
    assert step_memory(lambda: ((x + 1).sum() > 0) and None) >= 4000


def test_a_backward_pass_counts():
    layer, x = torch.nn.Linear(500, 500, bias=False), torch.ones(10, 500)
    assert step_memory(lambda: layer(x).sum().backward()) >= layer.weight.nbytes
    assert layer.weight.grad is not None


def test_an_error_is_the_functions_and_the_next_call_works():
    with pytest.raises(ZeroDivisionError):
        step_memory(lambda: 1 / 0)
    assert step_memory(megabyte) == MB


def test_new_gradients_in_the_place_of_old_ones_are_nothing_extra(cpu):
    layer, x = torch.nn.Linear(500, 500, bias=False), torch.ones(10, 500)

    def step():
        layer.zero_grad()
        layer(x).sum().backward()

    step()
    assert extra_memory(step, cpu) <= 2 * x.nbytes + SLACK


@given(st.lists(st.integers(-100, 100)))
def test_the_peak_is_the_highest_sum_or_nothing(changes):
    assert peak(changes) == max([0, *accumulate(changes)])


def test_no_one_counts_the_peak_on_a_cpu(cpu):
    reset_peak_memory(cpu)
    assert peak_memory(cpu) is None


def test_cuda_counts_its_own(monkeypatch):
    held = {"peak": 5000}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: held.update(peak=1000))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: held["peak"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1000)
    device = torch.device("cuda", 0)
    assert peak_memory(device) == 5000
    reset_peak_memory(device)
    assert peak_memory(device) == 1000
    assert extra_memory(lambda: held.update(peak=1700), device) == 700


def test_elsewhere_no_one_counts():
    assert extra_memory(lambda: None, torch.device("xpu", 0)) is None
    assert peak_memory(torch.device("xpu", 0)) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_gpu():
    device = torch.device("cuda", 0)
    assert abs(extra_memory(lambda: torch.empty(MB, dtype=torch.uint8, device=device), device) - MB) < MB / 10
