"""Only what is complete, repeatable and repeated enters the record, and it enters whole."""

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lrbench
from lrbench import publish as module
from lrbench.config.faults import BadInput
from lrbench.publish import publish
from lrbench.report import write_reports
from lrbench.report.changes import compare, summary
from lrbench.store import bundle, load, studies

ROOT = Path(__file__).parents[1]
MATRIX = {
    "name": "small",
    "workload": "quadratic",
    "optimizer": "sgd",
    "lr": [0.06, 0.19],
    "seed": [0, 1],
    "budget": {"quadratic": {"steps": 20, "eval_every": 10}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return lrbench.run(MATRIX, results=tmp_path_factory.mktemp("work") / "results", device="cpu", workers=1).folder


@pytest.fixture
def study(trained, tmp_path, monkeypatch, no_pictures):  # noqa: ARG001 - the record has their files, and no test here looks into them
    """A copy of a complete study, made by a clean commit, and the record beside it."""
    folder = shutil.copytree(trained, tmp_path / "results" / "small" / trained.name)
    describe(folder, dirty=False)
    monkeypatch.chdir(tmp_path)
    real = module.reproduce
    monkeypatch.setattr(module, "reproduce", lambda *a, **k: clean(real(*a, **k)))
    return folder


def describe(folder, **facts):
    machine = json.loads((folder / "machine.json").read_text())
    (folder / "machine.json").write_text(json.dumps(machine | facts))


def clean(found):
    """A re-run by a checkout without changes, as the one under test may have some."""
    found.here["dirty"] = False
    return found


def edit(folder, change):
    [path] = (folder / "runs").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows), schema=pq.read_schema(path)), path)


def enter(folder, **options):
    return publish(folder, **({"device": "cpu", "workers": 1, "sample": 3, "year": 2031} | options))


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


class TestAccepted:
    def test_a_study_enters_with_all_that_goes_with_it(self, study):
        (study / "checkpoints").mkdir()
        (study / "checkpoints" / "a.pt").write_text("half of a run")
        place = enter(study)
        assert place == Path("results/published/small") / study.name
        assert {"report.md", "report.html", "summary.csv", "methods.md", "citation.bib", "certificate.md"} <= files(
            place
        )
        assert not [name for name in files(place) if name.startswith(("checkpoints", "."))]
        assert load(place).runs.equals(load(study).runs)
        assert json.loads((place / "certificate.json").read_text())["verdict"] == "3 of 3 bitwise equal"
        assert (
            "[x] The record was trained again, and a certificate is with it: 3 of 3 bitwise equal"
            in (place / "methods.md").read_text()
        )
        assert "2031" in (place / "citation.bib").read_text()
        assert [path.name for path in place.parent.iterdir()] == [study.name]

    def test_every_figure_is_one_that_the_report_shows(self, study):
        place = enter(study)
        report = (place / "report.md").read_text()
        assert all(name in report for name in files(place) if name.startswith("figures/"))

    def test_a_bundle_enters_too(self, study, tmp_path):
        assert (enter(bundle(study, tmp_path / "b.tar.gz")) / "report.md").exists()

    def test_a_second_time_only_where_it_is_asked_for(self, study):
        place = enter(study)
        (place / "old").write_text("x")
        with pytest.raises(BadInput, match=r"is in the record already\. Give --replace"):
            enter(study)
        assert (place / "old").exists()
        assert not (enter(study, replace=True) / "old").exists()

    def test_a_second_machine_is_compared_with_the_first(self, study):
        other = shutil.copytree(study, study.with_name("cpu-other"))
        describe(other, slug="cpu-other")
        enter(study)
        assert not Path("results/published/small/comparison.md").exists()
        enter(other)
        assert "on 2 machines" in Path("results/published/small/comparison.md").read_text()


class TestRefused:
    def refused(self, study, match, **options):
        with pytest.raises(BadInput, match=match):
            enter(study, **options)
        assert not list(Path("results").rglob("published/*/*"))

    def test_an_incomplete_one(self, study):
        edit(study, lambda rows: rows[1:])
        self.refused(study, r"is not complete: it has 3 of 4 runs\. Give `lrbench run` with its matrix again")

    def test_one_with_a_crash(self, study):
        edit(study, lambda rows: [rows[0] | {"status": "crashed", "reason": "x"}, *rows[1:]])
        self.refused(study, r"is not complete: 1 of its runs crashed")

    def test_one_of_changed_code(self, study):
        describe(study, dirty=True)
        self.refused(study, r"was run by code with uncommitted changes")

    def test_one_whose_sample_is_different(self, study):
        def better(row):
            return row | {"val_loss": [value / 2 for value in row["val_loss"]]}

        edit(study, lambda rows: [better(row) for row in rows])
        self.refused(
            study, r"does not enter the record: 3 of 3 different\. What was found: certificate-small/certificate\.md"
        )
        assert Path("certificate-small/certificate.md").exists()

    def test_a_checkout_with_changes(self, study, monkeypatch):
        real = module.reproduce

        def dirty(*arguments, **options):
            found = real(*arguments, **options)
            found.here["dirty"] = True
            return found

        monkeypatch.setattr(module, "reproduce", dirty)
        self.refused(study, r"the checkout of lrbench has uncommitted changes")

    def test_what_is_in_the_record(self, study):
        place = enter(study)
        with pytest.raises(BadInput, match=r"is in the record already\. Give a study of your own"):
            enter(place)

    def test_what_fails_on_the_way_leaves_the_record_as_it_was(self, study, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device", "x")

        place = enter(study)
        before = files(place)
        monkeypatch.setattr(module.cite, "cited", fail)
        with pytest.raises(OSError, match="No space"):
            enter(study, replace=True)
        assert files(place) == before
        assert [path.name for path in place.parent.iterdir()] == [study.name]


class TestTheRecordIsApart:
    def test_work_in_progress_is_found_without_it(self, study):
        place = enter(study)
        assert studies(Path("results")) == [Path("results/small") / study.name]
        assert studies(Path("results"), record=True) == [place, Path("results/small") / study.name]
        assert studies(Path("results/published")) == [place]

    def test_either_can_be_compared_with_the_other(self, study):
        enter(study)
        for base, head in (("results/published", "results"), ("results", "results/published")):
            assert summary(compare(base, head)) == "nothing changed: 1 strategy unchanged"

    def test_where_there_is_nothing_else_it_is_read_but_not_written(self, study):
        place = enter(study)
        shutil.rmtree("results/small")
        assert studies(Path("results")) == [place]
        with pytest.raises(
            BadInput, match=r"holds no study but the record\. To write that anew, give results/published"
        ):
            write_reports("results")
        assert write_reports("results/published") == [place / "report.md"]

    @pytest.mark.parametrize(("name", "results"), [("small", "results/published"), ("published", "results")])
    def test_nothing_is_trained_into_it(self, name, results, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BadInput, match="lies in the record, which only `lrbench publish` adds to"):
            lrbench.run(MATRIX | {"name": name}, results=results, device="cpu", workers=1)

    def test_git_tracks_it_and_nothing_else_below_results(self):
        def ignored(path):
            return subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0

        assert ignored("results/reference/cpu-x/report.md")
        assert not ignored("results/published/reference/cpu-x/report.md")
        tracked = subprocess.run(
            ["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert {name.split("/")[1] for name in tracked} == {"published"}
        assert max((ROOT / name).stat().st_size for name in tracked) < 2 * 2**20
