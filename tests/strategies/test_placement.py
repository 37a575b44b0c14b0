"""Every optimizer keeps its state where its parameters are: on a fake GPU, since a tensor on the wrong device is an error there too."""

import pytest
import torch
from runs import a_run
from torch._subclasses.fake_tensor import FakeTensorMode

from lrbench.strategies import OPTIMIZERS, groups_of, impossible
from lrbench.strategies.composite import Staged
from lrbench.workloads import WORKLOADS, describe

NOT_FAKED = {
    "adafactor": "it asks tensors for their values",
    "asgd": "it asks tensors for their values",
    "lbfgs": "it asks tensors for their values",
    "prodigy": "it asks tensors for their values",
    "sparse-adam": "it takes sparse gradients only",
}
"""What ``FakeTensorMode`` does not reach, and why; ``make test-cuda`` does."""
FAKED = [name for name in OPTIMIZERS if name not in NOT_FAKED]


def stepped(name, policy="uniform", **flags):
    """The model and the optimizer after some steps with made-up gradients, on a GPU that is not there."""
    run, workload = a_run(optimizer=name, layer_lr=policy), WORKLOADS["digits-mlp"]
    model = workload.model()
    groups = groups_of(run, describe(workload, model))
    entry = OPTIMIZERS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to("cuda")
        x, y = torch.empty(8, 64, device="cuda"), torch.empty(8, dtype=torch.int64, device="cuda")
        assert workload.loss(model(x), y).device.type == "cuda"
        tensors = dict(model.named_parameters())

        def build(options):
            return entry.build(options, run.lr, **entry.resolve(run.optimizer.settings))

        options = [group.options(tensors, run.lr) for group in groups]
        joins = [group.joins for group in groups]
        optimizer = Staged(options, joins, build) if any(joins) else build(options)
        for group in optimizer.param_groups:
            group.update(flags)
        if "train_eval" in entry.flags:
            optimizer.train()
        for done in (0, 100):
            if any(joins):
                optimizer.join(done)
            for p in model.parameters():
                p.grad = torch.empty_like(p)
            optimizer.step()
    return model, optimizer


def devices(state):
    """The devices of the tensors with more than one element: counts of steps may stay on the CPU."""
    if isinstance(state, torch.Tensor):
        return {state.device.type} if state.numel() > 1 else set()
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return set().union(*map(devices, values))


@pytest.mark.parametrize("name", FAKED)
@pytest.mark.parametrize("policy", ["uniform", "bias-norm", "gradual-unfreezing"])
def test_an_optimizer_steps_on_a_gpu(name, policy):
    params = describe(WORKLOADS["digits-mlp"], WORKLOADS["digits-mlp"].model())
    if reason := impossible(a_run(optimizer=name, layer_lr=policy), params):
        pytest.skip(reason)
    model, optimizer = stepped(name, policy)
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert devices(optimizer.state_dict()) <= {"cuda"}


@pytest.mark.parametrize("flags", [{"foreach": True}, {"foreach": False}, {"capturable": True, "foreach": True}])
@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "rmsprop"])
def test_an_implementation_steps_on_a_gpu(name, flags):
    _, optimizer = stepped(name, **flags)
    assert devices(optimizer.state_dict()) == {"cuda"}


def test_a_state_on_the_wrong_device_would_be_seen():
    assert devices({"a": [torch.zeros(2)]}) == {"cpu"}
    assert set(NOT_FAKED) <= set(OPTIMIZERS)
