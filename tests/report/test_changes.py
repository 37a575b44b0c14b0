"""What ``lrbench compare`` prints, and with which exit code it ends."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import crash, fake, step_costs, study

from lrbench.analyse import STRATEGY
from lrbench.analyse.changes import WORSE
from lrbench.cli import main
from lrbench.config.faults import BadInput
from lrbench.report.changes import Compared, Found, compare, failures, summary, table_of, warnings
from lrbench.report.changes_page import FORMATS, LIMIT, as_markdown, as_text, forest_figure
from lrbench.report.drawing import COLOURS
from lrbench.store import digest, load, studies

ONE = {"workloads": ["digits_mlp"], "schedules": ["constant"]}


def by(amount, optimizer="adam"):
    def change(run, outcome):
        moved = np.float32(amount + 1e-4 * (run.seed % 3)) * (outcome.eval_step > 0)
        return (
            replace(outcome, val_metric=(outcome.val_metric + moved).astype(np.float32))
            if run.optimizer.label == optimizer
            else outcome
        )

    return change


def crashed(run, outcome):
    return crash(run, outcome) if run.optimizer.label == "adam" and run.seed == 0 else outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Studies, each as ``<name>/synthetic/<machine>``."""
    root = tmp_path_factory.mktemp("compare")
    costs = step_costs(**ONE)
    study(root / "base" / "synthetic" / "cpu-2", costs=costs, **ONE)
    study(root / "worse" / "synthetic" / "cpu-2", costs=costs, change=by(-0.05), **ONE)
    study(root / "better" / "synthetic" / "cpu-2", costs=costs, change=by(0.05), **ONE)
    study(root / "crashed" / "synthetic" / "cpu-2", costs=costs, change=crashed, **ONE)
    study(root / "gone" / "synthetic" / "cpu-2", costs=costs, optimizers=["adam", "rmsprop"], **ONE)
    study(root / "more" / "synthetic" / "cpu-2", optimizers=["adam", "rmsprop", "sgd(momentum=0.9)", "lion"], **ONE)
    study(root / "elsewhere" / "synthetic" / "fake-gpu-a", machine=fake("a"), costs=costs, **ONE)
    study(root / "few" / "synthetic" / "cpu-2", seeds=[0, 1], change=by(-0.05), **ONE)
    return root


@pytest.fixture(scope="module")
def known():
    """What was found of each pair of studies."""
    return {}


@pytest.fixture(autouse=True)
def there(folder, known, monkeypatch):
    """The folder, where two studies are compared once, whatever is then told of them."""
    monkeypatch.chdir(folder)
    compared = sys.modules["lrbench.report.changes"]
    found = compared.changes

    def once(pair):
        where = tuple((side.folder.resolve(), digest(side.runs), repr(side.costs)) for side in (pair.base, pair.head))
        if where not in known:
            known[where] = found(pair)
        return known[where]

    monkeypatch.setattr(compared, "changes", once)


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, arguments)])
        told = capsys.readouterr()
        return end.value.code or 0, told.out, told.err

    return call


@pytest.mark.parametrize("how", FORMATS)
def test_identical_folders_are_nothing_changed_and_no_failure(how, cli):
    code, out, err = cli("base", "base", "--format", how, "--fail-on", "worse,gone,crashed")
    assert (code, err) == (0, "")
    assert "nothing changed: 3 strategies unchanged" in out


@pytest.mark.parametrize(
    ("head", "fail_on", "code", "said"),
    [
        ("worse", "", 0, "of 3 strategies, 1 worse (validation 1, steps to target 1); 2 unchanged"),
        ("worse", "worse", 1, "1 worse"),
        ("worse", "gone,crashed", 0, "1 worse"),
        ("better", "worse,gone,crashed", 0, "1 better (validation 1)"),
        ("gone", "gone", 1, "of 3 strategies, 1 gone; 2 unchanged"),
        ("gone", "worse", 0, "1 gone"),
        ("crashed", "crashed", 1, "1 crash; 2 unchanged"),
        ("crashed", "worse", 0, "1 crash"),
        ("more", "worse,gone,crashed", 0, "of 4 strategies, 1 new; 3 unchanged"),
        ("few", "worse", 0, "none is better or worse; 1 statistically tied, 2 unchanged"),
    ],
)
def test_what_changed_and_the_exit_code(head, fail_on, code, said, cli):
    ended, out, err = cli("base", head, "--fail-on", fail_on)
    assert (ended, err) == (code, "")
    assert said in out.splitlines()[0]


def test_the_body_opens_with_a_line_and_a_table_of_what_matters(cli):
    lines = cli("base", "worse", "--format", "md")[1].splitlines()
    assert lines[0] == "**lrbench:** of 3 strategies, 1 worse (validation 1, steps to target 1); 2 unchanged"
    assert lines[2] == "- From `base` to `worse`."
    assert lines[5].startswith("|  | Workload | Strategy | Measure | Before | Now | Change | p | lr |")
    names = "| **worse** | `digits_mlp` | `adam / uniform / constant` | validation "
    assert lines[7] == names + "| 87.8 % | 82.8 % | -5.0 points [-5.0, -5.0] | &lt; 0.0001 | 0.01 |"


def test_a_line_for_each_change_on_a_terminal():
    told = as_text(compare("base", "crashed"))
    assert "crashes: digits_mlp: adam / uniform / constant: crashed 0 of 25 → 5 of 25 (+20 points; lr 0.01)" in told
    assert "gone: digits_mlp: sgd(momentum=0.9) / uniform / constant" in as_text(compare("base", "gone"))


def test_json_is_for_programs(cli):
    code, out, _ = cli("base", "few", "--format", "json")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0
    assert found["counts"] | {"statistically tied": 1, "unchanged": 2, "worse": 0} == found["counts"]
    [pair] = found["pairs"]
    assert (pair["matrix"], pair["base_machine"], len(pair["strategies"])) == ("synthetic", "cpu-2", 3)
    adam = [row for row in pair["measures"] if row["optimizer"] == "adam" and row["measure"] == "validation"]
    assert [(row["p"], row["seeds"], row["verdict"]) for row in adam] == [(None, 2, "statistically tied")]


def test_every_row_names_the_runs_under_it(cli):
    out = cli("base", "worse", "--format", "json")[1]
    [pair] = json.loads(out)["pairs"]
    base, head = (load(path) for side in ("base", "worse") for path in studies(Path(side)))
    for name, costs in (("strategies", ""), ("measures", "step cost"), ("cells", "")):
        for row in pair[name]:
            for side, made in (("base", base), ("head", head)):
                runs = made.runs[made.runs.key.isin(row[f"{side}_keys"])]
                assert row[f"{side}_keys"] == sorted(runs.key)
                assert len(runs) == (0 if row.get("measure") == costs else row[f"{side}_runs"])
                if name == "measures" and row["measure"] == "validation":
                    assert row[side] == pytest.approx(np.mean([curve[-1] for curve in runs.val_metric]))
    told = cli("base", "worse", "--format", "md")[1]
    [adam] = [row for row in pair["measures"] if (row["optimizer"], row["measure"]) == ("adam", "validation")]
    assert f"| `adam / uniform / constant` | validation | {' '.join(f'`{key}`' for key in adam['base_keys'])} |" in told


def test_two_machines_are_compared_by_what_they_learn():
    found = compare("base", "elsewhere")
    assert "another machine (cpu-2, then fake-gpu-a): only what they learn is compared" in warnings(found)[0]
    assert "step cost" not in as_markdown(found).split("How to read")[0].replace(warnings(found)[0], "")


def test_a_study_without_a_partner_is_told_and_is_gone(tmp_path):
    study(tmp_path / "synthetic" / "cpu-2", costs=step_costs(**ONE), **ONE)
    study(tmp_path / "synthetic" / "fake-gpu-b", machine=fake("b"), **ONE)
    found = compare(str(tmp_path), "base")
    assert summary(found) == "of 3 strategies, 1 study gone; 3 unchanged"
    assert any("compared with nothing: synthetic on fake-gpu-b" in line for line in warnings(found))
    assert failures(found, "worse,gone") == ["gone"]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("few", "Only 2 seeds"),
        ("more", "step costs were measured before only"),
    ],
)
def test_what_limits_the_comparison_is_told(head, said):
    assert any(said in line for line in warnings(compare("base", head)))


def test_other_terms_are_told(tmp_path):
    study(tmp_path, target=0.7, **ONE)
    assert any(
        "budget, target or metric are others on digits_mlp" in line for line in warnings(compare("base", str(tmp_path)))
    )


def test_nothing_in_common_is_bad_input(tmp_path, cli):
    made = study(tmp_path, **ONE)
    (tmp_path / "study.toml").write_text((tmp_path / "study.toml").read_text().replace('"synthetic"', '"another"'))
    code, out, err = cli("base", made.folder)
    assert (code, out) == (2, "")
    assert (
        err
        == "compare: nothing in common. BASE has synthetic on cpu-2; HEAD has another on cpu-2. Give results of one "
        "matrix.\n"
    )


def test_two_revisions(folder, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    who = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init"], ["add", "."], ["commit", "--message", "base"]):
        if words == ["add", "."]:
            (folder / "base").rename(tmp_path / "kept")
        subprocess.run(["git", *words], check=True, capture_output=True, env=os.environ | who)
    (tmp_path / "kept").rename(folder / "base")
    code, out, err = cli("HEAD", folder / "worse", "--path", "kept", "--fail-on", "worse")
    assert (code, err) == (1, "")
    assert out.splitlines()[2].startswith("from HEAD (")
    assert cli("HEAD", "HEAD")[0] == 2


def test_the_same_bytes_whatever_the_order_of_files(folder, tmp_path):
    """Shards under other names, and so in another order."""
    made = study(tmp_path / "synthetic" / "cpu-2", costs=step_costs(**ONE), change=by(-0.05), **ONE)
    shards = sorted((made.folder / "runs").glob("*.parquet"))
    for shard, name in zip(shards, "zy", strict=True):
        shard.rename(shard.with_name(f"{name}.parquet"))
    told = [compare("base", str(head)) for head in (folder / "worse", tmp_path)]
    for how in FORMATS.values():
        one, other = (how(replace(found, head="head")) for found in told)
        assert one == other


def repeated(found: Compared, times: int, label: int) -> Compared:
    """The same comparison with so many strategies more, whose names are long."""

    def many(table: pd.DataFrame) -> pd.DataFrame:
        copies = [
            table.assign(optimizer=[f"{name}-{i:05}-{'|x' * label}" for name in table.optimizer]) for i in range(times)
        ]
        return pd.concat(copies, ignore_index=True).sort_values(STRATEGY, ignore_index=True)

    [one] = found.found
    made = replace(one.changes, **{name: many(table) for name, table in vars(one.changes).items()})
    return replace(found, found=(Found(one.pair, made),))


HEADS = ["worse", "gone", "more", "few"]
SIZES = [(1, 0), (20, 10), (200, 400), (700, 3)]
SLOW = {(head, size) for head in HEADS[1:] for size in SIZES[2:]} | {("worse", SIZES[3])}


@pytest.mark.parametrize(
    ("head", "times", "label"),
    [pytest.param(h, *s, marks=[pytest.mark.exhaustive] * ((h, s) in SLOW)) for h in HEADS for s in SIZES],
)
def test_the_body_fits_a_comment_whatever_the_study(head, times, label):
    found = repeated(compare("base", head), times, label)
    told = as_markdown(found)
    assert len(told) < LIMIT
    assert told.count("<details>") == told.count("</details>")
    assert told.startswith("**lrbench:** of ")
    if times >= 200:
        assert "left out" in told


def test_what_is_left_out_is_counted():
    found = repeated(compare("base", "worse"), 700, 3)
    [before, _] = as_markdown(found).split("<details>", 1)
    table = found.found[0].changes.measures
    [left] = [int(n.replace(",", "")) for n in re.findall(r"^([\d,]+) more rows are left out\.$", before, re.MULTILINE)]
    assert before.count("| **worse** |") + left == int((table.verdict == WORSE).sum())


def test_a_page_has_a_picture_of_what_is_better_or_worse(cli, tmp_path):
    code, out, err = cli("base", "worse", "--output", tmp_path / "page")
    assert (code, err) == (0, f"Written: {tmp_path / 'page' / 'changes.md'}\n")
    assert "worse: digits_mlp" in out
    page = (tmp_path / "page" / "changes.md").read_text()
    assert "(figures/changes.png)\n\n*What became better" in page
    assert [path.name for path in (tmp_path / "page" / "figures").iterdir()] == ["changes.png"]
    cli("base", "base", "--output", tmp_path / "page")
    assert "changes.png" not in (tmp_path / "page" / "changes.md").read_text()
    assert not list((tmp_path / "page" / "figures").iterdir())


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(("head", "colour", "side"), [("worse", COLOURS[1], -1), ("better", COLOURS[0], 1)])
def test_better_is_to_the_right_and_each_change_has_its_interval(head, colour, side):
    found = compare("base", head)
    drawn = forest_figure(found).draw()
    changed = table_of(found, "measures").query("verdict in ['worse', 'better']")
    points = [line for ax in drawn.axes for line in ax.lines if line.get_marker() == "o"]
    assert len(points) == len(changed)
    assert all(np.sign(line.get_xdata()[0]) == side and line.get_color() == colour for line in points)
    validation = next(ax for ax in drawn.axes if "validation" in ax.get_title("left"))
    [row] = changed[changed.measure == "validation"].itertuples()
    [bar] = [line for line in validation.lines if line.get_linewidth() == 2.2]
    assert list(bar.get_xdata()) == pytest.approx([100 * row.low, 100 * row.high])


def test_an_unknown_failure_is_told():
    with pytest.raises(BadInput, match="there is no 'wrose'"):
        failures(compare("base", "base"), "wrose")


class TestWhatHasOneNameAndIsNotTheSame:
    """It is compared under that name, and said: never merged without a word."""

    @pytest.fixture
    def against(self, folder, tmp_path, monkeypatch):
        """The warnings where the choices of head, by their names, have other values."""

        def told(**others):
            made = synthetic.choice
            other = {name.replace("_", "-"): values for name, values in others.items()}
            monkeypatch.setattr(synthetic, "choice", lambda label: made(label).model_copy(update=other.get(label, {})))
            study(tmp_path / "head" / "synthetic" / "cpu-2", **ONE)
            found = compare(str(folder / "base"), str(tmp_path / "head"))
            return summary(found), [line.removeprefix("synthetic on cpu-2: ") for line in warnings(found)]

        return told

    def test_where_only_the_code_is_another_it_is_compared_by_settings(self, against):
        counts, lines = against(adam={"revision": "0123456789ab"})
        assert "none is better or worse" in counts
        assert "new" not in counts
        assert lines[0] == "adam differs in its code, or a package, between base and head: compared by its settings."

    def test_other_settings_under_the_same_name_are_told(self, against):
        _, lines = against(adam={"settings": {"label": "adam", "eps": 1e-3}}, digits_mlp={"revision": 2})
        assert lines[0].startswith(
            "adam has other settings in base and head, which its name does not tell: eps None then 0.001."
        )

    def test_a_built_in_entry_with_a_new_revision_is_told(self, against):
        assert (
            against(adam={"revision": 2})[1][0]
            == "another revision of adam (1 then 2) in base and head: compared by settings."
        )

    def test_two_things_of_one_name_within_a_study_are_told(self, folder, tmp_path, monkeypatch):
        made = synthetic.choice
        for i, seeds in ((1, [0, 1, 2]), (2, [3, 4, 5])):
            monkeypatch.setattr(
                synthetic, "choice", lambda label, i=i: made(label).model_copy(update={"revision": f"code {i}"})
            )
            study(tmp_path / f"{i}" / "synthetic" / "cpu-2", seeds=seeds, **ONE)
        for shard in (tmp_path / "2").rglob("*.parquet"):
            shutil.copy(shard, tmp_path / "1" / "synthetic" / "cpu-2" / "runs" / f"other-{shard.name}")
        [line] = [
            line
            for line in warnings(compare(str(folder / "base"), str(tmp_path / "1")))
            if "more than one thing" in line
        ]
        assert "are each more than one thing in head" in line
