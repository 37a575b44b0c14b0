"""A run that was killed and goes on is the run that was not, bit for bit."""

import numpy as np
import pytest
import torch
from runs import a_run

from lrbench.strategies import SCHEDULES
from lrbench.train import Checkpoint, Interrupted, train
from lrbench.train.checkpoint import Checkpoint as _Checkpoint
from lrbench.workloads import WORKLOADS

FAMILIES = [("sgd", "gradual-unfreezing", name) for name in SCHEDULES] + [
    ("adam", "depth-decay", ("cosine", {"eta_min": 0.1, "warmup": 0.3})),
    ("adam", "uniform", ("plateau", {"patience": 0, "warmup": 3})),
    ("adam", "uniform", ("step", {"per": "epoch", "step_size": 1})),
    ("sgd", "uniform", ("by-hand", {"others": {"weight_decay": 0.5}})),
    (("sgd", {"momentum": 0.9}), "depth-decay", ("one-cycle", {"cycle_momentum": True})),
    ("muon", "gradual-unfreezing", "cosine"),
    (("lbfgs", {"max_iter": 2}), "uniform", ("exponential", {"final": 0.1})),
    ("schedule-free-adamw", "uniform", "constant"),
    ("schedule-free-sgd", "gradual-unfreezing", "constant"),
    ("rprop", "uniform", "constant"),
]


def interrupted(run, workload, path, after):
    """Train until the checkpoint has been asked ``after`` times."""
    asked = iter(range(after))
    checkpoint = Checkpoint(path, stop=lambda: next(asked, None) is None)
    with pytest.raises(Interrupted):
        train(run, workload, workload.data(), torch.device("cpu"), checkpoint)


def assert_same(first, second):
    assert first.status == second.status
    for name in ("eval_step", "val_loss", "val_metric", "step_loss", "group_lr"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.test_loss == second.test_loss


@pytest.mark.parametrize(("optimizer", "layer_lr", "schedule"), FAMILIES, ids=str)
def test_a_resumed_run_equals_an_uninterrupted_one(optimizer, layer_lr, schedule, tmp_path, cpu):
    workload = WORKLOADS["digits-mlp"]
    run = a_run("digits-mlp", optimizer, layer_lr, schedule, steps=50, lr=0.05)
    path = tmp_path / "run.pt"
    interrupted(run, workload, path, after=1)
    interrupted(run, workload, path, after=2)
    assert_same(
        train(run, workload, workload.data(), cpu, Checkpoint(path)), train(run, workload, workload.data(), cpu)
    )


def test_batch_norm_and_fp16_scaling_are_resumed_too(tmp_path, cpu):
    workload = WORKLOADS["mnist5k-cnn"]
    run = a_run("mnist5k-cnn", "adam", steps=6, eval_every=2, precision="fp16", batch_size=16)
    interrupted(run, workload, tmp_path / "run.pt", after=1)
    assert_same(
        train(run, workload, workload.data(), cpu, Checkpoint(tmp_path / "run.pt")),
        train(run, workload, workload.data(), cpu),
    )


def test_a_damaged_checkpoint_means_starting_again(tmp_path, cpu):
    workload = WORKLOADS["digits-mlp"]
    run, path = a_run(steps=20), tmp_path / "run.pt"
    interrupted(run, workload, path, after=0)
    path.write_bytes(path.read_bytes()[:1000])
    assert_same(
        train(run, workload, workload.data(), cpu, Checkpoint(path)), train(run, workload, workload.data(), cpu)
    )


def test_checkpoints_are_written_when_their_time_has_come(tmp_path, cpu):
    workload = WORKLOADS["digits-mlp"]
    saved = []

    class Counting(_Checkpoint):
        def save(self, state):
            saved.append(state["done"])

    train(a_run(), workload, workload.data(), cpu, Counting(tmp_path / "a.pt"))
    assert saved == []
    train(a_run(), workload, workload.data(), cpu, Counting(tmp_path / "a.pt", every_seconds=0.0))
    assert saved == [10, 20, 30, 40]


@pytest.mark.parametrize("lr", [0.6, 1e3])
@pytest.mark.parametrize("steps", [10, 200])
def test_a_run_that_diverged_is_not_trained_on_after_its_checkpoint(lr, steps, tmp_path, cpu):
    workload = WORKLOADS["quadratic"]
    run = a_run("quadratic", lr=lr, steps=steps)
    stopping = train(run, workload, workload.data(), cpu, Checkpoint(tmp_path / "run.pt", stop=lambda: True))
    assert_same(stopping, train(run, workload, workload.data(), cpu))
    assert stopping.diverged_at is not None


@pytest.mark.parametrize(("optimizer", "layer_lr", "schedule"), FAMILIES[-10:], ids=str)
@pytest.mark.parametrize(("asked", "done"), [(7, 7), (20, 19), (29, 27)])
def test_one_that_stopped_within_an_interval_goes_on_to_the_same_bits(
    asked, done, optimizer, layer_lr, schedule, tmp_path, monkeypatch, cpu
):
    workload, run = WORKLOADS["digits-mlp"], a_run("digits-mlp", optimizer, layer_lr, schedule, steps=30, lr=0.05)
    monkeypatch.setattr("lrbench.train.checkpoint.ASK_SECONDS", 0.0)
    interrupted(run, workload, tmp_path / "run.pt", after=asked - 1)  # after each step, and at each edge besides
    assert torch.load(tmp_path / "run.pt")["done"] == done
    monkeypatch.undo()
    assert_same(
        train(run, workload, workload.data(), cpu, Checkpoint(tmp_path / "run.pt")),
        train(run, workload, workload.data(), cpu),
    )
