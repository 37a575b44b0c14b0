"""What only a GPU can show. Run with ``make test-cuda``; skipped where there is none."""

import numpy as np
import pytest
import torch
from runs import a_run

from lrbench.execute import run as run_matrix
from lrbench.execute.verify import verify
from lrbench.strategies import OPTIMIZERS, impossible
from lrbench.train import Checkpoint, Interrupted, Population, train
from lrbench.workloads import WORKLOADS, describe

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]
DIGITS = WORKLOADS["digits-mlp"]
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_agrees_with_the_cpu(optimizer, cpu):
    run = a_run(optimizer=optimizer, precision="fp64", steps=20)
    if reason := impossible(run, describe(DIGITS, DIGITS.model())):
        pytest.skip(reason)
    here, there = (train(run, DIGITS, DIGITS.data(), device) for device in (cpu, CUDA))
    np.testing.assert_allclose(there.val_loss, here.val_loss, rtol=1e-2 if optimizer == "muon" else 1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("workload", ["digits-mlp", "mnist5k-cnn"])
def test_twice_the_same_bits(workload, precision):
    run = a_run(workload, "adam", lr=1e-2, precision=precision, steps=20)
    first, second = (train(run, WORKLOADS[workload], WORKLOADS[workload].data(), CUDA) for _ in range(2))
    np.testing.assert_array_equal(first.step_loss, second.step_loss)
    assert first.val_loss[-1] < first.val_loss[0]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    run, path = a_run(optimizer="adam", schedule="cosine", steps=40), tmp_path / "run.pt"
    with pytest.raises(Interrupted):
        train(run, DIGITS, DIGITS.data(), CUDA, Checkpoint(path, stop=lambda: True))
    resumed, whole = (train(run, DIGITS, DIGITS.data(), CUDA, c) for c in (Checkpoint(path), None))
    np.testing.assert_array_equal(resumed.step_loss, whole.step_loss)


def test_a_matrix_runs_on_every_gpu(tmp_path):
    matrix = {
        "name": "gpus",
        "workload": "digits-mlp",
        "lr": [1e-3, 1e-2],
        "seed": [0, 1],
        "budget": {"digits-mlp": {"steps": 20}},
    }
    study = run_matrix(matrix, device="cuda", results=tmp_path)
    assert len(study.runs) == 4
    assert study.machine["kind"] == "cuda"


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
def test_a_population_is_its_runs(mode):
    runs = [
        a_run(optimizer="adam", schedule="cosine", lr=lr, seed=s, steps=40, precision="fp64")
        for lr in (1e-3, 1e-2)
        for s in (0, 1)
    ]
    found = {
        run.key: outcome for run, outcome in Population(runs, DIGITS, DIGITS.data(), CUDA, width=4, mode=mode).train()
    }
    for run in runs:
        assert found[run.key].mode == mode
        np.testing.assert_allclose(
            found[run.key].step_loss, train(run, DIGITS, DIGITS.data(), CUDA).step_loss, rtol=1e-6
        )


def test_no_step_of_a_population_waits_for_the_gpu():
    runs = [a_run(optimizer="adam", lr=lr, steps=40) for lr in (1e-3, 1e-2)]
    population = Population(runs, DIGITS, DIGITS.data(), CUDA)
    rows, lrs = population._rows(5), population._coming_lrs(5)
    population.slots.step(rows[0], lrs[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(5):
            population.slots.step(rows[i], lrs[i])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_verify_finds_agreement():
    assert all(found.holds for found in verify(["digits-mlp"], CUDA))
