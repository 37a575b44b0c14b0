import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pictures
import pytest
from synthetic import choice, crash, diverge, study

from lrbench.config.cost import Costs
from lrbench.report import drawing, verdict_text, write
from lrbench.report.findings import Findings
from lrbench.report.study import report as whole
from lrbench.store import Study

WIDE = {
    "layer_lrs": ("uniform", "layer_decay(gamma=0.75)"),
    "schedules": ("constant", "cosine"),
    "skipped": [("lbfgs", "LBFGS takes no parameter groups | at all")],
}


TWO = ["digits_mlp", "mnist_cnn"]
KINDS = ["lr-response-optimizers", "curves", "tuning"]
"""The figures of the short report that have a panel for each workload, in order."""
BRIEF = ["verdict", *KINDS, "effects"]
OVERALL = {"critical-difference", "performance-profile"}


def written(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def images(report: Path) -> list[str]:
    return re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report.read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return study(folder, **WIDE)


@pytest.fixture(scope="module")
def report(made, tmp_path_factory):
    return write(made, folder=tmp_path_factory.mktemp("report"))


def of_one_workload(made):
    return replace(made, runs=made.runs[made.runs.workload == TWO[0]].reset_index(drop=True))


@pytest.mark.parametrize("part", [of_one_workload, lambda made: made], ids=["one-workload", "two-workloads"])
def test_the_order_of_rows_changes_no_byte_of_text_and_tables(part, made, tmp_path):
    write(part(made), folder=tmp_path / "one")
    write(part(mixed(made)), folder=tmp_path / "other")
    assert written(tmp_path / "one") == written(tmp_path / "other")


@pytest.mark.exhaustive
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("part", [of_one_workload, lambda made: made], ids=["one-workload", "two-workloads"])
def test_the_order_of_rows_changes_no_byte(part, made, tmp_path):
    """Of the text, the tables and the pictures, those in the page too."""
    one, other = tmp_path / "one", tmp_path / "other"
    write(part(made), folder=one)
    write(part(mixed(made)), folder=other)
    assert written(one) == written(other)
    pictures = {path.stem: path.read_bytes() for path in (one / "figures").iterdir()}
    assert sorted(pictures) == sorted(BRIEF)
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("name", sorted(OVERALL))
def test_the_order_of_rows_changes_no_byte_of_a_picture_over_all_workloads(name, made):
    one, other = (figures(found)[name] for found in (made, mixed(made)))
    assert drawing.picture(one) == drawing.picture(other)


def figures(made):
    return {figure.name: figure for figure in whole(Findings(made)).figures()}


def mixed(made):
    """The study with its rows in another order."""
    runs = made.runs.sample(frac=1.0, random_state=1, ignore_index=True)
    skipped = made.skipped.sample(frac=1.0, random_state=1, ignore_index=True)
    return Study(made.folder, made.facts, made.machine, runs, skipped)


def test_it_opens_with_the_verdict_of_every_workload(report):
    text = report.read_text()
    assert text.index("# synthetic") < text.index("## Verdict") < text.index("## How the outcome depends on the lr")
    verdict = text[text.index("## Verdict") : text.index("*How to read it.*")]
    assert verdict.index("![The best strategies and the baseline") < verdict.index("| Workload |")
    for workload in ("digits_mlp", "mnist_cnn"):
        assert f"\n| {workload} | **`" in verdict
    assert "points [" in verdict
    assert " % accuracy [" in verdict


def test_a_reviewer_reads_four_hundred_lines_at_most(report):
    lines = report.read_text().splitlines()
    assert len(lines) < 400
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert headings == [
        "Verdict", "Ranking and groups", "How the outcome depends on the lr", "Learning curves", "Tuning budget",
        "Variance explained by each axis", "What changed against the record", "What was not run, and why",
    ]  # fmt: skip


def test_every_entry_of_the_matrix_and_every_reason_appears(made, report):
    page = (report.parent / "report.html").read_text()
    for axis in ("optimizers", "layer_lrs", "schedules"):
        for label in made.facts[axis]:
            assert f"<tr><td><code>{label}</code></td>" in page
    assert "| LBFGS takes no parameter groups \\| at all | 10 | `lbfgs` |" in report.read_text()
    assert "Synthetic CPU" in page
    assert "BSD-3" in page


def test_images_are_few_have_words_and_exist(report):
    text = report.read_text()
    assert 0 < len(images(report)) <= 25
    assert "![](" not in text
    assert {f"figures/{p.name}" for p in (report.parent / "figures").iterdir()} == set(images(report))


def test_every_table_has_as_many_cells_in_each_row(report):
    for block in report.read_text().split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_the_summary_has_a_line_per_cell(report):
    lines = (report.parent / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3 * 2 * 2 * 5
    assert lines[1:] == sorted(lines[1:], key=lambda line: line.split(",")[:4])


def test_the_report_lies_in_the_study_and_replaces_an_earlier_one(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    path = write(study(tmp_path, seeds=[0], lrs=[1e-2], optimizers=["adam"], workloads=TWO[:1]))
    assert path == tmp_path / "report.md"
    assert (tmp_path / "summary.csv").is_file()
    assert not (tmp_path / "figures" / "old.png").exists()


def test_the_terminal_gets_the_same_verdicts(made, report):
    text = verdict_text(made)
    assert "600 runs: 12 strategies on 2 workloads" in text
    winner = re.search(r"^digits_mlp: (.+) at lr ", text, re.MULTILINE).group(1)
    assert f"\ndigits_mlp,{winner}," in (report.parent / "tables" / "verdict.csv").read_text()
    assert "`" not in text


def test_many_workloads_share_figures(tmp_path):
    names = [f"workload_{i:02}" for i in range(5)]
    path = write(study(tmp_path, workloads=names, seeds=[0], lrs=[1e-3, 1e-2], optimizers=["adam"]))
    drawn = images(path)
    numbered = [image for image in drawn if image[-5] in "12"]
    assert numbered == [f"figures/{kind}-{i}.png" for kind in KINDS for i in (1, 2)]
    assert len(drawn) <= 25


def test_workloads_without_room_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(drawing, "MOST_FIGURES", 1)
    monkeypatch.setattr(drawing, "PER_FIGURE", 1)
    path = write(study(tmp_path, seeds=[0], lrs=[1e-3, 1e-2], optimizers=["adam"]))
    assert path.read_text().count("Not drawn: mnist_cnn.") == len(KINDS)
    assert {image.removesuffix(".png").removesuffix("-1") for image in images(path)} >= {
        f"figures/{kind}" for kind in KINDS
    }


ODD = {
    "one-optimizer": {"optimizers": ["adam"]},
    "two-workloads": {"workloads": TWO},
    "one-strategy": {"optimizers": ["adam"], "schedules": ["constant"]},
    "all-diverged": {"change": diverge, "workloads": TWO},
    "all-crashed": {"change": crash},
    "no-runs": {"seeds": []},
    "two-seeds": {"seeds": [0, 1]},
    "no-plain-runs": {"schedules": ["cosine"], "layer_lrs": ["layer_decay(gamma=0.75)"]},
    "falling-metric": {"higher_is_better": False, "target": 0.5},
    "target-never-reached": {"target": 2.0, "schedules": ["constant"]},
    "batch-sizes": {"batch_sizes": (16, 32), "schedules": ["constant"]},
    "one-workload-lost": {
        "workloads": TWO,
        "change": lambda run, outcome: diverge(run, outcome) if run.workload.label == "mnist_cnn" else outcome,
    },
    "half-crashed": {"change": lambda run, outcome: crash(run, outcome) if run.seed % 2 else outcome},
}
SAYS = {
    "one-strategy": ["is the baseline", "no other was run", "there is nothing to compare"],
    "all-diverged": ["No run finished on digits_mlp, mnist_cnn.", "no run finished", "no claim can be tested"],
    "all-crashed": ["18 runs crashed and count nowhere", "RuntimeError: out of memory"],
    "no-runs": ["No run is stored yet.", "there is no verdict"],
    "two-seeds": ["Only 2 seeds:", "a nominal 95 % covers about 50 %"],
    "no-plain-runs": ["baseline not run", "No optimizer was run with one constant lr"],
    "falling-metric": [" loss |"],
    "target-never-reached": ["0 of 1 runs reach it"],
    "batch-sizes": ["digits_mlp [batch_size=16]"],
    "one-workload-lost": ["No run finished on mnist_cnn.", "| mnist_cnn | no run finished |"],
}


def test_a_machine_that_is_not_as_it_was_is_told_at_the_top(tmp_path):
    moved = {"moved": "the median step is 8 % faster than when measured before"}
    found = study(tmp_path, seeds=[0, 1, 2, 3, 4], optimizers=["adam"], workloads=TWO[:1])
    text = write(replace(found, costs=Costs(conditions=moved))).read_text()
    assert f"The machine is not as it was: {moved['moved']}." in text.partition("## Verdict")[0]


def odd(name, folder):
    return study(folder, **{"workloads": ["digits_mlp"], "seeds": [0], "lrs": [1e-3, 1e-2, 1e-1]} | ODD[name])


FAST = ("all-crashed", "no-runs", "falling-metric", "batch-sizes", "one-workload-lost")
"""The odd studies that are written in each run of the tests: each takes a way through the report that no other
takes."""


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.exhaustive) for name in ODD]
)
def test_an_odd_study_has_a_report_too(name, tmp_path):
    made = odd(name, tmp_path)
    path = write(made)
    page = path.with_suffix(".html").read_text()
    text = path.read_text() + unescape(re.sub("<[^>]*>", "", page.partition('<article class="report"')[2]))
    assert all(sentence in text for sentence in SAYS.get(name, [])), SAYS[name]
    assert {f"figures/{p.name}" for p in path.parent.glob("figures/*.png")} == set(images(path))
    several = {"workloads", "batch_sizes"} & ODD[name].keys()
    assert several or not re.search("performance[- ]profile", text.partition('{"study"')[0], re.IGNORECASE)
    assert not re.search(r"\bnan\b|\binf\b", text.partition('{"study"')[0])
    assert verdict_text(made)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ODD)
@pytest.mark.usefixtures("drawn")
def test_an_odd_study_has_pictures_too(name, tmp_path):
    path = write(odd(name, tmp_path))
    assert all((tmp_path / image).read_bytes().startswith(b"\x89PNG") for image in images(path))


@pytest.mark.parametrize("name", ["all-diverged", "no-plain-runs"])
@pytest.mark.usefixtures("drawn")
def test_the_panels_of_an_odd_study_can_be_drawn(name, tmp_path):
    """As far as the bytes of the pictures, which take the longest."""
    seen = []
    with pictures.using(encoded=lambda figure, _: seen.append(len(figure.axes)) or b""):
        path = write(odd(name, tmp_path))
    assert len(seen) >= len(images(path)) >= 0
    assert seen
    assert all(seen)


def test_a_single_lr_is_warned_of(tmp_path):
    text = write(study(tmp_path, seeds=range(5), lrs=[1e-2], optimizers=["adam"], workloads=TWO[:1])).read_text()
    assert "the only lr it was run at (0.01)" in text


def test_a_choice_is_its_label():
    assert choice("sgd(momentum=0.9)").name == "sgd"
