"""Stored numbers are never those of other code, whatever is edited, defined anew, or left behind."""

import code
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
import types

import numpy as np
import pyarrow.parquet as pq
import pytest

import lrbench
from lrbench.config.cost import Costs, StepCost
from lrbench.config.faults import BadInput
from lrbench.config.origin import MAIN
from lrbench.execute import carry_out, make_session, work
from lrbench.execute.costs import measure_costs
from lrbench.execute.executor import Task
from lrbench.execute.interrupt import SAVING, saving
from lrbench.execute.preview import preview
from lrbench.execute.reproduce import reproduce
from lrbench.execute.work import Worker
from lrbench.plan import vocabulary
from lrbench.store import write_costs
from lrbench.store.costs import read_costs
from lrbench.workloads import WORKLOADS

FILE = '''
import torch
from torch import nn
from torch.nn.functional import cross_entropy
import lrbench
from lrbench.workloads import ACCURACY, Data, Metric, Split, Workload

WIDTH = 16
STEP = 1.0

def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(480, 16, generator=g)
    y = (x @ torch.randn(16, 4, generator=g)).argmax(-1)
    return Data(Split(x[:320], y[:320]), Split(x[320:400], y[320:400]), Split(x[400:], y[400:]))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(16, WIDTH)
        self.head = nn.Linear(WIDTH, 4)
    def forward(self, x):
        return self.head(self.layer1(x).relu())

class MySign(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= STEP * group["lr"] * p.grad.sign()

@lrbench.optimizer("my-sign", default_lr=1e-3)
def my_sign(groups, lr):
    """Step by the sign. Source: a test."""
    return MySign(groups, lr)

lrbench.add_workload(Workload(
    name="mine", meaning="a case", source="a test", licence="no data", data=data, model=Net, layers=("layer1", "head"),
    loss=cross_entropy, metric=ACCURACY, examples=(320, 80, 80), target=0.8, target_reason="none", steps=20, batch_size=32, eval_every=10,
))
'''
MATRIX = {"name": "m", "workload": ["mine", "quadratic"], "optimizer": ["my-sign", "sgd"], "lr": 0.003, "seed": 0}
PARAMETERS = {16: 340, 2: 46}


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "p.py"
    path.write_text(FILE)
    yield path
    forget()


def forget(*names):
    for catalog in vocabulary().values():
        for name in ("mine", "my-sign", *names):
            catalog.pop(name, None)


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def trained(plugin, tmp_path):
    return lrbench.run(MATRIX, results=tmp_path / "r", workers=1, device="cpu", plugins=[plugin])


def qualities(study):
    return study.runs.set_index(["workload", "optimizer"]).val_metric.map(lambda v: float(v[-1])).to_dict()


class TestAPluginThatIsEdited:
    @pytest.mark.parametrize(("old", "new"), [("WIDTH = 16", "WIDTH = 2"), ("STEP = 1.0", "STEP = 0.0")])
    def test_it_is_trained_anew_with_a_line_and_comes_back(self, old, new, plugin, tmp_path, capsys):
        before = trained(plugin, tmp_path)
        capsys.readouterr()
        assert trained(plugin, tmp_path).runs.equals(before.runs)
        assert "changed" not in capsys.readouterr().err
        edit(plugin, old, new)
        session = make_session(MATRIX, results=tmp_path / "r", workers=1, device="cpu", plugins=[plugin])
        said = (
            " changed since, in code or a package: 3 stored runs of m are set aside, in retired/; 3 of them to do anew"
        )
        [line] = preview(session)["changed"]
        assert line in [f"{names} (p.py){said}" for names in ("mine, my-sign", "my-sign, mine")]
        after = trained(plugin, tmp_path)
        assert said in capsys.readouterr().err
        assert qualities(after)["mine", "my-sign"] != qualities(before)["mine", "my-sign"]
        assert qualities(after)["quadratic", "sgd"] == qualities(before)["quadratic", "sgd"]
        edit(plugin, new, old)
        assert trained(plugin, tmp_path).runs.key.tolist() == before.runs.key.tolist()
        assert "3 stored runs of m are set aside, in retired/; 0 of them to do anew" in capsys.readouterr().err

    @pytest.mark.usefixtures("quick_turns")
    def test_no_description_stands_beside_runs_of_another_model_at_any_moment(self, plugin, tmp_path, monkeypatch):
        widths, seen = {}, []
        write = sys.modules["lrbench.store.study"].write_whole

        def watched(path, *rest):
            found = write(path, *rest)
            folder = next(p for p in path.parents if p.parent.name == "m")
            if (folder / "study.toml").is_file():
                told = tomllib.loads((folder / "study.toml").read_text())["workloads"]["mine"]["parameters"]
                rows = [
                    json.loads(row)
                    for p in (folder / "runs").glob("*.parquet")
                    for row in pq.read_table(p)["run"].to_pylist()
                ]
                seen.append(
                    {
                        PARAMETERS[widths[row["workload"]["revision"]]]
                        for row in rows
                        if row["workload"]["name"] == "mine"
                    }
                    <= {told}
                )
            return found

        monkeypatch.setattr("lrbench.store.study.write_whole", watched)
        for width in (16, 2, 16):
            edit(plugin, "WIDTH = 2\n" if width == 16 else "WIDTH = 16\n", f"WIDTH = {width}\n")
            session = make_session(MATRIX, results=tmp_path / "r", workers=1, device="cpu", plugins=[plugin])
            widths[WORKLOADS["mine"].revision] = width
            if width == 2:
                measure_costs(session)
            carry_out(session)
        assert len(seen) > 10
        assert all(seen)

    def test_its_step_costs_go_and_others_stay(self, plugin, tmp_path, capsys):
        folder = trained(plugin, tmp_path).folder
        plain = {"layer_lr": "uniform", "schedule": "constant", "batch_size": 1, "accumulate": 1, "precision": "fp32"}
        plain |= {
            "implementation": "default",
            "grouping": "policy",
            "compiled": False,
            "from_step": 0,
            "groups": 1,
            "device": "cpu",
        }
        costs = [StepCost(workload=w, optimizer=o, **plain) for w in ("mine", "quadratic") for o in ("my-sign", "sgd")]
        write_costs(folder, Costs(tuple(costs)))
        edit(plugin, "STEP = 1.0", "STEP = 0.0")
        trained(plugin, tmp_path)
        assert [(cost.workload, cost.optimizer) for cost in read_costs(folder).costs] == [("quadratic", "sgd")]
        assert "3 step costs of theirs are taken out of costs.json" in capsys.readouterr().err

    def test_a_record_of_other_code_is_not_reproduced_and_says_why(self, plugin, tmp_path):
        folder = trained(plugin, tmp_path).folder
        edit(plugin, "STEP = 1.0", "STEP = 0.0")
        found = reproduce(folder, device="cpu", workers=1, plugins=[plugin])
        assert (
            sum(
                "was changed since" in row.reason and row.reason.endswith("here: its code is another")
                for row in found.runs
            )
            == 3
        )

    def test_a_plan_of_before_is_refused(self, plugin, tmp_path):
        session = make_session(MATRIX, results=tmp_path / "r", workers=1, device="cpu", plugins=[plugin])
        edit(plugin, "STEP = 1.0", "STEP = 0.0")
        lrbench.make_plan(MATRIX, plugins=[plugin])
        with pytest.raises(BadInput, match=r"was changed since: revision .* Make the plan anew\."):
            carry_out(session)

    def test_a_worker_that_has_other_code_trains_nothing(self, plugin, tmp_path, monkeypatch, cpu):
        runs = lrbench.make_plan(MATRIX, plugins=[plugin]).missing
        edit(plugin, "STEP = 1.0", "STEP = 0.0")
        lrbench.make_plan(MATRIX, plugins=[plugin])
        monkeypatch.setattr(work, "_worker", Worker(cpu, tmp_path), raising=False)
        done = {run.workload.name + run.optimizer.name: outcome for run, outcome in work.work(Task(runs))}
        assert done["quadraticsgd"].status == "missed"
        assert done["minesgd"].reason.startswith(
            "a worker process imported something else: was a file edited meanwhile"
        )


CELL = '''
import lrbench, torch
from dataclasses import replace
from lrbench.workloads import WORKLOADS
added = lrbench.add_workload(replace(WORKLOADS["quadratic"], name="cell-bowls", steps=STEPS))

@lrbench.optimizer("in-a-cell", default_lr=0.02)
def mine(groups, lr):
    """SGD. Source: a test."""
    return torch.optim.SGD(groups, lr)

'''
CELL_MATRIX = {"name": "c", "workload": "cell-bowls", "optimizer": "in-a-cell", "lr": [0.01, 0.02], "seed": 0}


class TestASession:
    @pytest.fixture
    def console(self):
        console = code.InteractiveConsole({"__name__": "__main__"})

        def paste(text):
            for line in text.splitlines():
                console.push(line)
            console.push("")

        yield paste
        forget("cell-bowls", "in-a-cell")

    def study(self, tmp_path, workers=2):
        return lrbench.run(CELL_MATRIX, results=tmp_path, workers=workers, device="cpu")

    def test_a_cell_may_be_run_again_and_trains_in_this_process(self, console, tmp_path, capsys):
        console(CELL.replace("STEPS", "20"))
        first = self.study(tmp_path)
        assert set(first.runs.status) == {"missed"}
        told = capsys.readouterr().err
        assert (
            "cell-bowls, in-a-cell are defined in this session, which no other process can import, so that this "
            "process trains" in told
        )
        console(CELL.replace("STEPS", "20"))
        assert self.study(tmp_path).runs.equals(first.runs)
        assert "set aside" not in capsys.readouterr().err
        console(CELL.replace("STEPS", "20").replace("SGD(groups, lr)", "SGD(groups, lr / 2)"))
        assert not set(self.study(tmp_path).runs.key) & set(first.runs.key)
        assert "in-a-cell (this session) changed since" in capsys.readouterr().err

    def test_data_of_a_cell_that_is_run_again_are_the_new_ones(self, console, tmp_path):
        console("S = 1.0\n" + CELL.replace("STEPS", "20") + "def scaled(outputs, y): return S * outputs.mean()\n")
        console("added = lrbench.add_workload(replace(added, loss=scaled))\n")
        first, revision = qualities(self.study(tmp_path, 1)), WORKLOADS["cell-bowls"].revision
        console("added = lrbench.add_workload(replace(added, loss=scaled))\n")
        assert WORKLOADS["cell-bowls"].revision == revision
        console("S = 2.0\n")
        assert qualities(self.study(tmp_path, 1)) != first

    def test_a_file_takes_the_place_of_a_cell_and_no_cell_that_of_a_file(self, console, tmp_path, capsys):
        console(CELL.replace("STEPS", "20"))
        (tmp_path / "cell.py").write_text(CELL.replace("STEPS", "20"))
        plan = lrbench.make_plan(CELL_MATRIX, plugins=[tmp_path / "cell.py"])
        assert len(plan.missing) == 2
        capsys.readouterr()
        console(CELL.replace("STEPS", "20"))
        assert (
            f"there is one workload called 'cell-bowls' already (from {tmp_path / 'cell.py'}): choose another name"
            in capsys.readouterr().err
        )


ENTER = "lrbench.optimizer('{}', default_lr=1.0)(lambda groups, lr: torch.optim.SGD(groups, lr))"
MAIN_FILE = f"""
import lrbench, torch
{ENTER.format("plain")}
def enter(): {ENTER.format("in-a-function")}
enter()
exec(\"\"\"{ENTER.format("as-text")}\"\"\")
if __name__ == "__main__":
    {ENTER.format("guarded")}
    exec(\"\"\"{ENTER.format("as-text-guarded")}\"\"\")
"""


def test_a_script_brings_to_workers_what_it_enters_outside_of_its_guard(tmp_path, monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__ = str(tmp_path / "main.py")
    (tmp_path / "main.py").write_text(MAIN_FILE)
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(MAIN_FILE, main.__file__, "exec"), vars(main))  # noqa: S102 - as Python does
    exec(compile(ENTER.format("pasted"), "<stdin>", "exec"), vars(main))  # noqa: S102 - as a prompt does
    expected = {
        "plain": MAIN,
        "in-a-function": MAIN,
        "as-text": MAIN,
        "guarded": None,
        "as-text-guarded": None,
        "pasted": None,
    }
    assert {name: vocabulary()["optimizer"].origins[name].through for name in expected} == expected
    forget(*expected)


SCRIPT = (
    CELL.replace("STEPS", "20")
    + """
if __name__ == "__main__":
    def run(name, **matrix):
        matrix = {"name": name, "workload": "cell-bowls", "optimizer": "in-a-cell", "lr": [0.01, 0.02], "seed": 0} | matrix
        print(name, *lrbench.run(matrix, results="r", workers=2, device="cpu").runs.status, flush=True)

    run("mine")
    if BUILT_IN:
        run("built-in", workload="quadratic", optimizer="sgd")
"""
)


@pytest.mark.skipif(os.name == "nt", reason="spawns")
@pytest.mark.parametrize(
    ("how", "built_in"),
    [
        ("standard input", False),
        pytest.param("standard input", True, marks=pytest.mark.exhaustive),
        pytest.param("file", False, marks=pytest.mark.exhaustive),
    ],
)
def test_a_script_reaches_the_workers_or_trains_by_itself(how, built_in, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.replace("BUILT_IN", str(built_in)))
    with (tmp_path / "script.py").open() as text:
        name, given = ("script.py", None) if how == "file" else ("-", text)
        done = subprocess.run(
            [sys.executable, name], stdin=given, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.stdout.splitlines() == ["mine missed missed", *(["built-in missed missed"] if built_in else [])], (
        done.stderr
    )
    assert ("cell-bowls, in-a-cell are defined in this session" in done.stderr) == (how != "file")


SLOW = '''
import os, time
from pathlib import Path
import torch
import lrbench

@lrbench.optimizer("my-sign", default_lr=0.1)
def slow(groups, lr):
    """SGD with momentum that takes its time while it is told to. Source: a test."""
    class Slow(torch.optim.SGD):
        def step(self, closure=None):
            if "LRBENCH_TEST_SLOW" in os.environ:
                Path(os.environ["LRBENCH_TEST_SLOW"]).touch()
                time.sleep(0.05)
            return super().step(closure)
    return Slow(groups, lr, momentum=0.9)
'''


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_saves_the_run_in_hand_and_it_goes_on_to_the_same_bits(plugin, tmp_path):
    plugin.write_text(SLOW)
    (tmp_path / "m.toml").write_text(
        'workload = "quadratic"\noptimizer = "my-sign"\nlr = 0.01\nseed = 0\nbudget.quadratic = { steps = 400, '
        "eval_every = 200 }\n"
    )
    begun = tmp_path / "begun"
    arguments = [
        sys.executable,
        "-m",
        "lrbench",
        "run",
        "m.toml",
        "--device",
        "cpu",
        "--workers",
        "1",
        "--plugin",
        str(plugin),
    ]
    environment = os.environ | {"LRBENCH_TEST_SLOW": str(begun)}
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    while not begun.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert SAVING in said
    assert "Traceback" not in said
    [saved] = (tmp_path / "results").rglob("checkpoints/*.pt")
    read = {"device": "cpu", "workers": 1, "plugins": [plugin]}
    resumed = lrbench.run(tmp_path / "m.toml", results=tmp_path / "results", **read)
    assert not saved.exists()
    whole = lrbench.run(tmp_path / "m.toml", results=tmp_path / "whole", **read)
    for name in ("key", "status", "loss_digest", "test_loss"):
        assert resumed.runs[name].tolist() == whole.runs[name].tolist()
    for name in ("val_loss", "val_metric", "loss_at_step", "group_lr"):
        np.testing.assert_array_equal(np.vstack(resumed.runs[name][0]), np.vstack(whole.runs[name][0]))


class TestSaving:
    def test_the_first_asks_and_the_second_interrupts(self, capsys):
        before = signal.getsignal(signal.SIGINT)
        with saving() as stop:
            assert not stop()
            signal.raise_signal(signal.SIGINT)
            assert stop()
            assert SAVING in capsys.readouterr().err
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before

    def test_elsewhere_it_leaves_signals_alone(self):
        found = []

        def inside():
            with saving() as stop:
                found.append((stop(), signal.getsignal(signal.SIGINT)))

        other = threading.Thread(target=inside)
        other.start()
        other.join()
        assert found == [(False, signal.getsignal(signal.SIGINT))]

    def test_a_program_that_looks_after_it_keeps_its_own(self):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with saving():
                assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)
