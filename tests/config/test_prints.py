"""A fingerprint changes with what code does, and with nothing else: for code that has no module of its own, such as a notebook's."""

import textwrap
import uuid
from dataclasses import replace

import pytest
import torch

from lrbench.config import sources
from lrbench.config.prints import Prints
from lrbench.workloads import Metric, accuracy

CELL = '''
import math
import torch
from torch import nn

RATE = 1.0
SIZES = [3, 4]
TABLE = {"a": torch.ones(2)}

def helped(x):
    """Helps."""
    return RATE * x

class Net(nn.Module):
    """A net."""
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(*SIZES)
    def forward(self, x):
        return helped(self.layer(x))

class Opt(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        import statistics
        return TABLE["a"].sum() + max([*map(lambda v: v + 1, SIZES)])

def made(at):
    def inner(groups, lr, *, eps=1e-3):
        return Opt(groups, lr), Net, at
    return inner

entry = made(0.5)
unused = 7
'''


def run(text, **more):
    names = {"__name__": "__main__"} | more
    exec(compile(text, "<cell>", "exec"), names)  # noqa: S102 - as a notebook does
    return names


def digest(value):
    prints = Prints(None)
    prints.value(value)
    assert prints.live
    return prints.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 1.0", "RATE = 2.0"),
        ("[3, 4]", "[3, 5]"),
        ("torch.ones(2)", "torch.zeros(2)"),
        ("RATE * x", "RATE + x"),
        ("nn.Linear", "nn.Bilinear"),
        ("super().__init__()", "super().__init__(); self.x = 1"),
        ("made(0.5)", "made(0.25)"),
        ("eps=1e-3", "eps=1e-4"),
        ("v + 1", "v + 2"),
        ("optim.SGD", "optim.Adam"),
        ("    @torch.no_grad()\n", ""),
        ("import statistics", "import sklearn"),
    ],
)
def test_a_change_of_what_it_does_changes_it(old, new):
    assert old in CELL
    assert digest(run(CELL.replace(old, new))["entry"]) != digest(run(CELL)["entry"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Helps."""', '"""Does not."""'),
        ("RATE = 1.0", "# a comment\nRATE   =   1.0"),
        ("unused = 7", "unused = 8"),
        ('"""A net."""', '"""Another text."""'),
    ],
)
def test_one_of_anything_else_does_not(old, new):
    assert digest(run(CELL.replace(old, new))["entry"]) == digest(run(CELL)["entry"])


def test_it_is_that_of_a_worker_that_imports_the_script():
    assert digest(run(CELL, __name__="__mp_main__", __file__="elsewhere.py")["entry"]) == digest(run(CELL)["entry"])


def test_using_what_was_defined_does_not_change_it():
    names = run(CELL)
    before = digest(names["entry"])
    optimizer, net, _ = names["entry"]([{"params": [torch.nn.Parameter(torch.zeros(1))]}], 0.1)
    optimizer.step()
    net()(torch.zeros(3))
    assert digest(names["entry"]) == before


def test_a_global_that_is_changed_later_counts_as_it_is():
    names = run(CELL)
    before = digest(names["entry"])
    names["RATE"] = 3.0
    assert digest(names["entry"]) != before


def test_what_refers_to_itself_comes_to_an_end():
    names = run(
        textwrap.dedent("""
        LIST = []
        LIST.append(LIST)
        def entry(n):
            return entry(n - 1) if n else LIST
    """)
    )
    assert digest(names["entry"])


def test_how_a_metric_is_written_decides_nothing():
    def digest(metric):
        prints = Prints(None)
        prints.value(metric)
        return prints.digest

    metric = Metric("accuracy", higher_is_better=True, of=accuracy)
    assert digest(replace(metric, unit="number")) == digest(replace(metric, unit="fraction")) == digest(metric)
    assert digest(replace(metric, is_mean=True)) != digest(metric)


class TestAnInstalledPackage:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """Writes a package with another module and of a version; gives the digest of it, and of a module that imports it."""
        place = tmp_path / "site-packages"
        name = f"plugged{uuid.uuid4().hex[:6]}"
        monkeypatch.syspath_prepend(place)

        def digests(version="1.0", inner="x = 1"):
            (place / name).mkdir(parents=True, exist_ok=True)
            (place / name / "__init__.py").write_text("from . import inner\n")
            (place / name / "inner.py").write_text(f"{inner}\n")
            info = place / f"{name}-0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (tmp_path / f"names_{name}.py").write_text(f"def f():\n    from {name}.inner import x\n")
            monkeypatch.syspath_prepend(tmp_path)
            sources.versions_of.cache_clear()
            return Prints(name).digest, Prints(f"names_{name}").digest

        return digests

    def test_its_version_and_its_code_count_where_it_is_the_plugin_and_its_version_where_one_names_it(self, package):
        own, named = package()
        assert (own, named) == package()
        assert [a != b for a, b in zip(package(version="1.1"), (own, named), strict=True)] == [True, True]
        assert [a != b for a, b in zip(package(inner="x = 2"), (own, named), strict=True)] == [True, False]
        assert (own, named) == package(version="1.0+cpu")
