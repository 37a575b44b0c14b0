"""A study survives whatever happens to its runs, its workers, and itself."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import synthetic
import torch

import lrbench
from lrbench.config.faults import BadInput
from lrbench.config.outcome import Outcome, Status
from lrbench.execute import Session, carry_out, make_session, processes
from lrbench.execute.costs import measure_costs
from lrbench.execute.estimate import estimate
from lrbench.execute.executor import Executor, Result, Task
from lrbench.execute.preview import preview, preview_text
from lrbench.execute.processes import Processes, WorkerProcess
from lrbench.execute.progress import Progress
from lrbench.plan import vocabulary
from lrbench.store import Study, load
from lrbench.workloads import WORKLOADS, Unavailable

FILE = r'''"""A plug-in for tests: gradient descent that sleeps, raises, dies or is interrupted at the lr it is told to."""

import os
import time
from pathlib import Path

import torch

import lrbench


@lrbench.optimizer("troubled", default_lr=0.1)
def troubled(groups, lr, *, raises: float = 0.0, dies: float = 0.0, interrupts: float = 0.0, sleeps: float = 0.0):
    """Gradient descent with a fault of its own, as long as the file that LRBENCH_TEST_TROUBLE names is there.

    Source: a test.
    """

    class Troubled(torch.optim.SGD):
        def step(self, closure=None):
            if Path(os.environ["LRBENCH_TEST_TROUBLE"]).exists():
                time.sleep(sleeps)
                if lr == raises:
                    raise RuntimeError("no\nluck")
                if lr == dies:
                    time.sleep(0.5)  # the others finish first
                    os._exit(1)
                if lr == interrupts:
                    raise KeyboardInterrupt
            return super().step(closure)

    return Troubled(groups, lr)
'''
LRS = [0.01, 0.05, 0.1, 0.15]
CURVES = ("eval_step", "val_loss", "val_metric", "loss_at_step", "group_lr")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The file of the troubled optimizer, which leaves the catalog when these tests are over."""
    path = tmp_path_factory.mktemp("plugin") / "troubled.py"
    path.write_text(FILE)
    yield path
    vocabulary()["optimizer"].pop("troubled", None)


@pytest.fixture
def session(plugin):
    def make(folder, workers=1, **options) -> Session:
        return make_session(matrix(**options), results=folder, device="cpu", workers=workers, plugins=[plugin])

    return make


@pytest.fixture(autouse=True)
def trouble(tmp_path, monkeypatch):
    """The file whose presence makes the troubled optimizer misbehave."""
    flag = tmp_path / "trouble"
    flag.touch()
    monkeypatch.setenv("LRBENCH_TEST_TROUBLE", str(flag))
    return flag


def matrix(lrs=LRS, steps=40, **options):
    return {
        "name": "m", "workload": "quadratic", "optimizer": {"name": "troubled"} | options, "lr": list(lrs), "seed": 0,
        "budget": {"quadratic": {"steps": steps, "eval_every": 10}},
    }  # fmt: skip


def stored(made: Session) -> Study:
    return load(made.store.folder)


def assert_same(one: Study, other: Study):
    assert list(one.runs.key) == list(other.runs.key)
    assert list(one.runs.status) == list(other.runs.status)
    for name in CURVES:
        for a, b in zip(one.runs[name], other.runs[name], strict=True):
            np.testing.assert_array_equal(np.array(list(a), float), np.array(list(b), float), err_msg=name)


class TestOneWorker:
    def test_everything_is_stored_and_the_second_time_there_is_nothing_to_do(self, tmp_path, session, plugin):
        study = lrbench.run(matrix(), results=tmp_path / "r", workers=1, plugins=[plugin])
        assert sorted(study.runs.lr) == LRS
        assert set(study.runs.status) <= {"reached", "missed"}
        made_by = next((tmp_path / "r").rglob("machine.json"))
        made_by.write_text(made_by.read_text().replace('"commit"', '"commit_then"'))
        again = session(tmp_path / "r")
        assert again.plan.missing == ()
        before = {p: p.read_bytes() for p in study.folder.rglob("*.parquet")}
        summary = carry_out(again)
        assert sum(summary.counts.values()) == 0
        assert {p: p.read_bytes() for p in study.folder.rglob("*.parquet")} == before
        assert_same(stored(again), study)
        assert "commit_then" in made_by.read_text()

    def test_two_at_once_are_refused_and_the_first_loses_nothing(self, tmp_path, session):
        first, second = session(tmp_path / "r"), session(tmp_path / "r")
        with first.store.alone():
            for write in (carry_out, measure_costs):
                with pytest.raises(BadInput, match="another lrbench is writing there: wait until it ends"):
                    write(second)
        assert sum(carry_out(second).counts.values()) == len(LRS)

    def test_no_checkpoint_is_left_behind(self, tmp_path, session):
        made = session(tmp_path / "r")
        carry_out(made)
        assert not list(made.store.checkpoints.glob("*"))

    def test_a_run_that_crashes_is_a_value_and_is_tried_again(self, tmp_path, trouble, session):
        made = session(tmp_path / "r", raises=0.1)
        summary = carry_out(made)
        assert summary.counts[Status.CRASHED] == 1
        assert not summary.interrupted
        crashed = stored(made).runs.set_index("lr").loc[0.1]
        assert crashed.status == "crashed"
        assert crashed.reason == "RuntimeError: no luck (troubled.py:24)"
        assert [run.lr for run in session(tmp_path / "r", raises=0.1).plan.missing] == [0.1]
        trouble.unlink()
        summary = carry_out(session(tmp_path / "r", raises=0.1))
        assert summary.counts == {Status.MISSED: 1}
        assert "crashed" not in set(stored(made).runs.status)

    def test_an_interrupted_study_goes_on_and_is_the_one_that_was_not(self, tmp_path, trouble, session, plugin):
        made = session(tmp_path / "r", interrupts=0.1)
        assert carry_out(made).interrupted
        assert sorted(stored(made).runs.lr) == [0.01, 0.05]
        with pytest.raises(KeyboardInterrupt):
            lrbench.run(matrix(interrupts=0.1), results=tmp_path / "r", workers=1, plugins=[plugin])
        trouble.unlink()
        summary = carry_out(session(tmp_path / "r", interrupts=0.1))
        assert sum(summary.counts.values()) == 2
        whole = session(tmp_path / "whole", interrupts=0.1)
        carry_out(whole)
        assert_same(stored(made), stored(whole))

    def test_a_precision_that_the_device_does_not_have_is_skipped(self, tmp_path):
        made = make_session(
            {"workload": "quadratic", "seed": 0, "precision": ["fp32", "tf32"]}, results=tmp_path, device="cpu"
        )
        assert [run.precision for run in made.plan.missing] == ["fp32"]
        assert [skip.reason for skip in made.plan.skips] == [
            "tf32 is a way in which NVIDIA's GPUs multiply: a cpu device has none"
        ]

    def test_a_matrix_that_grows_trains_only_what_is_new(self, tmp_path, session):
        carry_out(session(tmp_path / "r", lrs=[0.1]))
        grown = session(tmp_path / "r", lrs=[0.05, 0.1])
        assert [run.lr for run in grown.plan.missing] == [0.05]
        carry_out(grown)
        assert sorted(stored(grown).runs.lr) == [0.05, 0.1]

    def test_a_matrix_that_shrinks_and_grows_again_trains_nothing_twice(self, tmp_path, session):
        carry_out(session(tmp_path / "r"))
        small = session(tmp_path / "r", lrs=[0.1])
        carry_out(small)
        assert list(stored(small).runs.lr) == [0.1]
        large = session(tmp_path / "r")
        assert large.plan.missing == ()
        carry_out(large)
        assert sorted(stored(large).runs.lr) == LRS

    def test_nothing_to_do_is_a_study_too(self, tmp_path):
        made = make_session({"workload": "quadratic", "optimizer": "sparse-adam"}, results=tmp_path / "r", workers=1)
        assert sum(carry_out(made).counts.values()) == 0
        assert len(stored(made).skipped) == 5
        assert stored(made).runs.empty

    def test_data_that_cannot_be_had_after_all_skip_their_workload(self, tmp_path, monkeypatch):
        def unavailable():
            raise Unavailable("the server is down")

        monkeypatch.setitem(
            WORKLOADS, "cancer-logistic", dataclasses.replace(WORKLOADS["cancer-logistic"], data=unavailable)
        )
        made = make_session(
            {"workload": ["cancer-logistic", "quadratic"], "seed": 0}, results=tmp_path / "r", workers=1
        )
        assert len(made.plan.missing) == 2
        assert sum(carry_out(made).counts.values()) == 1
        assert list(stored(made).skipped.reason) == ["the server is down"]

    @pytest.mark.usefixtures("quick_turns")
    def test_costs_measured_after_it_leave_what_was_skipped_as_it_was(self, tmp_path, monkeypatch):
        def unavailable():
            raise Unavailable("the server is down")

        monkeypatch.setitem(
            WORKLOADS, "cancer-logistic", dataclasses.replace(WORKLOADS["cancer-logistic"], data=unavailable)
        )
        made = make_session(
            {"workload": ["cancer-logistic", "quadratic"], "seed": 0}, results=tmp_path / "r", workers=1
        )
        carry_out(made)
        before = stored(made)
        assert [cost.workload for cost in measure_costs(made).costs] == ["quadratic"]
        after = stored(made)
        assert list(after.skipped.reason) == list(before.skipped.reason) == ["the server is down"]
        assert after.facts == before.facts


class TestWorkers:
    def test_a_process_that_dies_takes_only_its_run_and_the_others_are_those_of_one_worker(
        self, tmp_path, monkeypatch, trouble, session
    ):
        monkeypatch.setattr(processes, "TRIES", 1)  # a second try takes a second process, seconds later
        made = session(tmp_path / "two", workers=2, dies=0.15, lrs=[0.05, 0.1, 0.15])
        assert carry_out(made).counts[Status.CRASHED] == 1
        found = stored(made).runs.set_index("lr")
        assert found.loc[0.15].reason.startswith("the worker process died")
        trouble.unlink()
        alone = session(tmp_path / "one", workers=1, dies=0.15, lrs=[0.05, 0.1])
        carry_out(alone)
        carry_out(session(tmp_path / "two", workers=1, dies=0.15, lrs=[0.05, 0.1]))
        assert_same(stored(made), stored(alone))

    def test_an_interrupt_stores_what_is_finished_and_saves_what_is_not(self, tmp_path, monkeypatch, trouble, session):
        seen = []

        def impatient(_, key, status):
            seen.append((key, status))
            raise KeyboardInterrupt

        made = session(tmp_path / "r", workers=2, lrs=[0.01, 0.05, 0.1, 0.15, 0.19], sleeps=0.005)
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "add", impatient)
            assert carry_out(made).interrupted
        assert len(seen) == 1
        done = stored(made).runs
        assert set(done.key) >= {key for key, _ in seen}
        assert len(done) < 5
        assert set(done.status) <= {"missed", "reached"}
        assert list(made.store.checkpoints.glob("*.pt"))
        trouble.unlink()
        whole = session(tmp_path / "whole", lrs=[0.01, 0.05, 0.1, 0.15, 0.19], sleeps=0.005)
        for each in (session(tmp_path / "r", lrs=[0.01, 0.05, 0.1, 0.15, 0.19], sleeps=0.005), whole):
            carry_out(each)
        assert_same(stored(made), stored(whole))
        assert not list(made.store.checkpoints.glob("*.pt"))


class Fragile:
    """An executor that does its work at once, and breaks when it is given one task too many."""

    def __init__(self, tasks):
        self.left = tasks

    def submit(self, _, *units):
        if units and not self.left:
            raise BrokenProcessPool
        self.left -= len(units)
        future = Future()
        future.set_result([(run, Outcome(key=run.key, status=Status.MISSED)) for unit in units for run in unit.runs])
        return future

    def shutdown(self, **_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("tasks", range(5))
def test_no_run_is_lost_when_the_pool_breaks_between_two_units(tasks, together, tmp_path, monkeypatch, session):
    runs = session(tmp_path).plan.missing
    monkeypatch.setattr(Processes, "_start", lambda _, device: WorkerProcess(device, Fragile(tasks)))
    units = [Task(runs[i : i + together], width=together) for i in range(0, 4, together)]
    found = [result.run.lr for result in Processes([torch.device("cpu")], tmp_path, ()).run(units)]
    assert sorted(found) == LRS


def test_the_workers_are_given_their_plugins(tmp_path, session, plugin):
    made = session(tmp_path, workers=2)
    assert made.plugins == (plugin,)
    assert processes.work.__module__ == "lrbench.execute.work"


class Formula(Executor):
    """An executor in a few lines: it trains nothing."""

    def __init__(self):
        self.tasks, self.trials = [], []

    def measure(self, trials):
        self.trials += trials
        return []

    def run(self, tasks):
        self.tasks += tasks
        for run in (run for task in tasks for run in task.runs):
            yield Result(run, synthetic.train(run, higher_is_better=False), "elsewhere")


def test_any_executor_will_do_from_the_matrix_to_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executor = Formula()
    matrix = {"name": "m", "workload": "quadratic", "optimizer": "sgd", "lr": [0.001, 0.01, 0.1], "seed": {"count": 3}}
    made = lrbench.run(matrix, device="cpu", executor=executor)
    assert sorted(run.lr for task in executor.tasks for run in task.runs) == sorted([0.001, 0.01, 0.1] * 3)
    outcome = synthetic.train(executor.tasks[0].runs[0], higher_is_better=False)
    stored_run = made.runs.set_index("key").loc[outcome.key]
    assert stored_run.val_loss.tolist() == pytest.approx(outcome.val_loss.tolist())
    [report] = lrbench.write_reports("results/m")
    assert "9 runs: 1 strategy on 1 workload" in report.read_text()


class TestPreview:
    def test_it_says_what_would_be_done_and_writes_nothing(self, tmp_path, session):
        made = session(tmp_path / "r")
        found = preview(made)
        assert not (tmp_path / "r").exists()
        assert found["to_do"] == len(found["runs"]) == 4
        assert found["workloads"] == {"quadratic": 4}
        assert found["estimated_seconds"] > 0
        assert "m: 4 runs to do, 0 stored already, 0 skipped" in preview_text(found)

    def test_stored_and_skipped_runs_are_counted(self, tmp_path):
        options = {"name": "m", "workload": "quadratic", "optimizer": ["sgd", "muon"], "seed": 0}
        make = {"results": tmp_path, "workers": 1}
        lrbench.run(options, **make)
        found = preview(make_session(options | {"seed": [0, 1]}, **make))
        assert (found["to_do"], found["stored"], found["skipped"]) == (1, 1, 2)
        assert found["reasons"] == {"muon needs a hidden matrix, neither an embedding nor the head's, to train": 2}

    @pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "plateau"])
    def test_a_run_shorter_than_the_calibration_can_be_estimated(self, schedule, tmp_path):
        short = {"workload": "quadratic", "schedule": schedule, "seed": 0, "budget": {"quadratic": {"steps": 3}}}
        assert preview(make_session(short, results=tmp_path))["to_do"] == 1

    def test_a_run_that_crashes_does_not_take_the_plan_with_it(self, tmp_path, session):
        made = session(tmp_path, raises=0.1, lrs=[0.1])
        assert preview(made)["to_do"] == 1

    def test_the_estimate_grows_with_the_steps_and_leaves_the_generator_alone(self, tmp_path, session):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        short, long = (session(tmp_path, steps=n, lrs=[0.1], sleeps=1e-3).plan.missing for n in (40, 4000))
        times = [estimate(runs, torch.device("cpu"), 1).wall for runs in (short, long)]
        assert times[1] > times[0]
        assert torch.equal(torch.rand(1), expected)


@pytest.mark.exhaustive
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_study_that_is_interrupted_and_then_killed_goes_on_to_the_same_end(tmp_path, trouble, plugin):
    """Ctrl-C after the first runs, then SIGKILL after the first shard; every finished run is there, and the rest is made up."""
    lrs = [round(0.001 * i, 3) for i in range(1, 60)]
    (tmp_path / "m.toml").write_text(
        f'workload = "quadratic"\nlr = {lrs}\nseed = 0\noptimizer = {{ name = "troubled", sleeps = 0.005 }}\n'
        "[budget.quadratic]\nsteps = 20\neval_every = 10\n"
    )
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

    first = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert "59 runs to do, 0 stored already, 0 skipped" in first.stderr.readline()
    time.sleep(0.5)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=20)
    assert first.returncode == 130
    assert "interrupted: what was finished is stored. Give the same command again to go on." in said
    assert "Traceback" not in said
    [study] = (tmp_path / "results" / "m").iterdir()
    after_first = set(load(study).runs.key)
    assert 0 < len(after_first) < 59

    second = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert f"{59 - len(after_first)} runs to do, {len(after_first)} stored already" in second.stderr.readline()
    deadline = time.monotonic() + 20
    while len(list((study / "runs").glob("*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    second.kill()
    second.communicate()
    after_second = set(load(study).runs.key)
    assert after_first < after_second

    trouble.unlink()
    read = {"results": tmp_path / "results", "device": "cpu", "workers": 1, "plugins": [plugin]}
    finished = lrbench.run(tmp_path / "m.toml", **read)
    assert sorted(finished.runs.lr) == lrs
    assert_same(finished, lrbench.run(tmp_path / "m.toml", **(read | {"results": tmp_path / "whole"})))
