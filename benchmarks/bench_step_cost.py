"""What a training step costs, as pytest-benchmark benchmarks: `pytest benchmarks/bench_step_cost.py`.

The steps are those of `lrbench cost`: the reference trainer's own, warmed up, some of them per round, the device waited
for at the edges. `--benchmark-json`, `--benchmark-save` and `--benchmark-compare` work as they do everywhere;
`extra_info` holds the rest of a step's cost. On a machine with GPUs the first one is measured; `--benchmark-disable`
only tries the code.
"""

import pytest

from lrbench.config.cost import Case
from lrbench.config.matrix import parse_matrix
from lrbench.cost import Bench, Step, Wanted, measure
from lrbench.device import Telemetry, describe, deterministic, name_of, select
from lrbench.plan import expand, vocabulary

DEVICE = select("auto")[0]
WARM_UP, STEPS, ROUNDS = 5, 20, 25
GROUPINGS = ("one", "two", "layer", "parameter")
IMPLEMENTATIONS = ("for-loop", "foreach", "fused")


def case(workload, optimizer="adam", schedule="constant", precision="fp32", **how):
    """A case by the names of its choices."""
    matrix = {
        "name": "cost",
        "workload": workload,
        "optimizer": optimizer,
        "schedule": schedule,
        "precision": precision,
        "seed": 0,
    }
    words = vocabulary()
    [run] = expand(parse_matrix(matrix, words), words)
    return Case(run=run, **how)


def timed(benchmark, wanted):
    """Time the steps of a case, and note what else a step costs."""
    deterministic()
    step = Step(wanted, DEVICE)
    step.advance(WARM_UP)
    benchmark.pedantic(step.advance, (STEPS,), rounds=ROUNDS, warmup_rounds=1)
    [cost] = measure([Wanted(wanted)], DEVICE, {}, Bench(DEVICE, Telemetry(DEVICE)).turn, lambda _: None)
    run = wanted.run
    benchmark.extra_info |= {
        "machine": describe([DEVICE]).slug,
        "device": name_of(DEVICE),
        "strategy": run.strategy,
        "steps_per_round": STEPS,
        "samples_per_step": run.batch_size * run.accumulate,
        "groups": cost.groups,
        "precision": run.precision,
        "implementation": wanted.implementation,
        "shares": {part: getattr(cost, f"{part}_share") for part in ("forward", "backward", "optimizer", "scheduler")},
        "peak_bytes": cost.peak_bytes,
        "flops_per_step": cost.flops,
        "joules_per_step": cost.joules,
        "noise": list(cost.noise),
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "muon", "lion"])
@pytest.mark.parametrize("workload", ["digits-mlp", "mnist5k-mlp", "mnist5k-cnn"])
def bench_optimizer(benchmark, workload, optimizer):
    benchmark.group = f"{workload}: optimizers, {STEPS} steps"
    timed(benchmark, case(workload, optimizer))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("grouping", GROUPINGS)
def bench_layer_lr_groups(benchmark, grouping, implementation):
    benchmark.group = f"mnist5k-mlp, adam: parameter groups, {STEPS} steps"
    timed(benchmark, case("mnist5k-mlp", grouping=grouping, implementation=implementation))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "sequential"])
def bench_schedule(benchmark, schedule):
    benchmark.group = f"digits-mlp, adam: schedules, {STEPS} steps"
    timed(benchmark, case("digits-mlp", schedule=schedule))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def bench_precision(benchmark, precision):
    benchmark.group = f"mnist5k-cnn, adam: precisions, {STEPS} steps"
    timed(benchmark, case("mnist5k-cnn", precision=precision))
