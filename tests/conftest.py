import pytest
import torch

from lrbench.device import use_threads


@pytest.fixture(autouse=True)
def _one_thread():
    use_threads(1)


@pytest.fixture
def cpu():
    return torch.device("cpu")
