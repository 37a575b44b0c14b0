"""The step that is timed is the reference trainer's, whole and in parts, by every implementation."""

from itertools import pairwise

import pytest
import torch
from runs import a_run
from torch.profiler import ProfilerActivity, profile

from lrbench.config.cost import PARTS, Case
from lrbench.cost.measure import Bench
from lrbench.cost.step import CannotMeasure, Step
from lrbench.device import Marks, Telemetry
from lrbench.train import Training, data_for
from lrbench.workloads import WORKLOADS


def weights(training):
    return torch.cat([p.detach().flatten().double() for p in training.model.parameters()])


class Unevaluated(Training):
    def evaluate(self):
        pass


@pytest.mark.parametrize("policy", ["uniform", "bias-norm", "head-only"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon", "lion", ("lbfgs", {"line_search_fn": "strong_wolfe"})])
def test_the_measured_step_is_the_trainers(optimizer, policy, cpu):
    if "lbfgs" in optimizer and policy == "bias-norm":
        pytest.skip("L-BFGS takes one group")
    run = a_run(optimizer=optimizer, layer_lr=policy)
    step, real = Step(Case(run=run), cpu), Unevaluated(run, WORKLOADS["digits-mlp"], data_for(run, cpu), cpu)
    step.advance(10)
    real.advance(10)
    assert torch.equal(weights(step), weights(real))


@pytest.mark.parametrize(
    "values", [{}, {"accumulate": 2}, {"precision": "bf16"}, {"precision": "fp16"}, {"precision": "fp64"}]
)
@pytest.mark.parametrize("policy", ["uniform", "gradual-unfreezing"])
def test_a_step_in_parts_is_the_step(values, policy, cpu):
    case = Case(run=a_run(optimizer="adam", layer_lr=policy, schedule="one-cycle", **values))
    whole, parts = Step(case, cpu), Step(case, cpu)
    whole.advance(6)
    taken = parts.parts(6, Marks(cpu))
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-6, atol=1e-9)
    for one in taken:
        assert all(one[part] > 0.0 for part in PARTS)
        assert sum(one[part] for part in PARTS) <= one["whole"] * (1 + 1e-9)


def test_a_stage_trains_the_layers_that_have_joined(cpu):
    run = a_run(optimizer="sgd", layer_lr="gradual-unfreezing", lr=0.1)
    step = Step(Case(run=run, stage=run.steps // 5), cpu)
    before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    step.advance(3)
    moved = {name for name, p in step.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"layer2.linear.weight", "layer2.linear.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad"])
def test_every_implementation_trains_alike(optimizer, cpu):
    found = []
    for how in ("default", "for-loop", "foreach", "fused"):
        step = Step(Case(run=a_run(optimizer=optimizer, precision="fp64"), implementation=how, grouping="layer"), cpu)
        step.advance(5)
        found.append(weights(step))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "how"), [("rmsprop", "fused"), ("lbfgs", "foreach"), ("muon", "for-loop"), ("lion", "foreach")]
)
def test_an_implementation_that_an_optimizer_does_not_have_is_a_reason(optimizer, how, cpu):
    with pytest.raises(CannotMeasure, match=f"^{optimizer} has no {how} implementation$"):
        Step(Case(run=a_run(optimizer=optimizer), implementation=how), cpu)


def test_a_precision_that_a_device_does_not_have_is_a_reason(cpu):
    with pytest.raises(CannotMeasure, match="a cpu device has none"):
        Step(Case(run=a_run(precision="tf32")), cpu)


def test_a_compiled_step_trains_alike(cpu):
    case = Case(run=a_run(optimizer="adam", precision="fp64"))
    eager, compiled = Step(case, cpu), Step(case.model_copy(update={"compiled": True}), cpu)
    for step in (eager, compiled):
        step.advance(3)
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-9, atol=1e-12)
    assert compiled.flops() == eager.flops()


def test_flops_are_those_of_the_products(cpu):
    step = Step(Case(run=a_run(optimizer="sgd")), cpu)
    sizes, batch = (64, 32, 32, 10), 32
    pairs = list(pairwise(sizes))
    forward = sum(2 * batch * a * b for a, b in pairs)
    assert step.flops() == 2 * forward + sum(2 * batch * a * b for a, b in pairs[1:])  # the images need no gradient


def test_resident_bytes_are_weights_gradients_state_and_data(cpu):
    step = Step(Case(run=a_run(optimizer="adam")), cpu)
    step.advance(1)
    parameters = 64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    data = 1197 * (64 * 4 + 8)
    assert step.resident_bytes() == 4 * parameters * 4 + 6 * 4 + data


def test_the_optimizers_share_is_the_profilers(cpu):
    case = Case(run=a_run("mnist5k-mlp", "adam"))
    shares, _ = Bench(cpu, Telemetry(cpu))._shares(Step(case, cpu), 10)
    step = Step(case, cpu)
    step.advance(5)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        taken = step.parts(20, Marks(cpu))
    whole = sum(one["whole"] for one in taken)
    [inside] = [event.cpu_time_total for event in profiled.key_averages() if event.key == "Optimizer.step#Adam.step"]
    assert shares["optimizer"] == pytest.approx(inside / 1e6 / whole, abs=0.15)
