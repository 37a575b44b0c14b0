"""Each rule, stacked, is the optimizer that it is named for, for every member alone."""

import pytest
import torch
from torch.optim import _muon

from lrbench.strategies import OPTIMIZERS
from lrbench.train.rules import RULES, numbers, rule_for, shaped, structure

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
COEFFICIENTS = (_muon.DEFAULT_A, _muon.DEFAULT_B, _muon.DEFAULT_C)


def members(name, chosen):
    """Settings of three runs that share a structure and nothing else."""
    floats = [key for key in OPTIMIZERS[name].settings.model_fields if key in VALUES]
    return [{key: VALUES[key][i] for key in floats} | chosen for i in range(3)]


def problem(dtype, n=3):
    """Starting weights [n, ...] for each shape, and gradients of all sizes: [STEPS, n, ...] for each shape."""
    random = torch.Generator().manual_seed(0)
    scale = 10.0 ** (4 * torch.rand(STEPS, n, generator=random, dtype=torch.float64) - 3)
    starts = [torch.randn(n, *shape, generator=random, dtype=torch.float64) for shape in SHAPES]
    grads = [
        torch.randn(STEPS, n, *shape, generator=random, dtype=torch.float64) * column(scale, shape) for shape in SHAPES
    ]
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
    who, dtype, ends = list(who), starts[0].dtype, []
    own = [numbers(name, settings[i]) for i in who]
    for start, grad, shape in zip(starts, grads, SHAPES, strict=True):
        p, g = start[who].clone(), grad[:, who]
        h = {key: column(torch.tensor([values[key] for values in own], dtype=dtype), shape) for key in own[0]}
        rule = rule_for(name, settings[0], is_matrix=len(shape) == 2)
        s, update = rule.start(p, h), wrap(rule.update)
        for step in range(steps):
            lr = torch.tensor([lr_at(step, i) for i in who], dtype=dtype)
            update(p, g[step].clone(), s, column(lr, shape), column(torch.full_like(lr, step + 1), shape), h)
        ends.append(p)
    return ends


def error(found, expected):
    """The largest difference of a run's weights, relative to the largest of the run's weights."""
    flat = [
        (a.flatten(1), b.flatten(1)) if a.ndim > 1 else (a[:, None], b[:, None])
        for a, b in zip(found, expected, strict=True)
    ]
    return max(float(((a - b).abs().amax(1) / b.abs().amax(1)).max()) for a, b in flat)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


WITHOUT_RULE = {"lbfgs", "sparse-adam", "schedule-free-adamw", "schedule-free-sgd", "prodigy"}


def test_every_other_optimizer_has_a_rule():
    assert set(OPTIMIZERS) - set(RULES) == WITHOUT_RULE
    assert set(RULES) <= set(OPTIMIZERS)


def test_an_optimizer_without_a_rule_says_who_trains_it():
    with pytest.raises(LookupError, match="'lbfgs' has no rule for stacked runs: the reference trainer trains it"):
        rule_for("lbfgs", {})


@pytest.mark.parametrize("name", RULES)
def test_every_setting_is_a_number_or_part_of_the_structure(name):
    plain = numbers(name, {}), structure(name, {})
    for key, field in OPTIMIZERS[name].settings.model_fields.items():
        changed = {key: "hidden" if key == "matrices" else other(key, field.default)}
        assert (numbers(name, changed), structure(name, changed)) != plain, key


def other(key, value):
    if isinstance(value, bool | int):
        return not value if isinstance(value, bool) else value + 1
    return next(v for v in VALUES[key] if v != value)


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_runs_that_differ_in_numbers_share_a_rule(name, chosen):
    assert len({rule_for(name, own) for own in members(name, chosen)}) == 1


def test_a_variant_is_another_rule():
    assert len({rule_for(name, members(name, chosen)[0]) for name, chosen in (case.values for case in CASES)}) == len(
        CASES
    )


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_each_member_is_its_own_optimizer_in_float64(name, chosen, monkeypatch):
    monkeypatch.setattr(shaped, "orthogonalised", torchs_own)
    starts, grads = problem(torch.float64)
    settings = members(name, chosen)
    assert error(stacked(name, settings, starts, grads), one_by_one(name, settings, starts, grads)) < 1e-12


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_each_member_is_its_own_optimizer_in_float32(name, chosen, monkeypatch):
    monkeypatch.setattr(shaped, "orthogonalised", torchs_own)
    starts, grads = problem(torch.float32)
    settings = members(name, chosen)
    assert error(stacked(name, settings, starts, grads), one_by_one(name, settings, starts, grads)) < 1e-5


def torchs_own(x, steps):
    return torch.stack([_muon._zeropower_via_newtonschulz(m, COEFFICIENTS, steps, _muon.EPS) for m in x])


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (10, 32), (32, 32), (64, 32)])
def test_muon_orthogonalises_as_torch_does_but_for_single_roundings(shape):
    """In bfloat16: another order of summation can move an element by a last bit of 8, and the iteration passes that on."""
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = shaped.orthogonalised(x, 5), torchs_own(x, 5)
    assert (ours == theirs).float().mean() > 0.98
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)
    singular = torch.linalg.svdvals(ours.float())
    assert singular.max() < 1.3


def test_muon_whole_agrees_with_torch_to_the_precision_of_bfloat16():
    starts, grads = problem(torch.float64)
    settings = members("muon", {"nesterov": True})
    assert error(stacked("muon", settings, starts, grads), one_by_one("muon", settings, starts, grads)) < 1e-3


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_members_do_not_see_each_other(name, chosen):
    """To the bit: in another order, with other neighbours, in another number, beside one that is all NaN."""
    starts, grads = problem(torch.float32)
    settings = members(name, chosen)
    ends = stacked(name, settings, starts, grads, steps=20)
    for who in ([2, 0, 1], [1, 0], [2, 1], [0, 1, 2, 2, 1, 0, 0]):
        assert all(
            torch.equal(a, b[who])
            for a, b in zip(stacked(name, settings, starts, grads, who, steps=20), ends, strict=True)
        )
    for g in grads:
        g[:, 1] = torch.nan
    beside_nan = stacked(name, settings, starts, grads, steps=20)
    assert all(torch.equal(a[[0, 2]], b[[0, 2]]) for a, b in zip(beside_nan, ends, strict=True))
    assert all(a[1].isnan().all() for a in beside_nan) or name in ("lion", "rprop")  # these use the sign of a NaN


@pytest.mark.parametrize("name", RULES)
def test_a_member_that_joins_late_starts_anew(name):
    starts, grads = problem(torch.float64)
    settings = members(name, VARIANTS.get(name, [{}])[-1])
    own, rule = numbers(name, settings[0]), rule_for(name, settings[0])
    for start, grad, shape in zip(starts, grads, SHAPES, strict=True):
        late, alone = start[[0, 0]].clone(), start[[0, 0]].clone()
        h = {key: column(torch.tensor([value] * 2, dtype=torch.float64), shape) for key, value in own.items()}
        s, fresh, lr = (
            rule.start(late, h),
            rule.start(alone, h),
            column(torch.tensor([0.01, 0.01], dtype=torch.float64), shape),
        )
        for step in range(10):
            rule.update(alone, grad[step][[0, 0]], fresh, lr, torch.full_like(lr, step + 1), h)
        rule.update(late, grad[-1][[1, 1]], s, lr, torch.ones_like(lr), h)
        late[1] = start[0]
        for tensor, new in zip(s.values(), rule.start(late, h).values(), strict=True):
            tensor[1] = new[1]
        for step in range(10):
            t = column(torch.tensor([step + 2.0, step + 1.0], dtype=torch.float64), shape)
            rule.update(late, grad[step][[1, 0]], s, lr, t, h)
        assert torch.equal(late[1], alone[1])


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_updates_are_in_place(name, chosen):
    for shape in SHAPES:
        p = torch.ones(2, *shape)
        h = {
            key: column(torch.tensor([value] * 2), shape)
            for key, value in numbers(name, members(name, chosen)[1]).items()
        }
        rule, one = rule_for(name, chosen, is_matrix=len(shape) == 2), column(torch.ones(2), shape)
        s = rule.start(p, h)
        before = dict(s)
        g = torch.full_like(p, 0.5)
        rule.update(p, g, s, one * 0.1, one, h)
        assert list(s) == list(before)
        assert all(s[key] is before[key] for key in s)
        assert all(tensor.shape[0] == 2 and tensor.ndim == p.ndim for tensor in s.values())
        assert (g == 0.5).all()
        assert (p != 1.0).all()


GRAPHS = [pytest.param(*case.values, id=case.id, marks=[pytest.mark.exhaustive] if before == case.values[0] else [])
          for case, before in zip(CASES, [None, *(case.values[0] for case in CASES)], strict=False)]  # fmt: skip
"""Where not all tests are run, one variant of each rule."""


@pytest.mark.parametrize(("name", "chosen"), GRAPHS)
def test_a_rule_is_one_graph(name, chosen):
    """Nothing in it waits for a value: it can be compiled whole."""
    for shape in ((5,), (4, 3)) if name in ("adafactor", "lamb", "lars", "muon") else ((4, 3),):
        torch.compiler.reset()
        rule = rule_for(name, chosen, is_matrix=len(shape) == 2)
        compiled = torch.compile(rule.update, fullgraph=True, backend="aot_eager", dynamic=False)
        ends = []
        for update in (rule.update, compiled):
            p = torch.linspace(-1, 1, 2 * torch.Size(shape).numel()).reshape(2, *shape)
            h = {
                key: column(torch.tensor([value] * 2), shape)
                for key, value in numbers(name, members(name, chosen)[1]).items()
            }
            s, one = rule.start(p, h), column(torch.ones(2), shape)
            for step in range(3):
                update(p, (p * (step + 1)).cos(), s, one * 0.1, one * (step + 1), h)
            ends.append([p, *s.values()])
        torch.testing.assert_close(*ends)
