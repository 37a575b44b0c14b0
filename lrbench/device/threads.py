"""How many threads of the CPU a process computes with."""

import torch

_threads = 1


def use_threads(count: int) -> None:
    """Let this process compute with so many threads, instead of one: workers are what usually fills the cores."""
    global _threads  # noqa: PLW0603 - torch keeps it in a global too
    _threads = count
    torch.set_num_threads(count)


def threads() -> int:
    """The threads that this process computes with."""
    return _threads
