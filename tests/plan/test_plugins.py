"""A file outside the package enters strategies and workloads, which then train like any other."""

import sys
import uuid
from importlib import metadata

import pytest

import lrbench
from lrbench.config import sources
from lrbench.config.faults import BadInput
from lrbench.plan import load_plugins, vocabulary
from lrbench.strategies import OPTIMIZERS
from lrbench.train.rules import RULES

FILE = '''
import torch
import lrbench
from lrbench.strategies import Rate
from lrbench.workloads import WORKLOADS
from dataclasses import replace

@lrbench.optimizer("sign-NAME", default_lr=1e-2)
def sign(groups, lr, *, scale: float = 1.0, limit: float | None = None):
    """Step by the sign.

    Source: a test.
    """
    class Sign(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * scale * p.grad.sign()
    return Sign(groups, {"lr": lr})

@lrbench.schedule("halves-NAME")
def halves(optimizer, total, *, at: float = 0.5):
    """Half the lr from a share of the budget on.

    Source: a test.
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < at * total else 0.5)

@lrbench.layer_lr("first-NAME")
def first():
    """Train the first layer.

    Source: a test.
    """
    return lambda params: {p.name: Rate(float(p.layer == 0)) for p in params}

lrbench.add_workload(replace(WORKLOADS["quadratic"], name="bowls-NAME"))
'''


@pytest.fixture
def name():
    """A suffix of its own for each test: what a plug-in enters stays for the life of the process."""
    return uuid.uuid4().hex[:6]


@pytest.fixture
def plugin(tmp_path, name):
    path = tmp_path / "plugin.py"
    path.write_text(FILE.replace("NAME", name))
    yield path
    for catalog in vocabulary().values():
        for known in [k for k in catalog if k.endswith(name)]:
            del catalog[known]


def matrix(name, **more):
    strategy = {
        "optimizer": f"sign-{name}",
        "layer_lr": f"first-{name}",
        "schedule": {"name": f"halves-{name}", "at": 0.25},
    }
    return {"workload": f"bowls-{name}", "seed": 0} | strategy | more


def test_what_it_enters_trains_and_is_stored(plugin, name, tmp_path):
    study = lrbench.run(matrix(name), results=tmp_path / "results", plugins=[plugin], workers=1)
    [found] = study.runs.to_dict("records")
    assert found["status"] == "missed"
    assert found["groups"].tolist() == ["flat.flat"]
    assert [float(lrs[0]) for lrs in found["group_lr"]] == [0.01] * 6 + [0.005] * 15
    assert study.facts["optimizers"][f"sign-{name}"]["meaning"] == "Step by the sign."


SCHEDULE = '''
import torch, lrbench
class Sets(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self):
        return [LR for base in self.base_lrs]
@lrbench.schedule("sets-NAME")
def sets(optimizer, total):
    """Set the lr.

    Source: a test.
    """
    return Sets(optimizer)
'''


@pytest.mark.parametrize(
    ("lr", "said"),
    [
        (
            "0.05 / (self.last_epoch + 1)",
            "lr 0.05 at step 1 with base lr 0.01, and 0.05 with half of it: it must multiply the base lr",
        ),
        ("base * (1.0 - self.last_epoch)", "the schedule gives lr -0.01 at step 3; an lr is a number from 0 up"),
        (
            "base * (float('nan') if self.last_epoch == 6 else 1.0)",
            "the schedule gives lr nan at step 7; an lr is a number from 0 up",
        ),
    ],
    ids=["absolute", "negative", "not a number"],
)
@pytest.mark.parametrize("seeds", [1, 4], ids=["one by one", "together"])
def test_a_schedule_that_is_no_factor_of_the_base_lr_is_an_error_of_the_run(lr, said, seeds, plugin, name, tmp_path):
    file = tmp_path / "sets.py"
    file.write_text(SCHEDULE.replace("NAME", name).replace("LR for", f"{lr} for"))
    axes = {"workload": "quadratic", "optimizer": "sgd", "layer_lr": "uniform", "schedule": f"sets-{name}", "lr": 0.01}
    study = lrbench.run(axes | {"seed": {"count": seeds}}, results=tmp_path / "r", plugins=[plugin, file], workers=1)
    assert len(study.runs) == seeds
    for found in study.runs.to_dict("records"):
        assert found["status"] == "crashed"
        assert f"lr audit: sets-{name}: " in found["reason"]
        assert said in found["reason"]


def test_a_schedule_whose_builder_returns_nothing_is_skipped_with_the_reason(name, plugin, tmp_path):
    file = tmp_path / "forgets.py"
    file.write_text(
        f"import lrbench\n@lrbench.schedule('forgets-{name}')\ndef f(optimizer, total):\n    'Forget. Source: a test.'"
    )
    plan = lrbench.make_plan(matrix(name) | {"schedule": f"forgets-{name}"}, plugins=[plugin, file])
    assert [s.reason for s in plan.skips] == [
        f"forgets-{name}: its builder returned None, which cannot be stepped: return an LRScheduler"
    ]


def test_it_can_be_given_twice_and_again(plugin, name):
    first = lrbench.make_plan(matrix(name), plugins=[plugin, plugin])
    assert lrbench.make_plan(matrix(name), plugins=[plugin]) == first


def test_two_files_of_one_name_are_two_plugins(plugin, name, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "plugin.py"
    other.write_text(FILE.replace("NAME", f"other-{name}"))
    for _ in range(2):
        load_plugins([plugin, other])
    assert {f"sign-{name}", f"sign-other-{name}"} <= set(vocabulary()["optimizer"])


HELPER = '"""Helps."""\nSCALE = 1.0\ndef helped(lr):\n    return SCALE * lr\n'
CODE = '''
"""A plug-in whose code is not in the function that it enters."""
import numpy
import torch
import lrbench
from helper_NAME import helped
from dataclasses import replace
from lrbench.workloads import WORKLOADS

class Sign(torch.optim.Optimizer):
    """The arithmetic."""
    @torch.no_grad()
    def step(self, closure=None):
        import textwrap
        for group in self.param_groups:
            for p in group["params"]:
                p -= STEP * helped(group["lr"]) * p.grad.sign()

@lrbench.optimizer("sign-NAME", default_lr=1e-2)
def sign(groups, lr):
    """Step by the sign. Source: a test."""
    return Sign(groups, {"lr": lr})

@lrbench.layer_lr("first-NAME")
def first():
    """All. Source: a test."""
    return lambda params: {p.name: lrbench.Rate() for p in params}

@lrbench.schedule("halves-NAME")
def halves(optimizer, total, *, at: float = 0.5):
    """Nothing. Source: a test."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

lrbench.add_workload(replace(WORKLOADS["quadratic"], name="bowls-NAME"))
STEP = 1.0
'''


def revisions(run):
    return [getattr(run, axis).revision for axis in vocabulary()]


class TestItsCodeIsPartOfTheKey:
    """An edit of whatever a plug-in is made of makes new runs, in the same process too; one of what says nothing to Python does not."""

    @pytest.fixture
    def planned(self, plugin, name, tmp_path, monkeypatch):
        """The run of the matrix, with the plug-in as it lies there, from a process that has not imported its helper yet."""
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / f"helper_{name}.py").write_text(HELPER)
        plugin.write_text(CODE.replace("NAME", name))

        def plan():
            sys.modules.pop(f"helper_{name}", None)
            [run] = lrbench.make_plan(matrix(name), plugins=[plugin]).missing
            return run

        return plan

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("plugin.py", "STEP = 1.0", "STEP = 0.0"),
            ("plugin.py", "p -= STEP", "p += STEP"),
            ("plugin.py", '"quadratic"], name', '"quadratic"], lowest_loss=0.0, name'),
            ("plugin.py", "import textwrap", "import helper_of_NAME"),
            ("helper_NAME.py", "SCALE = 1.0", "SCALE = 2.0"),
        ],
        ids=["a constant", "a class", "a workload", "an import in a function", "a module beside it"],
    )
    def test_an_edit_changes_it(self, file, old, new, planned, name, tmp_path):
        before, path = planned(), tmp_path / file.replace("NAME", name)
        assert all(isinstance(revision, str) for revision in revisions(before))
        path.write_text(path.read_text().replace(old, new.replace("NAME", name)))
        if file == "plugin.py":
            after = planned()
        else:
            plugin = tmp_path / "plugin.py"
            plugin.write_text(plugin.read_text() + "# another text, so that it is imported again\n")
            after = planned()
        assert not {*revisions(before)} & {*revisions(after)}
        assert before.key != after.key
        path.write_text(path.read_text().replace(new.replace("NAME", name), old) + "\n# as it was")
        (tmp_path / "plugin.py").write_text((tmp_path / "plugin.py").read_text() + "# and again\n")
        assert planned().key == before.key

    def test_comments_docstrings_and_layout_do_not(self, planned, plugin):
        before = planned()
        plugin.write_text(
            f"# hello\n{plugin.read_text()}".replace('"""The arithmetic."""', '"""Words."""').replace(
                "STEP * ", "STEP  *  "
            )
        )
        assert planned().key == before.key

    def test_another_version_of_a_package_that_it_names_does(self, planned, plugin, monkeypatch):
        before, version = planned(), metadata.version
        for package, changes in (("numpy", True), ("torch", False), ("lrbench-suite", False), ("scipy", False)):
            with monkeypatch.context() as patch:
                patch.setattr(
                    metadata, "version", lambda name, package=package: "0.0" if name == package else version(name)
                )
                sources.versions_of.cache_clear()
                plugin.write_text(plugin.read_text() + "#\n")
                assert (planned().key != before.key) == changes
        sources.versions_of.cache_clear()

    def test_a_module_that_was_edited_after_its_import_is_refused(self, planned, name, plugin, tmp_path):
        planned()
        lrbench.make_plan(matrix(name), plugins=[plugin])
        (tmp_path / f"helper_{name}.py").write_text(HELPER.replace("1.0", "2.0"))
        with pytest.raises(BadInput, match=rf"helper_{name}.py: was edited after it was imported: start Python anew"):
            lrbench.make_plan(matrix(name), plugins=[plugin])

    def test_it_counts_within_a_built_in_schedule_too(self, planned, plugin, name):
        def key():
            planned()
            parts = {"schedule": {"name": "sequential", "parts": ["constant", f"halves-{name}"]}}
            return lrbench.make_plan(matrix(name) | parts, plugins=[plugin]).missing[0].schedule.revision

        before = key()
        plugin.write_text(plugin.read_text().replace("step: 1.0", "step: 0.5"))
        assert key() != before

    def test_the_place_of_a_file_does_not_count(self, planned, plugin, name, tmp_path):
        before = planned()
        for catalog in vocabulary().values():
            for known in [k for k in catalog if k.endswith(name)]:
                del catalog[known]
        (tmp_path / "elsewhere").mkdir()
        other = plugin.rename(tmp_path / "elsewhere" / "other.py")
        [after] = lrbench.make_plan(matrix(name), plugins=[other]).missing
        assert after.key == before.key

    def test_two_files_of_one_name_are_refused_and_so_is_one_file_twice(self, planned, plugin, name, tmp_path):
        planned()
        (tmp_path / "copy.py").write_text(plugin.read_text())
        with pytest.raises(BadInput, match=rf"there is one optimizer called 'sign-{name}' already \(from {plugin}\)"):
            load_plugins([tmp_path / "copy.py"])
        plugin.write_text(plugin.read_text() + plugin.read_text())
        with pytest.raises(BadInput, match=rf"there is one optimizer called 'sign-{name}' already"):
            load_plugins([plugin])


RULE = """
from lrbench.train.rules.base import rule, zeros
@rule("NAME", zeros())
def lbfgs(p, g, s, lr, h, **rest):
    p -= 1.0 * lr * g
"""


def test_a_rule_that_is_added_to_a_built_in_optimizer_counts_for_it(tmp_path, monkeypatch):
    monkeypatch.setitem(RULES, "lbfgs", RULES["adam"])  # which is put back
    built_in, file = OPTIMIZERS["lbfgs"], tmp_path / "rule.py"
    file.write_text(RULE.replace("NAME", "lbfgs"))
    load_plugins([file])
    first = OPTIMIZERS["lbfgs"].revision
    assert isinstance(first, str)
    file.write_text(RULE.replace("NAME", "lbfgs").replace("1.0", "2.0"))
    load_plugins([file])
    assert OPTIMIZERS["lbfgs"].revision not in (first, built_in.revision)
    OPTIMIZERS.added.pop("lbfgs")
    OPTIMIZERS["lbfgs"] = built_in


def test_what_a_module_entered_stays_when_the_file_that_imports_it_is_edited(plugin, name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = plugin.rename(tmp_path / f"entries_{name}.py")
    plugin.write_text(f"import {module.stem}\n")
    [run] = lrbench.make_plan(matrix(name), plugins=[plugin]).missing
    plugin.write_text(f"import {module.stem}\nx = 1\n")
    assert lrbench.make_plan(matrix(name), plugins=[plugin]).missing == (run,)


def test_a_revision_of_its_own_counts_besides(plugin, name):
    text = plugin.read_text()
    plugin.write_text(text.replace('name="bowls', 'revision="b", name="bowls'))
    [run] = lrbench.make_plan(matrix(name), plugins=[plugin]).missing
    assert run.workload.revision.startswith("b-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("import lrbench\n@lrbench.optimizer('adam', default_lr=1.0)\ndef f(groups, lr): ...", "there is one optimizer "
        "called"),
        ("import lrbench\n@lrbench.optimizer('mine')\ndef f(groups, lr): ...", "missing 1 required keyword-only "
        "argument: 'default_lr'"),
        (
            "import lrbench\nfrom dataclasses import replace\nfrom lrbench.workloads import WORKLOADS\n"
            "lrbench.add_workload(replace(WORKLOADS['quadratic'], name='digits-mlp'))",
            "there is one workload called 'digits-mlp' already: choose another name",
        ),
    ],
    ids=["missing module", "syntax", "raises", "clash", "no default lr", "workload clash"],
)  # fmt: skip
def test_one_that_cannot_be_imported_is_bad_input_that_names_it(text, said, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_plugins([path])
    [line] = caught.value.faults
    assert line.startswith(f"--plugin {path}: ")
    assert said in line


@pytest.mark.parametrize("file", ["none.py", "."])
def test_one_that_is_not_there_is_bad_input(file, tmp_path):
    with pytest.raises(BadInput, match="there is no such file"):
        load_plugins([tmp_path / file])


def test_one_that_is_not_python_is_bad_input(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadInput, match="is not a Python file"):
        load_plugins([tmp_path / "notes.txt"])


def test_a_file_beside_a_plugin_can_be_imported_and_another_of_its_name_is_refused(name, tmp_path):
    paths = []
    for place, lr in (("one", 0.1), ("other", 0.2)):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"beside_{name.replace('-', '_')}.py").write_text(f"LR = {lr}\n")
        paths.append(tmp_path / place / "plug.py")
        paths[-1].write_text(
            f"import torch, lrbench\nfrom beside_{name.replace('-', '_')} import LR\n"
            f"@lrbench.optimizer('{place}-{name}', default_lr=LR)\ndef f(groups, lr):\n"
            "    'Step. Source: a test.'\n    return torch.optim.SGD(groups, lr)\n"
        )
    plan = lrbench.make_plan({"workload": "quadratic", "optimizer": f"one-{name}", "seed": 0}, plugins=paths[:1])
    assert [run.lr for run in plan.possible] == [0.1]
    with pytest.raises(BadInput, match=r"imports beside_.*: give one of them another name"):
        lrbench.make_plan({"workload": "quadratic", "optimizer": f"other-{name}", "seed": 0}, plugins=paths[1:])


def test_a_schedule_that_draws_its_lrs_is_told_why_it_cannot_be_audited(name, plugin, tmp_path):
    file = tmp_path / "draws.py"
    file.write_text(SCHEDULE.replace("NAME", name).replace("LR for", "base * float(__import__('torch').rand(())) for"))
    axes = {"workload": "quadratic", "optimizer": "sgd", "schedule": f"sets-{name}", "lr": 0.01, "seed": 0}
    [found] = lrbench.run(axes, results=tmp_path / "r", plugins=[plugin, file], workers=1).runs.to_dict("records")
    assert "the schedule gives other lrs each time" in found["reason"]


def test_infinite_settings_are_stored_and_trained(name, tmp_path):
    file = tmp_path / "inf.py"
    file.write_text(
        f"import torch, lrbench\n@lrbench.optimizer('inf-{name}', default_lr=0.1)\n"
        "def f(groups, lr, *, most: float = float('inf')):\n    'Step. Source: a test.'\n"
        "    assert most > 1e300\n    return torch.optim.SGD(groups, lr)\n"
    )
    axes = {"workload": "quadratic", "optimizer": f"inf-{name}", "seed": [0, 1]}
    study = lrbench.run(axes, results=tmp_path / "r", plugins=[file], workers=1)
    assert set(study.runs.status) <= {"missed", "reached"}
    assert lrbench.make_plan(axes, results=tmp_path / "r", plugins=[file]).missing == ()
