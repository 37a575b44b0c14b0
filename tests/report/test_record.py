"""A report tells what changed since the study was published."""

from dataclasses import replace

import numpy as np
import pytest
from documents import lines, tables, text
from synthetic import study

from lrbench.report import write
from lrbench.report.findings import Findings
from lrbench.report.study.record import changed
from lrbench.store import load

ONE = {"workloads": ["digits_mlp"], "schedules": ["constant"], "lrs": [1e-3, 1e-2, 1e-1]}


def worse(run, outcome):
    if run.optimizer.label != "adam":
        return outcome
    moved = np.float32(-0.05 + 1e-4 * (run.seed % 3)) * (outcome.eval_step > 0)
    return replace(outcome, val_metric=(outcome.val_metric + moved).astype(np.float32))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    study(folder / "published" / "synthetic" / "cpu-2", **ONE)
    study(folder / "synthetic" / "cpu-2", change=worse, **ONE)
    return folder


def test_what_is_worse_than_on_record_is_told_with_a_picture(results):
    section = changed(Findings(load(results / "synthetic" / "cpu-2")))
    told = text(section)
    assert section.brief
    assert "of 3 strategies, 1 worse" in told
    assert "](figures/changes.png)" in told
    assert [row["Measure"] for row in lines(tables(section)["changes"])] == ["validation", "steps to target"]


def test_it_stands_in_the_short_report_and_not_in_that_of_the_record(results, tmp_path):
    report = write(load(results / "synthetic" / "cpu-2"), folder=tmp_path / "now").read_text()
    assert "## What changed against the record" in report
    recorded = write(load(results / "published" / "synthetic" / "cpu-2"), folder=tmp_path / "then").read_text()
    assert "against the record" not in recorded


def test_a_study_of_which_nothing_is_published_says_so(tmp_path):
    section = changed(Findings(study(tmp_path / "results" / "synthetic" / "cpu-2", **ONE)))
    assert "The record holds no study of synthetic on this machine." in text(section)
