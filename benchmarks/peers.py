"""What one training step of one run costs lrbench and its peers, side by side: `make peers`, or `python benchmarks/peers.py --device cuda`.

Every side trains the same model sizes on the digits data with Adam, a cosine schedule and an lr of its own for each
run, and has the whole machine to itself. Every side is warmed up, its compilation is shown apart, and the sides of a
model take turns, so that a change of the machine's speed meets all; each figure is the median over the rounds.

- ``lrbench``: its own population trainer, at the width that its measurements choose, with lr tables and two layer-lr
policies; a process
  per core, as `lrbench run` has.
- ``plain``: the plain torch loop as a script runs it: one run after the other in one process with torch's default
threads.
- ``plain-per-core``: the same with one thread, and a process per core: what a careful user would do.
- ``vmap``: ``vmap(grad)`` and a stacked Adam written by hand, a process per core.
- ``lightning``: Lightning's Trainer as a script runs it.
- ``jax``: ``jit(vmap(scan))`` with optax, which uses all cores by itself.

On a GPU every side is one process, and ``plain-per-core`` is left out.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec

SIDES = ("lrbench", "plain", "plain-per-core", "vmap", "lightning", "jax")
MODELS = {
    "mlp-64-32-32-10": (64, 32, 32, 10),
    "mlp-64-128-128-10": (64, 128, 128, 10),
    "cnn-8x8-16-32": (1, 16, 32),
}
RUNS = {"cpu": 64, "cuda": 2048}
"""How many the stacked peers train at once in a process: on a CPU, more or fewer cost them more on the machine that
this was written on; on a GPU, as many as lrbench."""
ROUNDS = 5
SECONDS = 1.0
"""About how long one round of one side trains."""


@dataclass(frozen=True)
class Row:
    """One figure; a side that is not installed has none."""

    side: str
    model: str
    batch: int
    runs: int
    microseconds_per_run_step: float
    compile_seconds: float


def cosine(step: int, steps: int) -> float:
    """The factor that every side's schedule has at a step."""
    import math

    return 0.5 * (1 + math.cos(math.pi * step / steps))


def torch_model(sizes: tuple[int, ...]):
    """The model of a size: three layers for four sizes, else two strided convolutions with BatchNorm."""
    from lrbench.workloads.parts import cnn, mlp

    return cnn(sizes, 10) if len(sizes) == 3 else mlp(sizes)


def digits(sizes: tuple[int, ...]):
    """Images and labels of the training part."""
    from lrbench.workloads import WORKLOADS

    data = WORKLOADS["digits-mlp"].data().train
    return (data.x.reshape(-1, 1, 8, 8) if len(sizes) == 3 else data.x), data.y


def wait(tensor) -> None:
    """Until a tensor's device has done all it was given."""
    if tensor.device.type == "cuda":
        import torch

        torch.cuda.synchronize()


class Lrbench:
    """The population trainer, as `lrbench run` uses it: intervals of steps, with evaluations left to one at the end of each round."""

    def __init__(self, sizes: tuple[int, ...], batch: int, device: str) -> None:
        import torch

        from lrbench.config.matrix import parse_matrix
        from lrbench.device import cpu_cores, memory_limit, settle
        from lrbench.execute.autotune import Trial
        from lrbench.plan import expand, vocabulary
        from lrbench.train import Population
        from lrbench.workloads import ACCURACY, WORKLOADS, Data, Split, Workload

        started = time.perf_counter()
        base = WORKLOADS["digits-mlp"]
        shaped = [
            Split(part.x.reshape(-1, 1, 8, 8), part.y) if len(sizes) == 3 else part
            for part in (base.data().train, base.data().validation)
        ]
        data = Data(*shaped, shaped[1])
        layers = ("conv1", "conv2", "head") if len(sizes) == 3 else ("layer1", "layer2", "head")
        facts = {
            name: getattr(base, name)
            for name in ("meaning", "source", "licence", "loss", "examples", "target", "target_reason")
        }
        name = f"peers-{'-'.join(map(str, sizes))}"
        workload = Workload(
            name=name,
            data=lambda: data,
            model=lambda: torch_model(sizes),
            layers=layers,
            metric=ACCURACY,
            steps=1,
            batch_size=batch,
            eval_every=1,
            **facts,
        )
        WORKLOADS[name] = workload
        self.interval = 30
        matrix = {
            "name": "peers", "workload": name, "optimizer": "adam", "layer_lr": ["uniform", "depth-decay"], "schedule": "cosine", "seed": 0,
            "batch_size": batch, "lr": {"log": [1e-4, 1e-2], "count": 64}, "budget": {name: {"steps": 10**5, "eval_every": 10**5}},
        }  # fmt: skip
        words = vocabulary()
        runs = expand(parse_matrix(matrix, words), words)
        where = torch.device(device, 0) if device == "cuda" else torch.device(device)
        settle(where, torch.get_num_threads())
        trial = Trial(runs[0], 10**9, 10**5, None, memory_limit(where) // (cpu_cores() if device == "cpu" else 1))
        mode, way = trial.measure(where)[1].choose(10**5, 10**4)
        self.runs = way.width
        runs = [runs[i % len(runs)].but(seed=i // len(runs)) for i in range(self.runs)]
        self.population = Population(runs, workload, data, where, width=self.runs, mode=mode)
        self.population.evaluate = lambda: None
        self.train()
        self.compile_seconds = time.perf_counter() - started

    def train(self) -> int:
        """Train for a moment; returns run-steps."""
        self.population.advance(self.interval)
        return self.interval * self.runs


class Plain:
    """The loop of the PyTorch tutorials."""

    runs = 1

    def __init__(self, sizes: tuple[int, ...], batch: int, device: str) -> None:
        import torch

        self.x, self.y = (part.to(device) for part in digits(sizes))
        self.batch, self.model = batch, torch_model(sizes).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 10**6)
        self.compile_seconds = 0.0

    def train(self) -> int:
        """Train an epoch; returns run-steps."""
        import torch
        from torch.nn.functional import cross_entropy

        order = torch.randperm(len(self.x), device=self.x.device)
        batches = [rows for rows in order.split(self.batch) if len(rows) == self.batch]
        for rows in batches:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.model(self.x[rows]), self.y[rows])
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
        wait(self.x)
        return len(batches)


class Vmap:
    """Stacked models by hand."""

    def __init__(self, sizes: tuple[int, ...], batch: int, device: str) -> None:
        import torch
        from torch.func import functional_call, grad_and_value, stack_module_state, vmap
        from torch.nn.functional import cross_entropy

        self.x, self.y = (part.to(device) for part in digits(sizes))
        self.batch, self.t, self.runs = batch, 0, RUNS[device]
        models = [torch_model(sizes).to(device) for _ in range(self.runs)]
        self.params, self.buffers = stack_module_state(models)
        self.params = {name: value.detach() for name, value in self.params.items()}
        self.state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.params.items()}
        self.lr = torch.logspace(-4, -2, self.runs, device=device)
        self.step_of = vmap(
            grad_and_value(lambda p, b, x, y: cross_entropy(functional_call(models[0], (p, b), (x,)), y))
        )
        self.compile_seconds = 0.0

    def train(self) -> int:
        """Train some steps; returns run-steps."""
        import torch

        for _ in range(5):
            rows = torch.randint(len(self.x), (self.runs, self.batch), device=self.x.device)
            grads, _ = self.step_of(self.params, self.buffers, self.x[rows], self.y[rows])
            self.t += 1
            size = self.lr * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t) * cosine(self.t, 10**6)
            for name, p in self.params.items():
                mean, square = self.state[name]
                mean.lerp_(grads[name], 0.1)
                square.mul_(0.999).addcmul_(grads[name], grads[name], value=0.001)
                p.sub_(size.view(-1, *[1] * (p.ndim - 1)) * mean / (square.sqrt() + 1e-8))
        wait(self.x)
        return 5 * self.runs


class Lightning:
    """Lightning's Trainer with everything switched off that costs time and is not training."""

    runs = 1

    def __init__(self, sizes: tuple[int, ...], batch: int, device: str) -> None:
        import lightning
        import torch
        from torch.nn.functional import cross_entropy

        x, y = (part.to(device) for part in digits(sizes))

        class Module(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.model = torch_model(sizes)

            def training_step(self, part, _):
                return cross_entropy(self.model(part[0]), part[1])

            def configure_optimizers(self):
                optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
                scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**6)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        class Batches:
            """Batches gathered as the plain loop gathers them, so that no data loader is in the figure."""

            def __iter__(self):
                return (
                    (x[rows], y[rows])
                    for rows in torch.randperm(len(x), device=x.device).split(batch)
                    if len(rows) == batch
                )

            def __len__(self) -> int:
                return len(x) // batch

        self.batches, self.module, self.lightning, self.device = Batches(), Module(), lightning, device
        self.compile_seconds = 0.0

    def train(self) -> int:
        """Fit for some epochs; returns run-steps."""
        epochs = 8
        trainer = self.lightning.Trainer(
            accelerator=self.device, devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(self.module, self.batches)
        return epochs * len(self.batches)


class Jax:
    """``jit(vmap(scan))`` over runs, all steps of a round in one call. Float32 products are not rounded to TF32, as in torch."""

    def __init__(self, sizes: tuple[int, ...], batch: int, device: str) -> None:
        import jax
        import jax.numpy as jnp
        import numpy as np
        import optax

        jax.config.update("jax_default_matmul_precision", "highest")
        self.runs, self.steps = RUNS[device], 20 if len(sizes) == 3 else 100
        x, y = (jnp.asarray(np.asarray(part)) for part in digits(sizes))
        optimizer = optax.scale_by_adam()

        def initial(key):
            keys = jax.random.split(key, len(sizes))
            if len(sizes) == 3:
                convs = [
                    (jax.random.normal(k, (3, 3, a, b)) * (2 / (9 * a)) ** 0.5, jnp.ones(b), jnp.zeros(b))
                    for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
                ]
                return convs, (jax.random.normal(keys[-1], (sizes[-1], 10)) * 0.1, jnp.zeros(10))
            return [
                (jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
                for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
            ]

        def outputs(params, x):
            if len(sizes) == 3:
                x = x.reshape(-1, 8, 8, 1)
                for w, scale, shift in params[0]:
                    x = jax.lax.conv_general_dilated(
                        x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
                    )
                    x = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5) * scale + shift
                    x = jax.nn.relu(x)
                return x.mean((1, 2)) @ params[1][0] + params[1][1]
            for w, b in params[:-1]:
                x = jax.nn.relu(x @ w + b)
            return x @ params[-1][0] + params[-1][1]

        def loss(params, x, y):
            return optax.softmax_cross_entropy_with_integer_labels(outputs(params, x), y).mean()

        def run(carry, rows, lrs):
            def step(carry, now):
                (params, state), (rows, lr) = carry, now
                value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
                updates, state = optimizer.update(grads, state)
                return (jax.tree.map(lambda p, u: p - lr * u, params, updates), state), value

            return jax.lax.scan(step, carry, (rows, lrs))

        params = jax.vmap(initial)(jax.random.split(jax.random.PRNGKey(0), self.runs))
        self.carry = params, jax.vmap(optimizer.init)(params)
        self.lrs = jnp.logspace(-4, -2, self.runs)[:, None] * jnp.asarray(
            [cosine(i, self.steps) for i in range(self.steps)]
        )
        self.rows = jax.random.randint(jax.random.PRNGKey(1), (self.runs, self.steps, batch), 0, len(x))
        self.all_runs, self.wait = jax.jit(jax.vmap(run)), jax.block_until_ready
        started = time.perf_counter()
        self.train()
        self.compile_seconds = time.perf_counter() - started

    def train(self) -> int:
        """Train all steps; returns run-steps."""
        self.carry, _ = self.wait(self.all_runs(self.carry, self.rows, self.lrs))
        return self.steps * self.runs


MAKE: dict[str, Callable] = {
    "lrbench": Lrbench,
    "plain": Plain,
    "plain-per-core": Plain,
    "vmap": Vmap,
    "lightning": Lightning,
    "jax": Jax,
}
NEEDS = {"lightning": ("lightning",), "jax": ("jax", "optax")}
ONE_PROCESS = ("plain", "lightning", "jax")


def serve(side: str, sizes: tuple[int, ...], batch: int, device: str, pipe) -> None:
    """A process of one side: it makes itself ready, then trains for about ``SECONDS`` whenever it is told to."""
    import logging
    import os

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ |= {"TORCH_CPP_LOG_LEVEL": "ERROR", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PLATFORMS": device}
    if side != "jax":
        import torch

        if side not in ONE_PROCESS:
            torch.set_num_threads(1)
    trainer = MAKE[side](sizes, batch, device)
    trainer.train()
    pipe.send((trainer.compile_seconds, trainer.runs))
    while pipe.recv():
        steps, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < SECONDS:
            steps += trainer.train()
        pipe.send((seconds, steps))


class Side:
    """One side on all cores, as many processes as it needs for that, or on a GPU."""

    def __init__(self, name: str, sizes: tuple[int, ...], batch: int, device: str, cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.name, self.pipes, self.processes = name, [], []
        for _ in range(1 if name in ONE_PROCESS or device == "cuda" else cores):
            mine, its = context.Pipe()
            process = context.Process(target=serve, args=(name, sizes, batch, device, its), daemon=True)
            process.start()
            self.pipes.append(mine)
            self.processes.append(process)
        ready = [pipe.recv() for pipe in self.pipes]
        self.compile_seconds, self.runs = max(seconds for seconds, _ in ready), sum(runs for _, runs in ready)

    def microseconds(self) -> float:
        """One round: microseconds of the whole machine per step of a run."""
        for pipe in self.pipes:
            pipe.send(True)
        return 1e6 / sum(steps / seconds for seconds, steps in (pipe.recv() for pipe in self.pipes))

    def stop(self) -> None:
        """End the processes."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(False)
            process.join()


def compare(model: str, batch: int, names: list[str], device: str, cores: int) -> list[Row]:
    """All sides of one model in turn, round by round."""
    sizes = MODELS[model]
    sides = [Side(name, sizes, batch, device, cores) for name in names]
    rounds = [[side.microseconds() for side in sides] for _ in range(ROUNDS + 1)][1:]
    for side in sides:
        side.stop()
    middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
    return [
        Row(s.name, model, batch, s.runs, round(us, 3), round(s.compile_seconds, 2))
        for s, us in zip(sides, middle, strict=True)
    ]


def peak(device: str, cores: int) -> dict[str, float]:
    """GFLOP/s on large float32 products: of a GPU, or of all cores by ``torch.mm`` and by the library behind linear layers of inference."""
    if device == "cuda":
        import torch

        from lrbench.device import matmul_peak

        return {"torch.mm": round(matmul_peak(torch.device("cuda", 0), "fp32")[0] / 1e9, 1)}
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores) as pool:
        found = pool.map(products, range(cores))
    return {name: round(sum(one[name] for one in found), 1) for name in found[0]}


def products(_: int) -> dict[str, float]:
    """The best of some timings of 1024 x 1024 products on one core."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    ways = {"torch.mm": lambda: a @ b}
    if torch.backends.mkldnn.is_available():
        ways["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    found = {}
    for name, way in ways.items():
        times = []
        for _ in range(15):
            started = time.perf_counter()
            way()
            times.append(time.perf_counter() - started)
        found[name] = 2 * 1024**3 / statistics.median(times) / 1e9
    return found


def flops(sizes: tuple[int, ...], batch: int) -> int:
    """Floating-point operations of a step's matrix products: forward, weights' gradients, and inputs' but for the first layer."""
    layers = [2 * a * b * batch for a, b in itertools.pairwise(sizes)]
    return 3 * sum(layers) - layers[0]


def main() -> None:
    """Measure, print a table, and write the rows."""
    from lrbench.device import cpu_cores, describe

    parser = argparse.ArgumentParser(
        description="lrbench beside its peers, in microseconds per step of a run on the whole machine"
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows to a file")
    parser.add_argument("--device", default="cpu", choices=tuple(RUNS), help="where to train (default: cpu)")
    parser.add_argument("--sides", default=",".join(SIDES), help="which to measure (default: all that are installed)")
    parser.add_argument("--models", default=",".join(MODELS), help="which models (default: all)")
    parser.add_argument("--batches", default="32,128", help="which batch sizes (default: 32,128)")
    asked, cores = parser.parse_args(), cpu_cores()
    wanted = [name.strip() for name in asked.sides.split(",")]
    if unknown := [name for name in wanted if name not in SIDES] + [
        name for name in asked.models.split(",") if name not in MODELS
    ]:
        parser.error(f"unknown: {', '.join(unknown)}. Sides: {', '.join(SIDES)}; models: {', '.join(MODELS)}")
    lacking = [name for name in wanted if not all(find_spec(package) for package in NEEDS.get(name, ()))]
    if lacking:
        print(f"not installed, so not measured: {', '.join(lacking)} (make peers installs them)", file=sys.stderr)
    names = [
        name for name in wanted if name not in lacking and not (asked.device == "cuda" and name == "plain-per-core")
    ]
    import torch

    machine = describe([torch.device(asked.device)])
    unit = f"{cores} cores" if asked.device == "cpu" else "one GPU"
    print(
        f"{machine.model}, {unit}, torch {machine.torch}; microseconds per step of a run on the whole machine "
        f"(compilation, s)"
    )
    peaks = peak(asked.device, cores)
    print("large matrix products, float32: " + ", ".join(f"{name} {value:g} GFLOP/s" for name, value in peaks.items()))
    rows: list[Row] = []
    for model in asked.models.split(","):
        for batch in map(int, asked.batches.split(",")):
            rows += (found := compare(model, batch, names, asked.device, cores))
            by_side = {row.side: row for row in found}
            for row in found:
                microseconds = row.microseconds_per_run_step
                ratio = (
                    f"{microseconds / by_side['lrbench'].microseconds_per_run_step:8.2f} x"
                    if "lrbench" in by_side
                    else ""
                )
                how = (
                    f"{row.runs} at once, compiled in {row.compile_seconds:.1f} s"
                    if row.compile_seconds
                    else f"{row.runs} at once"
                )
                print(f"{model:18} batch {batch:4d}  {row.side:14}{microseconds:10.2f}{ratio}  {how}", flush=True)
            if "lrbench" in by_side and model.startswith("mlp"):
                rate = flops(MODELS[model], batch) / by_side["lrbench"].microseconds_per_run_step / 1e3
                shares = ", ".join(f"{rate / value:.0%} of {name}" for name, value in peaks.items())
                print(f"{model:18} batch {batch:4d}  lrbench computes {rate:.0f} GFLOP/s: {shares}", flush=True)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:  # noqa: PTH123 - a path of the user's
            json.dump([asdict(row) for row in rows], file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
