"""What the reference trainer adds to the loop that one would write by hand: `make overhead`.

Both train the same model from the same seed on the same batches, in turn, an interval each; the ratio is the median
over the pairs, so a change of the machine's speed meets both. By hand, the losses are kept and nothing else; lrbench's
side includes all that it records and checks. Evaluations are in neither.
"""

import itertools
import time

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR

from lrbench.config.matrix import parse_matrix
from lrbench.plan import expand, vocabulary
from lrbench.train import Training
from lrbench.workloads import WORKLOADS

INTERVAL, PAIRS = 100, 60
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class Unevaluated(Training):
    """A training whose evaluations are left out, as the loop by hand has none."""

    def evaluate(self):
        """Nothing."""


def ours(workload, optimizer):
    steps = INTERVAL * (PAIRS + 2)
    matrix = {"name": "overhead", "workload": workload, "optimizer": optimizer, "schedule": "cosine", "seed": 0}
    words = vocabulary()
    [run] = expand(
        parse_matrix(matrix | {"budget": {workload: {"steps": steps, "eval_every": INTERVAL}}}, words), words
    )
    return Unevaluated(run, WORKLOADS[workload], WORKLOADS[workload].data(), torch.device("cpu"))


def by_hand(workload, optimizer):
    """One interval of the plain loop per ``next``."""
    data, model, batch = WORKLOADS[workload].data().train, WORKLOADS[workload].model(), WORKLOADS[workload].batch_size
    steps_per_epoch = len(data) // batch
    optimizer = OPTIMIZERS[optimizer](model.parameters(), lr=1e-3)
    scheduler = CosineAnnealingLR(optimizer, INTERVAL * (PAIRS + 2))
    model.train()
    for step in itertools.count():
        if step % INTERVAL == 0:
            losses = []
            yield
        if step % steps_per_epoch == 0:
            order = torch.randperm(len(data)).split(batch)
        rows = order[step % steps_per_epoch]
        optimizer.zero_grad()
        loss = cross_entropy(model(data.x[rows]), data.y[rows])
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.detach())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("workload", ["digits-mlp", "mnist5k-mlp"])
def bench_overhead(benchmark, workload, optimizer, capsys):
    torch.set_num_threads(1)
    training, plain = ours(workload, optimizer), by_hand(workload, optimizer)
    next(plain)
    bare = []

    def one_by_hand():
        start = time.perf_counter()
        next(plain)
        bare.append(time.perf_counter() - start)

    benchmark.group = "an interval of 100 steps"
    benchmark.pedantic(training.advance, (INTERVAL,), setup=one_by_hand, rounds=PAIRS, warmup_rounds=2)
    mine = benchmark.stats.stats.data
    ratio = float(np.median(np.array(mine) / np.array(bare[-PAIRS:])))
    benchmark.extra_info |= {
        "ratio to the loop by hand": ratio,
        "microseconds per step by hand": 1e6 * float(np.median(bare)) / INTERVAL,
    }
    with capsys.disabled():
        print(
            f"\n{workload}, {optimizer}: {ratio:.3f} x the loop by hand ({1e6 * np.median(bare) / INTERVAL:.0f} us per "
            f"step)"
        )
