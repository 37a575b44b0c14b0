"""`lrbench score`: what it prints, what it draws, what it refuses; and the example of the documentation."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from lrbench.cli import main
from lrbench.report import scores
from lrbench.store.curves import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "score.md").read_text()
TARGETS = """
[workloads.a]
metric = "loss"
target = 0.5
better = "lower"
[workloads.b]
metric = "loss"
target = 0.5
better = "lower"
[workloads.b_held]
variant_of = "b"
metric = "loss"
target = 0.5
better = "lower"
[workloads.unseen]
metric = "loss"
target = 0.5
better = "lower"
"""
TIMES = {
    ("a", "quick"): [10, 12, 11], ("a", "slow"): [20, 22, 30], ("a", "late"): [60, 60, 60],
    ("b", "quick"): [100, 100, None], ("b", "slow"): [150, 150, 150], ("b", "late"): [120, 120, 120],
    ("b_held", "quick"): [5, 5], ("b_held", "slow"): [None, None], ("b_held", "late"): [6],
}  # fmt: skip


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        (workload, strategy, study, 1, 10 * (study + 1), seconds or 500, "loss", 0.5 if seconds else 0.9)
        for (workload, strategy), times in TIMES.items()
        for study, seconds in enumerate(times)
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv("curves.csv", index=False)
    (tmp_path / "targets.toml").write_text(TARGETS)
    return tmp_path


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["score", *map(str, arguments)])
        told = capsys.readouterr()
        return end.value.code or 0, told.out, told.err

    return call


GIVEN = ["curves.csv", "--targets", "targets.toml"]


def test_json_is_the_scores_and_the_times_and_nothing_else(cli):
    code, out, err = cli(*GIVEN, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["times"] == {
        "a": {"late": 60.0, "quick": 11.0, "slow": 22.0},
        "b": {"late": 120.0, "quick": 100.0, "slow": 150.0},
        "b_held": {"late": 6.0, "quick": 5.0, "slow": None},
        "unseen": {"late": None, "quick": None, "slow": None},
    }
    assert found["scores"] == {
        "late": pytest.approx(92.5 / 99 / 3),
        "quick": pytest.approx(2 / 3),
        "slow": pytest.approx(66.5 / 99 / 3),
    }
    assert set(found) == {"scores", "times"}
    assert err == "workload 'unseen' has a target and no rows: it counts as failed by every strategy\n"


def test_the_text_says_why_a_time_does_not_count(cli):
    code, out, _ = cli(*GIVEN, "--baseline", "slow")
    assert code == 0
    lines = [re.split(r"  +", line) for line in out.splitlines()]
    assert ["quick", "0.6667", "[0.333, 0.667]", "2 of 3", "2", "1.73 x", "2", "0", "0"] in lines
    assert ["a", "late", "60 s", "60.0", "20", "5.45", "3 of 3", "over 4 x the fastest"] in lines
    assert ["b", "slow", "2.5 min", "150.0", "20", "1.50", "3 of 3", "fails b_held"] in lines
    assert ["b_held", "slow", "never", "-", "-", "-", "0 of 2"] in lines
    assert ["unseen", "slow", "-", "-", "-", "-", "0 of 0", "not measured"] in lines
    assert next(line for line in lines if line[0] == "late")[:5] == ["late", "0.3114", "-", "1 of 3", "0"]
    assert [
        "a",
        "quick",
        "<= 0.5",
        "3",
        "0.5",
        "0",
        "3",
        "-",
        "0.5",
        "0",
        "3",
        "no p: 3 studies ended at the target",
    ] in lines
    assert [
        "b",
        "quick",
        "<= 0.5",
        "3",
        "0.633333",
        "0.23",
        "3",
        "-",
        "0.633333",
        "0.23",
        "3",
        "no p: 2 studies ended at the target",
    ] in lines
    assert "95 % interval" not in out.replace("no 95 % interval", "")
    assert "Speed-up: geometric mean of times of slow / times" in out
    assert not re.search(r"\bnan\b|\binf\b", out)


def test_a_clock_that_runs_backwards_is_remarked(cli):
    rows = pd.read_csv("curves.csv")
    late = rows[(rows.workload == "a") & (rows.strategy == "quick")].assign(step=lambda t: t.step + 1, seconds=1.0)
    pd.concat([rows, late]).to_csv("curves.csv", index=False)
    code, _, err = cli(*GIVEN)
    assert code == 0
    told = "the seconds of 3 trials fall while the steps rise, first at step 11 of a / quick / 0 / 1: they are to be since its start"
    assert told in err.splitlines()


def test_a_metric_that_nobody_logs_is_remarked(cli, away):
    (away / "targets.toml").write_text(TARGETS.replace('metric = "loss"', 'metric = "los"', 1))
    code, out, err = cli(*GIVEN, "--json")
    assert code == 0
    assert set(json.loads(out)["times"]["a"].values()) == {None}
    assert "workload 'a' has no row with metric 'los': no trial of it reaches the target" in err.splitlines()


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.usefixtures("drawn")
def test_pictures_have_the_same_bytes_each_time(kind, cli, away):
    for name in ("one", "two"):
        assert cli(*GIVEN, "--json", "--plot", f"{name}.{kind}")[0] == 0
    assert (away / f"one.{kind}").read_bytes() == (away / f"two.{kind}").read_bytes()
    assert (away / f"one.{kind}").stat().st_size > 5_000


@pytest.mark.usefixtures("drawn")
def test_a_picture_has_room_for_so_many_strategies_and_the_baseline(monkeypatch):
    monkeypatch.setattr(scores, "LINES", 1)
    found = scores.score_files([Path("curves.csv")], Path("targets.toml"), baseline="slow")
    drawn = scores.picture(found, "svg").decode()
    assert [name for name in ("quick:", "late:", "slow:") if name in drawn] == ["quick:", "slow:"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "--targets", "targets.toml"], "none.csv: cannot be read: No such file or directory. Give a CSV "
        "or Parquet file."),
        (["curves.csv", "--targets", "none.toml"], "none.toml: cannot be read: No such file or directory. Give the "
        "path of a targets file"),
        ([*GIVEN, "--baseline", "quik"], "--baseline quik: no strategy here is called 'quik'. Did you mean 'quick'? "
        "Known: late"),
        ([*GIVEN, "--map", "study"], "--map study: must be COLUMN=NAME, such as --map strategy=submission."),
        ([*GIVEN, "--map", "study=seed"], "curves.csv: has no column 'seed' (for study). Known: "),
        ([*GIVEN, "--plot", "picture.txt"], "--plot picture.txt: must end in .png, .svg or .pdf"),
        ([*GIVEN, "--plot", "none/picture.gif"], "--plot none/picture.gif: must end in .png, .svg or .pdf"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(arguments, said, cli, away):
    before = sorted(away.iterdir())
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert said in line
    assert sorted(away.iterdir()) == before


def test_targets_are_required(cli):
    code, _, err = cli("curves.csv")
    assert code == 2
    assert "Usage:" in err


def test_the_example_of_the_documentation(cli, away):
    [curves, targets, command, printed] = [
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1] for kind in ("csv", "toml", "sh", "json")
    ]
    (away / "curves.csv").write_text(curves)
    (away / "targets.toml").write_text(targets)
    assert cli(*shlex.split(command)[2:]) == (0, printed, "")


def test_the_documentation_names_every_column():
    assert [name for name in COLUMNS if f"`{name}`" not in PAGE] == []


def test_scoring_loads_no_torch_and_no_picture_library_when_none_is_asked_for(away):
    import subprocess
    import sys

    code = f"""
import sys
from lrbench.cli import main
try:
    main(["score", *{GIVEN}])
except SystemExit as end:
    assert not end.code
assert not {{"torch", "matplotlib", "seaborn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=away)
