"""``make bench`` and ``make test`` hold in any order: the benchmark always trains, and touches nothing that is tracked.

``make both`` runs the two in turn, as continuous integration does. Here is what that rests on.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lrbench.cli import main

ROOT = Path(__file__).parents[1]
MATRIX = """
workload = "quadratic"
optimizer = "sgd"
lr = [0.06, 0.19]
seed = [0, 1]
budget.quadratic = { steps = 20, eval_every = 10 }
"""
NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody"]


def git(*arguments, folder):
    return subprocess.run(["git", *NOBODY, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with the record and the rules of what is ignored, and nothing else."""
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(ROOT / ".gitignore", folder)
    for name in ("study.toml", "machine.json", "skipped.csv", "report.md", "summary.csv"):
        for path in (ROOT / "results" / "published").glob(f"*/*/{name}"):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "As cloned", folder=folder)
    monkeypatch.chdir(folder)
    return folder


def bench(matrix, capsys):
    """What ``make bench`` does but for measuring steps. Returns: what it printed on both streams."""
    main_ends(["run", str(matrix), "--device", "cpu", "--workers", "1"])
    return capsys.readouterr()


def main_ends(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code


def test_the_benchmark_trains_in_a_fresh_clone_and_leaves_it_clean(clone, tmp_path, capsys):
    matrix = tmp_path / "reference-1.toml"  # even under the name of a study on record
    matrix.write_text(MATRIX)
    said = bench(matrix, capsys)
    assert said.err.startswith("4 runs to do, 0 stored already, 0 skipped\n")
    assert git("status", "--porcelain", folder=clone) == ""
    assert bench(matrix, capsys).err.startswith("0 runs to do, 4 stored already, 0 skipped\n")
    assert git("status", "--porcelain", folder=clone) == ""


@pytest.mark.usefixtures("clone")
def test_it_says_how_far_it_is_and_ends_with_a_short_answer(tmp_path, capsys):
    (tmp_path / "small.toml").write_text(MATRIX)
    said = bench(tmp_path / "small.toml", capsys)
    assert re.search(r"^4/4 runs, [\d.]+ runs/(s|min)(, about 0 s left)?: 4 missed$", said.err, re.MULTILINE)
    summary, verdict, warnings, end = said.out.splitlines()
    assert summary.startswith("4 runs: 1 strategy on 1 workload, at 2 lrs and 2 seeds")
    assert re.match(r"quadratic: sgd / uniform / constant at lr 0\.06 \(grid boundary\), [\d.e-]+ loss", verdict)
    assert re.match(r"\d warnings? in the report\.", warnings)
    assert re.match(r"4 runs in \d+ s\. Report: results/small/\S+/report\.md", end)


@pytest.mark.parametrize(("changed", "code"), [("", 0), (" M results/published/x", 2)])
def test_the_two_are_run_in_turn_and_a_changed_file_fails(changed, code, tmp_path):
    """With stand-ins for make, which writes down what it is asked for, and git, which says what has changed."""
    stand_in = {"make": 'echo "$2" >> called', "git": f"echo '{changed}'"}
    for name, does in stand_in.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ask = [shutil.which("make"), "-f", ROOT / "Makefile", "both", f"MAKE={tmp_path / 'make'}", "-o", ".venv/installed"]
    done = subprocess.run(ask, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (tmp_path / "called").read_text().split() == ["bench", "test", "bench"]
    assert done.returncode == code, done.stderr
    assert changed in done.stdout
    assert "make both MATRIX=benchmarks/minute.toml" in (ROOT / ".ci" / "run").read_text()


def test_what_ci_installs_is_what_the_tests_look_for():
    packages = (ROOT / ".ci" / "packages").read_text()
    assert {"chromium", "chromium-driver", "dataset-fashion-mnist"} <= set(re.findall(r"[\w-]+", packages))
    subprocess.run(["bash", "-n", ROOT / ".ci" / "packages"], check=True)
