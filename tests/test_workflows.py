"""The workflows are valid and safe, and their shell commands do what they say, with stand-ins for what only GitHub has."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import study

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.sh"))
BIN = Path(sys.executable).parent
NOBODY = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
PYTHON = f"""#!{sys.executable}
'''lrbench, whose `run` gives the study that is worse by what the file `worse` of the code's folder says.'''
import shutil
import sys
from pathlib import Path

command = sys.argv[3:]
if command[0] == "run":
    assert command[1].endswith("matrix.toml") and Path(command[1]).is_file()
    made = Path("{{studies}}") / str(float(Path("worse").read_text()))
    shutil.copytree(made, Path(command[command.index("--results") + 1]), dirs_exist_ok=True)
else:
    sys.path.insert(0, {str(ROOT)!r})
    from lrbench.cli import main

    main(command)
"""
GH = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

calls = Path(os.environ["CALLS"])
known = json.loads(calls.read_text()) if calls.exists() else []
body = [word.removeprefix("body=@") for word in sys.argv if word.startswith("body=@")]
calls.write_text(json.dumps([*known, {{"words": sys.argv[1:], "body": Path(body[0]).read_text() if body else None}}]))
if "--jq" in sys.argv:
    print(os.environ.get("EARLIER", ""))
"""


def load(path):
    return yaml.safe_load(path.read_text())


def steps(path):
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflow:
    def test_it_is_as_githubs_schema_has_it(self, path):
        done = subprocess.run(
            [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def test_the_security_linter_finds_nothing(self, path):
        command = [BIN / "zizmor", "--offline", "--persona", "pedantic", "--no-progress", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_its_commands_are_bash(self, path):
        for step in steps(path):
            subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True, check=True)

    def test_actions_are_pinned_and_time_is_bounded(self, path):
        assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps(path) if "uses" in step)
        assert all(job["timeout-minutes"] <= 60 for job in load(path)["jobs"].values())
        assert "cancel-in-progress" in load(path)["concurrency"]

    def test_what_it_runs_is_there(self, path):
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for job in load(path)["jobs"].values():
            for command in (step["run"] for step in job["steps"] if "run" in step):
                program, *words = command.split()
                named = job["strategy"]["matrix"]["target"] if words == ['"$TARGET"'] else words[:1]
                assert set(named) <= targets if program == "make" else os.access(ROOT / program, os.X_OK)


def test_code_of_a_pull_request_never_runs_with_a_right_to_write():
    [bench] = [load(path) for path in WORKFLOWS if path.name == "bench.yml"]
    assert list(bench[True]) == ["pull_request"]  # YAML reads `on` as a truth
    assert bench["permissions"] == {}
    assert bench["jobs"]["compare"]["permissions"] == {"contents": "read"}
    assert bench["jobs"].keys() == {"compare", "comment"}
    comment = bench["jobs"]["comment"]
    assert "head.repo.full_name == github.repository" in comment["if"]
    [checkout] = [step["with"] for step in comment["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["ref"] == "${{ github.event.pull_request.base.sha }}"  # without it, the merge of the pull request
    assert [step["run"].split()[0] for step in comment["steps"] if "run" in step] == ["benchmarks/comment.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Studies of the formula by how much worse they are: ``<less>/m/cpu-2``."""
    folder = tmp_path_factory.mktemp("studies")
    for less in (0.0, 0.05):

        def change(run, outcome, less=less):
            by = np.float32(less) * np.float32(1 + run.seed / 10)
            return replace(outcome, val_metric=outcome.val_metric - by)

        small = {"workloads": ["digits_mlp"], "optimizers": ["adam"], "schedules": ["constant"], "lrs": [1e-2]}
        study(folder / str(less) / "m" / "cpu-2", change=change, **small)
    return folder


@pytest.fixture
def repository(tmp_path, made):
    """A repository with the scripts and a matrix, one commit, and a stand-in for Python."""
    folder = tmp_path / "repository"
    (folder / "benchmarks").mkdir(parents=True)
    for script in SCRIPTS:
        shutil.copy(script, folder / "benchmarks")
    (folder / "benchmarks" / "matrix.toml").write_text("")
    (folder / "worse").write_text("0")
    (folder / ".gitignore").write_text("build/\n")
    for words in (["init", "--initial-branch", "main"], ["add", "."], ["commit", "--message", "base"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env=os.environ | NOBODY)
    executable(tmp_path / "python", PYTHON.format(studies=made))
    return folder


def compare(repository, base="main", **environment):
    command = [repository / "benchmarks" / "pull_request.sh", base, "benchmarks/matrix.toml"]
    known = {"PYTHON": str(repository.parent / "python"), "GITHUB_STEP_SUMMARY": str(repository.parent / "summary.md")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | known | environment)
    told = (repository / "build" / "compare" / "changes.md").read_text()
    assert (repository.parent / "summary.md").read_text() == told
    trees = subprocess.run(
        ["git", "worktree", "list"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout
    assert len(trees.splitlines()) == 1
    return done.returncode, told, done


class TestCompareScript:
    @pytest.mark.exhaustive
    def test_no_change(self, repository):
        code, told, done = compare(repository)
        assert (code, done.stdout) == (0, told)
        assert told.startswith("**lrbench:** nothing changed: 1 strategy unchanged\n")

    def test_a_change_for_the_worse_fails_with_results_kept(self, repository):
        (repository / "worse").write_text("0.05")
        code, told, _ = compare(repository)
        assert code == 1
        assert "**lrbench:** of 1 strategy, 1 worse (validation 1" in told
        kept = repository / "build" / "compare"
        assert json.loads((kept / "changes.json").read_text())["counts"]["worse"] == 1
        assert [len(list((kept / side).rglob("study.toml"))) for side in ("base", "head")] == [1, 1]

    @pytest.mark.parametrize(
        ("base", "damage", "said"),
        [
            ("nosuch", "", "there is no revision nosuch to compare with"),
            ("main", "junk", "benchmarks/matrix.toml cannot be run"),
        ],
    )
    def test_what_cannot_be_compared_is_told_with_the_error(self, base, damage, said, repository):
        if damage:
            (repository / "worse").write_text(damage)
        code, told, done = compare(repository, base)
        assert code == 2
        assert f"**lrbench:** {said}" in told
        assert said in done.stderr
        assert damage in told


class TestCommentScript:
    def comment(self, tmp_path, **environment):
        (tmp_path / "bin").mkdir(exist_ok=True)
        executable(tmp_path / "bin" / "gh", GH)
        (tmp_path / "changes.md").write_text("**lrbench:** nothing changed\n")
        known = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls.json"),
            "GH_TOKEN": "none",
        }
        command = [ROOT / "benchmarks" / "comment.sh", "owner/name", "7", tmp_path / "changes.md"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | known | environment)
        return json.loads((tmp_path / "calls.json").read_text())

    def test_the_first_time_it_writes_one(self, tmp_path):
        asked, written = self.comment(tmp_path)
        assert "repos/owner/name/issues/7/comments" in asked["words"]
        assert written["words"][:5] == ["api", "--silent", "--method", "POST", "repos/owner/name/issues/7/comments"]
        assert written["body"] == "<!-- lrbench compare -->\n**lrbench:** nothing changed\n"

    def test_later_it_updates_the_one_it_wrote(self, tmp_path):
        asked, written = self.comment(tmp_path, EARLIER="123\n456")
        assert written["words"][:5] == ["api", "--silent", "--method", "PATCH", "repos/owner/name/issues/comments/123"]
        [query] = [word for word in asked["words"] if word.startswith(".[]")]
        assert 'startswith("<!-- lrbench compare -->")' in query
        assert 'select(.user.login == "github-actions[bot]"' in query
