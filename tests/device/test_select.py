"""What errors of a device mean, and which device a process works on."""

import pytest
import torch

from lrbench.device import is_lost, is_out_of_memory, use

NO_ROOM = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8 bytes."
    ),
]
GONE = [
    torch.AcceleratorError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
]
NEITHER = [ValueError("no"), RuntimeError("mat1 and mat2 shapes cannot be multiplied")]


@pytest.mark.parametrize("error", [*NO_ROOM, *GONE, *NEITHER], ids=str)
def test_memory_that_does_not_suffice_is_told_from_a_device_that_is_gone(error):
    assert is_out_of_memory(error) == (error in NO_ROOM)
    assert is_lost(error) == (error in GONE)


def test_a_process_works_on_the_device_it_was_given(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", asked.append)
    for device in (torch.device("cpu"), torch.device("cuda", 1)):
        use(device)
    assert asked == [torch.device("cuda", 1)]
