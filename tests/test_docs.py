"""Every command, example and number of the documentation holds."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer

from lrbench.cli import app, main
from lrbench.config.matrix import read_matrix
from lrbench.execute import make_plan, reproduce
from lrbench.plan import vocabulary
from lrbench.plan.listing import entries, text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
[COMMITTED] = (path.parent for path in ROOT.glob("results/published/*/*/methods.md"))
LRBENCH = [sys.executable, "-m", "lrbench"]
LARGE = ("fifty-thousand", "reference-1", "reference")
"""Matrices whose plans take seconds."""


def blocks(language, page=README):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the README has its reader write."""
    folder = tmp_path_factory.mktemp("reader")
    for block in blocks("toml") + blocks("python"):
        if name := re.match(r"# (\S+\.(?:toml|py))\n", block):
            (folder / name[1]).write_text(block)
    return folder


def run_here(arguments):
    """Without the seconds of a process that imports torch."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code, arguments


def commands():
    """The arguments of every lrbench command of the README, in its order."""
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("lrbench ")]


@pytest.fixture
def committed(monkeypatch):
    """Results are those of a commit, whatever the checkout under test has not committed yet."""
    monkeypatch.setattr("lrbench.device.machine._commit", lambda: {"commit": "0" * 40, "dirty": False})


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_the_readme_is_understood(command):
    known = typer.main.get_command(app)
    name, found, arguments = known.resolve_command(typer.Context(known), command)
    assert found.make_context(name, arguments).params


@pytest.mark.usefixtures("committed", "quick_turns", "two_visits", "no_pictures")
def test_the_commands_of_the_readme_work_in_their_order_on_short_runs(folder, tmp_path, monkeypatch):
    """All in this process: one worker, and costs without processes of their own. The doctor has a test of its own."""
    monkeypatch.chdir(tmp_path)
    for module in (sys.modules["lrbench.execute.run"], reproduce):
        monkeypatch.setattr(module, "cpu_cores", lambda: 1)
    monkeypatch.setattr("lrbench.plan.picture.draw_schedules", lambda path, *_: path)
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    budget = "[budget.digits-mlp]\nsteps = 20\neval_every = 10\n"
    Path("mine.toml").write_text(f"{Path('mine.toml').read_text()}\n{budget}")
    try:
        for command in commands():
            if command[0] != "doctor":
                run_here(command)
    finally:
        vocabulary()["schedule"].pop("sawtooth", None)
    assert list(tmp_path.glob("results/mine/*/report.md"))
    assert list(tmp_path.glob("results/mine/*/tables/*.tex"))
    assert list(tmp_path.glob("results/mine/*/costs.json"))
    assert list(tmp_path.glob("*.tar.gz"))
    assert list(tmp_path.glob("certificate-*/certificate.md"))


@pytest.mark.exhaustive
@pytest.mark.long
@pytest.mark.usefixtures("committed")
def test_every_command_of_the_readme_works_in_its_order(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for command in commands():
        for path in folder.glob("results/*/*/machine.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"dirty": False}))
        if (
            command[0] in ("run", "cost", "reproduce") or "--plugin" in command
        ):  # these start processes, or add to what this one knows
            run([*LRBENCH, *command], folder)
        else:
            run_here(command)
    assert (folder / "schedules.png").stat().st_size > 10_000
    [example] = [block for block in blocks("python") if "make_plan" in block]
    assert re.search(r"^adam +0\.001", run([sys.executable, "-c", example], folder), re.MULTILINE)
    key = re.search(
        r"\b[0-9a-f]{16}\b", run([*LRBENCH, "plan", "mine.toml", "--json", "--results", "elsewhere"], folder)
    )[0]
    assert f"run {key}:" in run([*LRBENCH, "show", key], folder)


def test_make_targets_of_the_readme_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)", README)) - {"and"} <= set(targets)


def test_the_findings_of_the_readme_are_those_of_the_committed_report():
    text = " ".join(README.split())
    report = (ROOT / re.search(r"\[report of the reference study\]\((.+?)\)", text)[1]).read_text()
    gains = re.findall(r"(\d\.\d) points(?: of validation accuracy)? (\[\d\.\d, \d\.\d\])", text)
    assert len(gains) == 4
    assert all(f"+{gain} points {interval}" in report for gain, interval in gains)
    assert re.search(r"(\d+ of \d+) other strategies are statistically tied", text)[1] in report
    runs = re.search(r"([\d,]+) runs on a two-core CPU", text)[1]
    assert report.split("\n\n")[1].startswith(f"{runs} runs")
    shares = pd.read_csv(COMMITTED / "tables" / "variance-shares.csv").set_index(["Workload", "Effect"])[
        "Share, all lrs"
    ]
    told = re.search(r"explains ([\d.]+) % of the variance .*? ([\d.]+) % together with the optimizer", text).groups()
    measured = [100 * shares["digits-mlp", effect] for effect in ("lr", "optimizer x lr")]
    assert list(told) == [f"{share:.1f}" for share in measured]


def test_the_committed_methods_and_citation_are_what_cite_prints(capsys):
    run_here(["cite", str(COMMITTED), "--year", "2026"])
    printed = capsys.readouterr().out
    assert all((COMMITTED / name).read_text().strip() in printed for name in ("methods.md", "citation.bib"))


def test_what_the_docs_quote_of_the_committed_study_is_in_its_files():
    told = {
        " ".join(line.split())
        for name in ("certificate.md", "methods.md")
        for line in (COMMITTED / name).read_text().splitlines()
    }
    quoted = [
        block for block in blocks("", (ROOT / "docs" / "reproduce.md").read_text()) if not block.startswith("lrbench ")
    ]
    verdict, rest = "".join(quoted).split("\n\n", 1)
    verdict, rows = " ".join(verdict.split()), [" ".join(line.split()) for line in rest.splitlines()]
    assert any(verdict in line for line in told)
    assert len(rows) > 5
    assert {row for row in rows if row not in ("", "...")} <= told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_python_example_of_the_docs_prints_what_it_says(capsys):
    [example] = blocks("python", (ROOT / "docs" / "learning-rate.md").read_text())
    with pytest.warns(UserWarning, match=r"optimizer\.step\(\)` before `lr_scheduler\.step\(\)"):
        exec(example, {})  # noqa: S102 - as a reader runs it
    claims = re.findall(r"print\(\w+\)  # (.+)", example)
    assert capsys.readouterr().out.splitlines() == [re.match(r"\[.*?\]", claim)[0] for claim in claims]


def test_the_example_of_contributing_enters_a_schedule(tmp_path, capsys):
    [example] = blocks("python", (ROOT / "CONTRIBUTING.md").read_text())
    (tmp_path / "sawtooth.py").write_text(re.sub(r"^   ", "", example, flags=re.MULTILINE))
    try:
        run_here(["list", "schedule", "--plugin", str(tmp_path / "sawtooth.py")])
    finally:
        vocabulary()["schedule"].pop("sawtooth", None)
    assert "sawtooth" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["optimizer", "schedule"])
def test_contributing_says_what_every_flag_means(kind):
    told = (ROOT / "CONTRIBUTING.md").read_text()
    for flag, meaning in vocabulary()[kind].flags.items():
        assert f"| {kind} | `{flag}` | {meaning} |" in told


def test_the_catalog_page_is_what_the_list_command_prints():
    assert text(entries("")) in (ROOT / "docs" / "catalog.md").read_text(), "run: make docs"


def test_every_command_is_documented():
    names = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert [name for name in names if f"lrbench {name}" not in README] == []


def test_every_matrix_example_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, block in enumerate(blocks("toml", (ROOT / "docs" / "matrix.md").read_text())):
        (tmp_path / f"{i}.toml").write_text(block)
        run_here(["plan", f"{i}.toml"])


SHIPPED = sorted((ROOT / "benchmarks").glob("*.toml"))


@pytest.mark.parametrize("matrix", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_matrix_is_understood(matrix):
    assert read_matrix(matrix, vocabulary()).blocks


PLANNED = [pytest.param(path, marks=[pytest.mark.exhaustive] * (path.stem in LARGE), id=path.stem) for path in SHIPPED]


@pytest.mark.parametrize("matrix", PLANNED)
def test_every_shipped_matrix_is_valid(matrix):
    assert make_plan(matrix).possible
