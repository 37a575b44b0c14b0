"""Each rule, stacked, is the optimizer that it is named for, for every member alone."""

import pytest
import torch

from lrbench.strategies import OPTIMIZERS
from lrbench.train.rules import RULES, numbers, rule_for, structure

STEPS = 50
SHAPES = [(), (5,), (4, 3), (2, 3, 3, 3)]
VARIANTS = {
    "sgd": [{"momentum": 0.0}, {"nesterov": False}, {"nesterov": True, "dampening": 0.0}],
    "adam": [{"amsgrad": False}, {"amsgrad": True}],
    "adamw": [{"amsgrad": False}, {"amsgrad": True}],
    "nadam": [{"decoupled_weight_decay": False}, {"decoupled_weight_decay": True}],
    "radam": [{"decoupled_weight_decay": False}, {"decoupled_weight_decay": True}],
    "rmsprop": [{"momentum": m, "centered": c} for m in (0.0, 0.7) for c in (False, True)],
    "muon": [{"nesterov": True}, {"nesterov": False, "ns_steps": 3}],
    "lars": [{"exclude_1d": True}, {"exclude_1d": False}],
    "lamb": [{"exclude_1d": True}, {"exclude_1d": False}],
}
VALUES = {
    "momentum": (0.9, 0.5, 0.99), "dampening": (0.0, 0.5, 0.1), "weight_decay": (0.0, 0.01, 0.3), "eps": (1e-8, 1e-6, 1e-3),
    "betas": ((0.9, 0.999), (0.8, 0.99), (0.0, 0.95)), "momentum_decay": (0.004, 0.0, 0.1), "lr_decay": (0.0, 0.1, 1.0),
    "initial_accumulator_value": (0.0, 0.5, 1e-3), "rho": (0.9, 0.5, 0.99), "alpha": (0.75, 0.9, 0.5),
    "etas": ((0.5, 1.2), (0.3, 2.0), (0.9, 1.01)), "step_sizes": ((1e-6, 50.0), (1e-3, 0.1), (1e-5, 0.02)), "lambd": (1e-4, 0.0, 0.1),
    "t0": (1e6, 5.0, 0.0), "beta2_decay": (-0.8, -0.5, -1.0), "d": (1.0, 1.5, 2.0), "trust_coefficient": (1e-3, 0.1, 0.01),
}  # fmt: skip
LRS = (0.1, 0.01, 0.003)
CASES = [pytest.param(name, chosen, id=f"{name}-{'-'.join(f'{k}={v}' for k, v in chosen.items())}".rstrip("-"))
         for name in RULES for chosen in VARIANTS.get(name, [{}])]  # fmt: skip
BFLOAT16 = "Muon orthogonalises in bfloat16, where a different summation order of float32 products moves the last of 8 bits"


def members(name, chosen):
    """Settings of three runs that share a structure and nothing else."""
    floats = [key for key in OPTIMIZERS[name].settings.model_fields if key in VALUES]
    return [{key: VALUES[key][i] for key in floats} | chosen for i in range(3)]


def problem(dtype, n=3):
    """Starting weights [n, ...] for each shape, and gradients of all sizes: [STEPS, n, ...] for each shape."""
    random = torch.Generator().manual_seed(0)
    scale = 10.0 ** (4 * torch.rand(STEPS, n, generator=random, dtype=torch.float64) - 3)
    starts = [torch.randn(n, *shape, generator=random, dtype=torch.float64) for shape in SHAPES]
    grads = [torch.randn(STEPS, n, *shape, generator=random, dtype=torch.float64) * column(scale, shape) for shape in SHAPES]
    return [p.to(dtype) for p in starts], [g.to(dtype) for g in grads]


def column(values, shape):
    """[..., N] -> [..., N, 1, ..., 1], to broadcast over parameters of a shape."""
    return values.reshape(*values.shape, *(1 for _ in shape))


def lr_at(step, i):
    return LRS[i] * (1.0 + 0.5 * (-1) ** step) * 0.97**step


def one_by_one(name, settings, starts, grads):
    """The weights of each run after training it with its own optimizer."""
    ends = []
    for i, own in enumerate(settings):
        tensors = [torch.nn.Parameter(p[i].clone()) for p in starts]
        entry = OPTIMIZERS[name]
        optimizer = entry.build([{"params": [p], "lr": LRS[i]} for p in tensors], LRS[i], **entry.resolve(own))
        for step in range(STEPS):
            for p, g, group in zip(tensors, grads, optimizer.param_groups, strict=True):
                p.grad, group["lr"] = g[step, i].clone(), lr_at(step, i)
            optimizer.step()
        ends.append([p.detach() for p in tensors])
    return [torch.stack(runs) for runs in zip(*ends, strict=True)]


def stacked(name, settings, starts, grads, who=(0, 1, 2), wrap=lambda update: update, steps=STEPS):
    """The weights of the runs ``who`` after training them at once, in that order."""
    who, rule, dtype = list(who), rule_for(name, settings[0]), starts[0].dtype
    update, ends = wrap(rule.update), []
    own = [numbers(name, settings[i]) for i in who]
    for start, grad, shape in zip(starts, grads, SHAPES, strict=True):
        p, g = start[who].clone(), grad[:, who]
        h = {key: column(torch.tensor([values[key] for values in own], dtype=dtype), shape) for key in own[0]}
        s = rule.start(p, h)
        for step in range(steps):
            lr = torch.tensor([lr_at(step, i) for i in who], dtype=dtype)
            update(p, g[step].clone(), s, column(lr, shape), column(torch.full_like(lr, step + 1), shape), h)
        ends.append(p)
    return ends


def error(found, expected):
    """The largest difference of a run's weights, relative to the largest of the run's weights."""
    flat = [(a.flatten(1), b.flatten(1)) if a.ndim > 1 else (a[:, None], b[:, None]) for a, b in zip(found, expected, strict=True)]
    return max(float(((a - b).abs().amax(1) / b.abs().amax(1)).max()) for a, b in flat)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_each_member_is_its_own_optimizer_in_float64(name, chosen):
    starts, grads = problem(torch.float64)
    settings = members(name, chosen)
    e=error(stacked(name, settings, starts, grads), one_by_one(name, settings, starts, grads))
    print("E64",name,chosen,e)
    assert e < 1e-12


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_each_member_is_its_own_optimizer_in_float32(name, chosen):
    starts, grads = problem(torch.float32)
    settings = members(name, chosen)
    e=error(stacked(name, settings, starts, grads), one_by_one(name, settings, starts, grads))
    print("E32",name,chosen,e)
    assert e < 1e-5
