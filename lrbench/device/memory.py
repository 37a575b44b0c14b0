"""The most memory that a piece of work takes."""

import os
from collections.abc import Callable, Iterable
from itertools import accumulate, dropwhile

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined] # PyTorch's profiler imports it from here
from torch.profiler import ProfilerActivity, profile, record_function

COUNTED = "lrbench: counted"


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak until now. Without effect where ``peak_memory`` is None."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that tensors on a GPU took at once since the reset, those from before it included; None where nothing counts them.

    For the CPU, see ``step_memory``.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def extra_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes of tensors on a device while a function ran, beyond those when it began; None where nothing counts them.

    On a CPU the function is called twice, and its second call counts; see ``step_memory``.
    """
    if device.type == "cpu":
        return step_memory(function, warm_up=1)
    if device.type != "cuda":
        return None
    reset_peak_memory(device)
    before = torch.cuda.memory_allocated(device)
    function()
    return torch.cuda.max_memory_allocated(device) - before


def step_memory(function: Callable[[], object], *, warm_up: int = 0) -> int:
    """The most bytes that PyTorch's CPU allocator gave out at once while a function ran, beyond those that were out when it began.

    Not counted is what libraries below PyTorch allocate by themselves. The call is profiled, and some times slower for
    it. The profiler sees nothing of the release of what was allocated before it started, so that what takes its place
    seems to come on top of it: a step that replaces what the step before has left, such as gradients, needs a
    ``warm_up`` of calls that are profiled but not counted.

    >>> step_memory(lambda: torch.ones(1000))
    4000
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler's library writes to stderr when there is no GPU
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        for _ in range(warm_up):
            function()
        with record_function(COUNTED):
            function()
    events = sorted(profiled.profiler.kineto_results.events(), key=lambda event: int(event.start_ns()))
    counted = dropwhile(lambda event: event.name() != COUNTED, events)
    return peak(
        event.nbytes() for event in counted if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    )


def peak(changes: Iterable[int]) -> int:
    """The most bytes held at once beyond the first moment, after allocations (positive) and releases (negative) in their order.

    >>> peak([100, 100, -100, 100]), peak([-300, 200]), peak([])
    (200, 0, 0)
    """
    return max(accumulate(changes, initial=0))
