"""Settings are taken as their authors write them, or refused in words."""

import math
from dataclasses import replace
from typing import Any

import pytest

from lrbench.config.catalog import Catalog
from lrbench.config.matrix import parse_matrix
from lrbench.config.run import Run
from lrbench.plan import expand, vocabulary
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES, Pacer, Timing
from lrbench.strategies.optimizers import OptimizerEntry
from lrbench.strategies.schedules import stand_in


def entered(build):
    catalog = Catalog("thing", OptimizerEntry, common=lambda _: {"warmup": (int, 0)})
    catalog.register("x", default_lr=0.1)(build)
    return catalog["x"]


def annotated(*, betas: tuple[float, float] = (0.9, 0.999), limit: float = math.inf, some: float | None = None): ...
def bare(*, betas=(0.9, 0.999), limit=math.inf, some=None): ...


@pytest.mark.parametrize("build", [annotated, bare])
class TestAsTheyAreWritten:
    def test_defaults_are_what_the_function_says(self, build):
        found = entered(build).resolve({})
        assert (found["betas"], found["limit"], found["some"]) == ((0.9, 0.999), math.inf, None)

    def test_a_list_of_a_matrix_is_a_tuple(self, build):
        found = entered(build).resolve({"betas": [0.8, 0.99], "limit": 2.0, "some": 0.5})
        assert (found["betas"], found["limit"], found["some"]) == ((0.8, 0.99), 2.0, 0.5)

    def test_they_go_to_a_key_and_back(self, build, monkeypatch):
        monkeypatch.setitem(OPTIMIZERS, "written", replace(entered(build), name="written"))
        matrix = {
            "name": "m",
            "workload": "quadratic",
            "optimizer": {"name": "written", "betas": [0.8, 0.99]},
            "seed": 0,
        }
        [run] = expand(parse_matrix(matrix, vocabulary()), vocabulary())
        assert Run.model_validate_json(run.model_dump_json()).optimizer.name == "written"
        assert OPTIMIZERS["written"].resolve(run.optimizer.settings)["betas"] == (0.8, 0.99)


def hidden(*, _beta: float = 0.9): ...


def test_a_setting_that_would_be_dropped_is_refused():
    with pytest.raises(LookupError, match="parameter '_beta': a setting cannot begin with an underscore: rename it"):
        entered(hidden)


def test_one_without_type_and_default_is_refused():
    def build(*, some): ...

    with pytest.raises(LookupError, match="parameter 'some' needs a type annotation"):
        entered(build)


def falls(optimizer: Any, total: int, *, warmup: int = 3, per: float = 0.5):
    """Stays, then falls: its settings are its own, whatever others call theirs.

    Source: a test.
    """
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: 1.0 if step < min(warmup, total) else per)


def test_settings_of_the_names_of_common_ones_are_the_schedules_own():
    SCHEDULES.register("own-names")(falls)
    try:
        matrix = {
            "name": "m",
            "workload": "quadratic",
            "seed": 0,
            "schedule": ["own-names", {"name": "own-names", "warmup": 5, "per": 0.25}],
        }
        for run, (warmup, per) in zip(
            expand(parse_matrix(matrix, vocabulary()), vocabulary()), [(3, 0.5), (5, 0.25)], strict=True
        ):
            optimizer = stand_in([1.0])
            pacer = Pacer(run.schedule, optimizer, Timing(8, 4, 2))
            lrs = []
            for step in range(1, 9):
                lrs.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                pacer.after_step(step)
            assert lrs == [1.0] * warmup + [per] * (8 - warmup)
    finally:
        SCHEDULES.pop("own-names")


@pytest.mark.parametrize("catalog", [OPTIMIZERS, SCHEDULES], ids=lambda c: c.kind)
def test_a_flag_that_the_catalog_does_not_know_is_refused(catalog):
    known = next(iter(catalog.flags))
    with pytest.raises(
        LookupError, match=f"{catalog.kind} 'mine': there is no flag '{known}s'. Did you mean '{known}'"
    ):
        catalog.register("mine", flags=[known + "s"])
    assert "mine" not in catalog


@pytest.mark.parametrize("catalog", [LAYER_LRS, SCHEDULES], ids=lambda c: c.kind)
def test_a_fact_that_the_catalog_does_not_know_is_refused(catalog):
    with pytest.raises(LookupError, match=f"{catalog.kind} 'mine': there is no fact 'is_constnt'"):
        catalog.register("mine", is_constnt=True)
    assert "mine" not in catalog
