"""Properties that hold for every workload of the catalog."""

import math
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from lrbench.workloads import WORKLOADS, Unavailable, Workload, Workloads, describe, fingerprint

torch.set_num_threads(1)

NAMES = [
    "quadratic",
    "cancer-logistic",
    "digits-mlp",
    "mnist5k-mlp",
    "mnist5k-cnn",
    "mnist-transfer",
    "fashion-mlp",
    "fashion-cnn",
]
OPTIMISATION = {"quadratic", "cancer-logistic"}
CLASSES = {name: 5 if name == "mnist-transfer" else 10 for name in NAMES if name not in OPTIMISATION}
SIZES = {
    "quadratic": (1, 1, 1),
    "cancer-logistic": (569, 569, 569),
    "digits-mlp": (1197, 300, 300),
    "mnist5k-mlp": (4000, 500, 500),
    "mnist5k-cnn": (4000, 500, 500),
    "mnist-transfer": (100, 250, 500),
    "fashion-mlp": (55_000, 5_000, 10_000),
    "fashion-cnn": (55_000, 2_000, 10_000),
}
PARAMETERS = {
    "quadratic": 12,
    "cancer-logistic": 31,
    "digits-mlp": 3_466,
    "mnist5k-mlp": 109_770,
    "mnist5k-cnn": 25_978,
    "mnist-transfer": 24_693,
    "fashion-mlp": 235_914,
    "fashion-cnn": 25_978,
}
FINGERPRINTS = {
    "quadratic": "6db65fd59fd356f6729140571b5bcd6bb3b83492a16e1bf0a3884442fc3c8a0e",
    "cancer-logistic": "5c9dae7525b190a73354cdd33d2ce9b8bf54866afe5f4182ea90a8db8b6cf92f",
    "digits-mlp": "18beac7bae127caa6d91d6fd719be1db358d3c13b9d808c417a4e012bc4c9441",
    "mnist5k-mlp": "9c807ad87ef402194c2ca4e68fd8f87e796deea64534568e37e80b8e974a7c05",
    "mnist5k-cnn": "9c807ad87ef402194c2ca4e68fd8f87e796deea64534568e37e80b8e974a7c05",
    "mnist-transfer": "45be1109e709841c9ade615364b0e4f215a25975d91c1348952947ef7626340d",
    "fashion-mlp": "e0a6c1eef9053d41d9817483157e41b06c4ba74255deb50e3985065c0a0f66d5",
    "fashion-cnn": "08770ea6bc166a3960d8ce478438af5f296ee71ead31aa7b727d8414ffa9bc86",
}


def is_here(name: str) -> str | None:
    """A reason to skip, without the network."""
    if name.startswith("fashion"):
        from lrbench.config.cache import cache_folder
        from lrbench.workloads import fashion

        here = fashion.is_prepared(cache_folder()) or fashion.is_packed(fashion.packed_folder())
        return None if here else "Fashion-MNIST is not on this machine (apt-get install dataset-fashion-mnist)"
    return WORKLOADS[name].missing()


@pytest.fixture(params=NAMES)
def workload(request: pytest.FixtureRequest) -> Workload:
    if reason := is_here(request.param):
        pytest.skip(reason)
    return WORKLOADS[request.param]


def start(workload: Workload, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return workload.model()


def test_the_catalog_has_these_in_this_order():
    assert list(WORKLOADS) == NAMES
    assert all(name == workload.name for name, workload in WORKLOADS.items())


def test_a_missing_name_is_told_the_nearest():
    with pytest.raises(LookupError, match=r"no workload called 'mnist5k-mpl'\. Did you mean 'mnist5k-mlp'"):
        WORKLOADS["mnist5k-mpl"]


def test_a_plug_in_may_not_take_a_name():
    catalog = Workloads("workload")
    catalog.update(WORKLOADS)
    mine = catalog.add(replace(WORKLOADS["quadratic"], name="mine"))
    assert catalog.add(mine) is catalog["mine"]
    with pytest.raises(LookupError, match="called 'quadratic' already"):
        catalog.add(replace(mine, name="quadratic"))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_where_it_comes_from_and_why_its_target(name):
    workload = WORKLOADS[name]
    assert all([workload.meaning, workload.source, workload.licence])
    assert "at step" in workload.target_reason
    assert workload.steps % workload.eval_every == 0


def test_data_have_the_stated_sizes_and_types(workload):
    data = workload.data()
    assert (len(data.train), len(data.validation), len(data.test)) == SIZES[workload.name]
    for part in (data.train, data.validation, data.test):
        assert (part.x.dtype, part.y.dtype) == (torch.float32, torch.int64)
        assert len(part.x) == len(part.y)
        assert torch.isfinite(part.x).all()
    assert workload.batch_size <= len(data.train)


@pytest.mark.parametrize("workload", CLASSES, indirect=True)
def test_no_example_is_in_two_parts(workload):
    data = workload.data()
    rows = [{row.numpy().tobytes() for row in part.x} for part in (data.train, data.validation, data.test)]
    assert len(set.union(*rows)) == sum(SIZES[workload.name])


@pytest.mark.parametrize("workload", CLASSES, indirect=True)
def test_classes_are_balanced_even_in_a_first_part(workload):
    data, classes = workload.data(), CLASSES[workload.name]
    for y in (data.validation.y, data.test.y, data.train.y[: len(data.train) // 2]):
        counts = torch.bincount(y, minlength=classes)
        assert len(counts) == classes
        assert counts.max() - counts.min() <= 1


def test_data_are_read_once(workload):
    assert workload.data().train.x is workload.data().train.x


def test_data_never_change(workload):
    assert fingerprint(workload.data()) == FINGERPRINTS[workload.name]


def test_the_layers_cover_each_parameter_once(workload):
    model = start(workload, 0)
    params = describe(workload, model)
    assert [p.name for p in params] == [name for name, _ in model.named_parameters()]
    assert {p.layer_name for p in params} == set(workload.layers)
    assert [p.layer for p in params] == sorted(p.layer for p in params)
    assert sum(math.prod(p.shape) for p in params) == PARAMETERS[workload.name]


def test_descriptions_need_shapes_only(workload):
    with torch.device("meta"):
        shapes = describe(workload, workload.model())
    assert shapes == describe(workload, start(workload, 0))


def test_a_seed_fixes_the_start(workload):
    first, again, other = (start(workload, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    differs = any(not torch.equal(first[name], other[name]) for name in first)
    assert differs == (workload.name not in OPTIMISATION)


@pytest.mark.parametrize("workload", CLASSES, indirect=True)
def test_it_starts_knowing_nothing(workload):
    data, model, classes = workload.data(), start(workload, 0), CLASSES[workload.name]
    with torch.no_grad():
        outputs = model(data.validation.x)
    assert outputs.shape == (len(data.validation), classes)
    assert workload.loss(outputs, data.validation.y).item() == pytest.approx(math.log(classes), rel=0.2)
    assert workload.metric.of(outputs, data.validation.y).item() < 0.4


def test_adamw_descends(workload):
    data, model = workload.data(), start(workload, 0)
    x, y = data.train.x[: workload.batch_size], data.train.y[: workload.batch_size]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = workload.loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_many_train_at_once(workload):
    """The stacked gradients of three models are the gradients of each."""
    data = workload.data()
    x, y = data.train.x[:16].double(), data.train.y[:16]
    models = [start(workload, seed).double() for seed in range(3)]
    params, buffers = stack_module_state(models)
    shell = start(workload, 0).double().to("meta")

    def loss_of(params, buffers, x, y):
        return workload.loss(functional_call(shell, (params, buffers), (x,)), y)

    grads, losses = vmap(grad_and_value(loss_of), in_dims=(0, 0, None, None))(params, buffers, x, y)
    for i, model in enumerate(models):
        loss = workload.loss(model(x), y)
        loss.backward()
        torch.testing.assert_close(losses[i], loss.detach())
        for name, value in model.named_parameters():
            torch.testing.assert_close(grads[name][i], value.grad)
        for name, value in model.named_buffers():
            torch.testing.assert_close(buffers[name][i], value)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_stated_sizes_are_those_of_the_data(name):
    workload = WORKLOADS[name]
    if reason := workload.missing():
        pytest.skip(reason)
    try:
        data = workload.data()
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert workload.examples == (len(data.train), len(data.validation), len(data.test))
