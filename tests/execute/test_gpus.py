"""A machine with four GPUs, none of them real: who works on what, and what is lost when one falls off."""

from pathlib import Path

import fake_cuda
import numpy as np
import pytest
import torch

from lrbench.config.outcome import Status
from lrbench.device import peak
from lrbench.execute import carry_out, make_session
from lrbench.execute.costs import measure_costs
from lrbench.store import load

PLUGIN = Path(fake_cuda.__file__)


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Four GPUs here and in the workers; the file that says which have fallen off."""
    fake_cuda.pretend(monkeypatch)
    monkeypatch.setenv("LRBENCH_TEST_FALLEN", str(tmp_path / "fallen"))
    return tmp_path / "fallen"


def matrix(**axes):
    budget = {"digits-mlp": {"steps": 30, "eval_every": 10}}
    return {
        "name": "m",
        "workload": "digits-mlp",
        "optimizer": "adam",
        "lr": [1e-3, 1e-2, 1e-1],
        "seed": [0, 1],
        "budget": budget,
    } | axes


def session(folder, device="cuda", **axes):
    return make_session(matrix(**axes), results=folder, device=device, plugins=[PLUGIN])


def curves(made):
    return [curve.tolist() for curve in load(made.store.folder).runs.loss_at_step]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The same runs on the CPU."""
    made = make_session(matrix(), results=tmp_path_factory.mktemp("cpu"), device="cpu", workers=1)
    carry_out(made)
    return curves(made)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("gpus")
def test_all_gpus_work_and_the_machine_is_theirs(tmp_path, expected):
    made = session(tmp_path)
    assert made.workers == 4
    assert carry_out(made).counts[Status.CRASHED] == 0
    machine = load(made.store.folder).machine
    assert (machine["kind"], machine["model"], machine["count"]) == ("cuda", "fake-gpu-a", 4)
    np.testing.assert_allclose(curves(made), expected, rtol=1e-5)


@pytest.mark.usefixtures("gpus")
def test_some_gpus_are_another_machine(tmp_path):
    made = session(tmp_path, "cuda:0,2")
    assert [str(device) for device in made.devices] == ["cuda:0", "cuda:2"]
    every = session(tmp_path)
    assert (made.workers, every.workers) == (2, 4)
    assert made.store.folder != every.store.folder


@pytest.mark.exhaustive
def test_what_a_fallen_gpu_was_on_is_done_elsewhere(gpus, tmp_path, expected):
    gpus.write_text("0 1!")  # one that was never there, and one that falls while it works
    made = session(tmp_path, "cuda:0,1,2")
    assert carry_out(made).counts[Status.CRASHED] == 0
    assert gpus.read_text() == "0 1"
    machine = load(made.store.folder).machine
    assert (machine["kind"], machine["model"], machine["count"]) == ("cuda", "fake-gpu-a", 3)
    np.testing.assert_allclose(curves(made), expected, rtol=1e-5)


def test_one_gpu_alone_has_a_worker_too_and_says_that_it_is_gone(gpus, tmp_path):
    gpus.write_text("2")
    made = session(tmp_path, "cuda:2", lr=0.1, seed=0)
    assert carry_out(made).counts[Status.CRASHED] == 1
    [reason] = load(made.store.folder).runs.reason
    assert reason == "no worker process could be started: cuda:2: CUDA error: unspecified launch failure"


@pytest.mark.parametrize("turns", ["in this process", pytest.param("in processes", marks=pytest.mark.exhaustive)])
@pytest.mark.usefixtures("gpus", "two_visits")
def test_costs_are_measured_on_every_gpu_through_events(turns, tmp_path, monkeypatch, request):
    monkeypatch.setattr(peak, "GPU_SIZES", (256, 512))  # a CPU stands for the GPU
    if turns == "in this process":
        request.getfixturevalue("quick_turns")
    made = session(tmp_path, "cuda:0,3", lr=0.1, seed=0)
    with fake_cuda.Remap():
        found = measure_costs(made)
    assert sorted(cost.device for cost in found.costs) == ["cuda:0", "cuda:3"]
    for cost in found.costs:
        assert cost.reason == ""
        assert cost.seconds > 0.0
        assert 0.0 < cost.optimizer_share < 1.0
        assert cost.peak_bytes > 4000
    assert [run.device for run in found.timed] == ["cuda:0", "cuda:3"]
    assert torch.cuda.device_count() == 4
