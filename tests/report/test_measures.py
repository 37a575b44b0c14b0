"""A new measure of a strategy is a field of its row and a column, and shows everywhere."""

import csv

from documents import lines, tables
from synthetic import study

from lrbench.report import write
from lrbench.report.document import Column
from lrbench.report.findings import Findings
from lrbench.report.page import embedded
from lrbench.report.study.response import MEASURES, lr_response

RATIO = Column(
    "Best over default", lambda r: f"{r.best_lr / r.default_lr:.3g} x", lambda r: r.best_lr / r.default_lr, name="ratio"
)


def test_a_column_more_is_in_the_table_its_files_and_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("lrbench.report.study.response.MEASURES", [*MEASURES, RATIO])
    monkeypatch.setattr("lrbench.report.page.MEASURES", [*MEASURES, RATIO])
    made = study(tmp_path, workloads=["digits_mlp"])
    found = Findings(made)
    shown = [row["Best over default"] for row in lines(tables(lr_response(found))["lr-sensitivity"])]
    values = [row.best_lr / row.default_lr for row in found.notable_first(found.responses)[0]]
    assert shown == [f"{value:.3g} x" for value in values]
    write(made)
    with (tmp_path / "tables" / "lr-sensitivity.csv").open() as file:
        assert [float(row["Best over default"]) for row in csv.DictReader(file)] == [float(f"{v:.6g}") for v in values]
    data = embedded(found)
    assert data["measures"][-1] == {"id": "ratio", "label": "Best over default", "help": ""}
    assert sorted(data["rows"]["ratio_shown"]) == sorted(shown)


def test_every_measure_has_a_name_of_its_own_and_says_what_it_is():
    names = [of.name for of in MEASURES]
    assert len(names) == len(set(names))
    assert all(of.help and of.value for of in MEASURES)
