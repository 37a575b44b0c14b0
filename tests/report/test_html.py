"""The assembled ``report.html``: what it holds is what the study says, and nothing in it asks for anything outside."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import OPTIMA, SLOWNESS, STEPS, crash, diverge, step_costs, study

from lrbench.report import write
from lrbench.report.findings import Findings
from lrbench.report.page import LIMITS, NEVER, Limits, embedded, in_script
from lrbench.report.page import page as page_of
from lrbench.report.study import report

HOSTILE = "</script><script>window.broken = 1</script><!-- \"'><img src=x onerror=window.broken=1> & {{data}} \u2028"


def page(found):
    return page_of(found, report(found), lambda figure: figure.alt.encode())


class Reader(HTMLParser):
    """The elements of a document with their attributes, and the text of each script and style."""

    def __init__(self, document):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"}:
            self.texts.append(data)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def data_of(document):
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    return json.loads(text, parse_constant=refuse)


def table(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def rows_of(data):
    """The rows with their labels, and the cells of each."""
    rows = [
        row | {axis: labels[row[axis]] for axis, labels in data["axes"].items()} | {"cells": []}
        for row in table(data["rows"])
    ]
    for cell in table(data["cells"]):
        rows[cell["row"]]["cells"].append(cell)
    return rows


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    layer_lrs, costs = ("uniform", "layer_decay(gamma=0.75)"), step_costs()
    return Findings(study(tmp_path_factory.mktemp("study"), layer_lrs=layer_lrs, costs=costs))


@pytest.fixture(scope="module")
def document(found):
    return page(found)


@pytest.fixture(scope="module")
def rows(document):
    return rows_of(data_of(document))


def test_there_is_a_row_for_every_strategy_at_the_best_lr_of_its_optimizer(rows):
    assert len(rows) == 2 * 3 * 2 * 2
    assert {(row["optimizer"], row["best_lr"]) for row in rows} == {(name, OPTIMA[name]) for name in SLOWNESS}
    for workload in ("digits_mlp", "mnist_cnn"):
        assert [row["rank"] for row in rows if row["workload"] == workload] == list(range(1, 13))


def test_the_rows_have_the_numbers_of_the_tables(found, rows):
    measures = found.response_table.merge(
        found.time_table, on=["workload", "optimizer", "layer_lr", "schedule"]
    ).to_dict("records")
    told = {(row["workload"], row["optimizer"], row["layer_lr"], row["schedule"]): row for row in rows}
    for m in measures:
        row = told[m["workload"], m["optimizer"], m["layer_lr"], m["schedule"]]
        for name in ("best_lr", "width", "sensitivity", "default_lr", "steps", "step_seconds"):
            assert row[name] == (None if math.isnan(m[name]) else pytest.approx(m[name], rel=1e-4)), name
        assert row["metric"] == pytest.approx(m["score"], rel=1e-4)
        steps, slow = row["steps"], SLOWNESS[m["optimizer"]] * (1 if m["workload"] == "digits_mlp" else 2)
        assert row["seconds"] == (
            pytest.approx(1e-3 * steps * slow, rel=1e-3) if row["layer_lr"] == "uniform" else None
        )


def test_what_is_not_separated_is_what_the_verdict_says(found, rows):
    for v in found.verdicts:
        mine = [row for row in rows if row["workload"] == v.workload and row["alike"]]
        assert sorted(f"{r['optimizer']} / {r['layer_lr']} / {r['schedule']}" for r in mine) == sorted(v.not_separated)


def test_every_outcome_has_the_median_and_the_range_of_its_seeds(found, rows):
    stored = found.runs.set_index("key")
    for row in rows:
        assert [cell["lr"] for cell in row["cells"]] == sorted(cell["lr"] for cell in row["cells"])
        for cell in row["cells"]:
            mine = stored.loc[cell["keys"].split()]
            assert set(mine.lr) == {cell["lr"]}
            assert [cell["middle"], cell["least"], cell["most"]] == pytest.approx(
                [mine.quality.median(), mine.quality.min(), mine.quality.max()], rel=1e-4
            )
            assert cell["loss"] == pytest.approx(mine.loss.median(), rel=1e-4)
            assert cell["diverged"] == (mine.status == "diverged").sum()


def test_every_run_key_is_there_once(found, rows):
    keys = [key for row in rows for cell in row["cells"] for key in cell["keys"].split()]
    assert sorted(keys) == sorted(found.runs.key)


def test_a_median_that_never_reaches_the_target_is_never_not_nothing(rows):
    far = [cell for row in rows for cell in row["cells"] if cell["diverged"] == cell["runs"]]
    assert far
    assert {cell["steps"] for cell in far} == {NEVER}


def test_a_curve_is_the_median_of_its_runs(found, document):
    data, stored = data_of(document), found.study.runs.set_index("key")
    rows, curves = rows_of(data), table(data["curves"])
    assert len(curves) == len(rows)
    for curve in curves:
        [cell] = [cell for cell in rows[curve["row"]]["cells"] if cell["lr"] == rows[curve["row"]]["best_lr"]]
        losses = np.stack([stored.loc[key].val_loss for key in cell["keys"].split()])
        assert data["grids"][curve["grid"]] == list(range(0, STEPS + 1, 3))
        assert curve["seeds"] == 5
        for name, of in (("loss", np.median), ("loss_least", np.min), ("loss_most", np.max)):
            assert curve[name] == pytest.approx(of(losses, axis=0).tolist(), rel=1e-4)


def test_a_curve_of_runs_that_ended_early_counts_those_that_are_left(tmp_path):
    def change(run, outcome):
        return diverge(run, outcome) if run.seed == 0 else outcome

    data = embedded(
        Findings(study(tmp_path, workloads=["w"], optimizers=["adam"], lrs=[1e-2], seeds=range(3), change=change))
    )
    assert all(curve["seeds"][0] == 3 and set(curve["seeds"][1:]) == {2} for curve in table(data["curves"]))
    assert all(row["diverged"] == 1 for row in table(data["rows"]))


def test_the_document_is_well_formed_and_its_names_are_unique(document):
    read = Reader(document)
    assert read.open == []
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {name for _, a in read.elements if (name := a.get("aria-labelledby"))} <= set(ids)


def test_nothing_in_it_can_ask_for_anything(document):
    read = Reader(document)
    targets = [
        a[name] for _, a in read.elements for name in ("src", "href", "action", "srcset", "poster", "data") if name in a
    ]
    inside = {target for target in targets if target.startswith(("#", "data:image/png;base64,"))}
    assert {target[1:] for target in inside if target[0] == "#"} <= {a.get("id") for _, a in read.elements}
    assert set(targets) - inside == {"data:,", "report.md", "summary.csv"}
    assert not re.search(r"https?:|//[a-z]+\.", document)
    style, _, script = read.texts
    assert not re.search(r"url\(|@import|@font-face", style)
    assert not re.search(
        r"\bfetch\b|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\b|innerHTML|\beval\b|Function\(", script
    )


def test_its_policy_lets_its_own_style_and_script_run_alone(document):
    read = Reader(document)
    [policy] = [
        a["content"] for tag, a in read.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style, _, script = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in read.texts
    )
    assert rules["default-src"] == "'none'"
    assert (rules["style-src"], rules["script-src"]) == (style, script)


def hostile(folder):
    names = {"workloads": [HOSTILE], "optimizers": [HOSTILE, "adam"], "layer_lrs": [HOSTILE], "schedules": [HOSTILE]}
    return study(folder, **names, lrs=[1e-3, 1e-2])


def test_no_label_breaks_out(tmp_path):
    made = hostile(tmp_path)
    made.facts["matrix"]["name"] = HOSTILE
    document = page(Findings(made))
    read = Reader(document)
    assert [tag for tag, _ in read.elements if tag in {"script", "style"}] == ["style", "script", "script"]
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in read.elements if tag == "img")
    data = data_of(document)
    assert data["axes"]["workload"] == [HOSTILE]
    assert data["axes"]["optimizer"] == sorted([HOSTILE, "adam"])
    assert data["study"]["name"] == HOSTILE


@given(
    st.recursive(
        st.text() | st.sampled_from(["</script>", "<!--", "&lt;", "\u2029"]),
        lambda inner: st.dictionaries(st.text(), inner),
    )
)
def test_data_in_a_script_reads_back_and_has_no_markup(value):
    text = in_script(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_warnings_read_as_they_were_meant(tmp_path):
    told = embedded(Findings(study(tmp_path, workloads=["a<b|c"], optimizers=["adam"], lrs=[1e-2], seeds=[0])))[
        "study"
    ]["warnings"]
    assert any("Only 1 seed" in line for line in told)
    assert any(line.startswith("On a<b|c the best strategy is at the only lr") for line in told)


def test_failed_runs_are_rows_too(tmp_path):
    def change(run, outcome):
        return {"adam": crash, "rmsprop": diverge}.get(run.optimizer.label, lambda _, o: o)(run, outcome)

    rows = rows_of(
        embedded(Findings(study(tmp_path, workloads=["w"], schedules=["constant"], lrs=[1e-2], change=change)))
    )
    assert [(row["optimizer"], row["rank"], row["best_lr"], row["diverged"], row["crashed"]) for row in rows] == [
        ("sgd(momentum=0.9)", 1, 0.01, 0, 0),
        ("adam", None, None, 0, 5),
        ("rmsprop", None, None, 5, 0),
    ]
    assert [len(row["cells"]) for row in rows] == [1, 1, 1]


def test_a_study_without_runs_has_a_page(tmp_path):
    document = page(Findings(study(tmp_path, seeds=[])))
    assert data_of(document)["rows"]["rank"] == []
    assert "No run is stored yet" in document


def test_a_loss_is_never_shown_above_that_of_the_untrained_model(tmp_path):
    data = embedded(Findings(study(tmp_path, workloads=["w"], higher_is_better=False, target=0.5)))
    assert data["workloads"][0]["higher"] is False
    assert max(cell["middle"] for cell in table(data["cells"])) <= 2.3001


def test_the_report_names_the_page_and_lies_beside_it(tmp_path):
    path = write(study(tmp_path, workloads=["w"], optimizers=["adam"], lrs=[1e-3, 1e-2], seeds=[0]))
    assert "[report.html](report.html)" in path.read_text()
    assert data_of((tmp_path / "report.html").read_text())["study"]["name"] == "synthetic"


def test_limits_cut_the_lowest_ranks_of_every_workload_alike_and_are_counted(found):
    data = embedded(found, Limits(rows=6, cells=1000, keys=2, curves=4, points=5))
    rows = rows_of(data)
    assert sorted((row["workload"], row["rank"]) for row in rows) == [
        (w, r) for w in ("digits_mlp", "mnist_cnn") for r in (1, 2, 3)
    ]
    assert sorted(rows[i]["rank"] for i in data["curves"]["row"]) == [1, 1, 2, 2]
    assert all(len(cell["keys"].split()) == 2 for row in rows for cell in row["cells"])
    assert data["grids"] == [[0, 15, 30, 45, 60]]
    assert data["left_out"] == {"rows": 18, "curves": 2, "keys": 6 * 5 * 3, "thinned": 4}


def test_a_limit_on_outcomes_leaves_whole_rows_out(found):
    data = embedded(found, Limits(cells=13))
    assert [len(row["cells"]) for row in rows_of(data)] == [5, 5]
    assert data["left_out"]["rows"] == 22


def test_nothing_is_left_out_of_a_small_study(document):
    assert set(data_of(document)["left_out"].values()) == {0}


SHAPE = {
    "optimizers": ["sgd(momentum=0.9)", "adam", "lion"],
    "layer_lrs": [f"policy{i}" for i in range(4)],
    "schedules": list("abcde"),
}


@pytest.mark.parametrize(("lrs", "most"), [(4, 3e5), pytest.param(17, 1e6, marks=pytest.mark.exhaustive)])
def test_a_page_of_five_thousand_runs_is_far_below_five_megabytes(lrs, most, tmp_path):
    """And one of so much fewer runs as much smaller, but for what every page has."""
    grid = [10 ** (i / 4 - 4) for i in range(lrs)]
    made = Findings(study(tmp_path, workloads=["w"], **SHAPE, lrs=grid, seeds=range(5)))
    assert len(made.runs) == 300 * lrs
    document = page(made)
    assert len(document.encode()) < most
    assert set(data_of(document)["left_out"].values()) == {0}


@pytest.mark.parametrize("part", [50, pytest.param(10, marks=pytest.mark.exhaustive)])
def test_five_thousand_strategies_of_one_run_each_would_take_less_than_five(part, tmp_path):
    """The worst shape, in which nothing sums up, at a part of its size and of the limit on curves."""
    optimizers = [f"adam(weight_decay=0.0{i:02})" for i in range(200 // part)]
    names = {"optimizers": optimizers, "schedules": [f"cosine(warmup=0.{i})" for i in range(25)]}
    made = Findings(study(tmp_path, workloads=["w"], **names, lrs=[1 / 300], seeds=[0]))
    data = embedded(made, Limits(curves=LIMITS.curves // part))
    assert (len(made.runs), len(data["curves"]["row"])) == (5000 // part, 600 // part)
    assert part * len(in_script(data)) + len(page(made)) - len(in_script(embedded(made))) < 5e6


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf]))
def test_numbers_keep_five_digits(value):
    from lrbench.report.page import DIGITS, _number

    told = _number(value, DIGITS)
    if math.isfinite(value):
        assert told == pytest.approx(value, rel=1e-4, abs=0.0) or abs(value) < 1e-300
        assert len(str(told)) <= 20
    else:
        assert told in {None, NEVER, f"-{NEVER}"}
    assert json.loads(in_script(told)) == told
