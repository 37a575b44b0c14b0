"""A study trained again is what it was; a record that was edited is not."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lrbench
from lrbench.analyse.agreement import BITWISE, DIFFERENT, MEASURES, NOT_RUN, TOLERANCE
from lrbench.config.faults import BadInput
from lrbench.execute import autotune
from lrbench.execute import reproduce as module
from lrbench.execute.reproduce import Stopped, reproduce
from lrbench.execute.work import Worker
from lrbench.report import certificate
from lrbench.store import bundle, load
from lrbench.strategies import SCHEDULES

MATRIX = {
    "name": "again",
    "workload": ["digits-mlp", "quadratic"],
    "optimizer": ["adam", {"name": "lbfgs", "max_iter": 2}, "sgd"],
    "schedule": ["constant", "plateau"],
    "lr": [0.1, 5.0],
    "seed": [0, 1],
    "budget": {"digits-mlp": {"steps": 30, "eval_every": 10}, "quadratic": {"steps": 20, "eval_every": 10}},
}
PLUGIN = """
import lrbench
from torch.optim.lr_scheduler import LambdaLR
@lrbench.schedule("reproduced-here")
def f(optimizer, total: int, *, low: float = 0.1):
    '''It falls.

    Source: a test.
    '''
    return LambdaLR(optimizer, lambda step: 1 - (1 - low) * step / total)
"""


@pytest.fixture(scope="module", autouse=True)
def _populations_pay(tmp_path_factory):
    """Populations are made whatever a busy machine would measure: a step of one costs as much at every width."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(autotune, "cost", lambda *_: 1e-3)
        patched.setattr(autotune, "cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory, _populations_pay):
    return lrbench.run(MATRIX, results=tmp_path_factory.mktemp("results"), device="cpu", workers=1)


@pytest.fixture
def study(original, tmp_path):
    """A copy of its runs with the first seed, to edit."""
    shutil.copytree(original.folder, tmp_path / "study")
    for path in (tmp_path / "study" / "runs").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter([row["seed"] == 0 for row in table.to_pylist()]), path)
    return load(tmp_path / "study")


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "p.py").write_text(PLUGIN)
    yield tmp_path / "p.py"
    SCHEDULES.pop("reproduced-here", None)


def again(place, **options):
    return reproduce(place, device="cpu", **({"workers": 1} | options))


def edit(study, pick, change):
    """Change one run on record where it lies. Returns: its key."""
    for path in sorted((study.folder / "runs").glob("*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            if pick(row):
                change(row)
                pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
                return row["key"]
    raise LookupError("no such run")


def row_of(found, key):
    [row] = [run for run in found.runs if run.key == key]
    return row


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def finished(row):
    return row["status"] in ("missed", "reached") and row["workload"] == "digits-mlp"


class TestTheSame:
    def test_every_run_is_equal_to_the_bit(self, original):
        before = everything(original.folder)
        found = again(original.folder)
        assert found.counts[BITWISE] == len(original.runs) == found.total
        assert found.overall == f"{found.total} of {found.total} bitwise equal"
        assert not found.differs
        assert {r.trained_as.split(",")[0] for r in found.runs} == set(original.runs.trainer)
        assert everything(original.folder) == before

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
    def test_two_workers_and_a_bundle_change_nothing(self, workers, original, tmp_path):
        packed = bundle(original.folder, tmp_path / "b.tar.gz")
        one, two = again(original.folder, sample=6), again(packed, sample=6, workers=workers)
        assert (one.runs, one.tests, one.digest) == (two.runs, two.tests, two.digest)
        assert {r.status for r in one.runs} == set(original.runs.status)
        assert {r.workload for r in one.runs} == set(original.runs.workload)

    def test_a_population_that_cannot_be_made_is_trained_by_the_reference_trainer_and_said_so(
        self, original, monkeypatch
    ):
        monkeypatch.setattr(module, "alone", lambda _: "a reason")
        found = again(original.folder, sample=8)
        notes = {r.note for r in found.runs if r.recorded_as.startswith("population")}
        assert notes == {"not in a population here: a reason"}
        assert not found.differs

    def test_a_compiled_record_on_a_device_that_compiles_nothing_is_trained_eagerly(self, study, monkeypatch):
        def compiled(row):
            row["mode"] = "compiled"

        key = edit(study, lambda row: row["trainer"] == "population" and finished(row), compiled)
        monkeypatch.setattr(module, "fast_modes", lambda _: ())
        row = row_of(again(study.folder), key)
        assert row.note == "there is no compiled mode on cpu"
        assert row.verdict in (BITWISE, TOLERANCE)


class TestRulesThatRoundInALowerPrecision:
    """A member's bits depend on the others of its population, so that is trained again whole."""

    @pytest.fixture(scope="class")
    @classmethod
    def together(cls, tmp_path_factory, _populations_pay):
        matrix = MATRIX | {
            "workload": "digits-mlp",
            "optimizer": [{"name": "muon", "matrices": "all"}, "adam"],
            "lr": [0.003, 0.03],
            "seed": [0, 1, 2],
        }
        matrix["budget"] = {"digits-mlp": {"steps": 30, "eval_every": 10}}
        return lrbench.run(matrix, results=tmp_path_factory.mktemp("muon"), device="cpu", workers=1)

    def sampled(self, study, monkeypatch):
        """The re-run of one run that is neither the first nor the last of its population."""
        runs = study.runs[study.runs.optimizer == "muon"]
        key = sorted(runs.key[(runs.lr == 0.03) & (runs.seed == 1) & (runs.schedule == "constant")])[0]
        monkeypatch.setattr(module, "stratified", lambda *_: [key])
        found = again(study.folder, sample=1)
        assert [run.key for run in found.runs] == [key]
        return found.runs[0]

    def test_one_run_of_a_sample_has_the_bits_of_its_record(self, together, monkeypatch):
        [width] = set(together.runs.width[together.runs.optimizer == "muon"])
        assert width > 2
        run = self.sampled(together, monkeypatch)
        assert run.recorded_as == run.trained_as == f"population, eager, {width} at once"
        assert run.verdict == BITWISE

    def test_a_record_that_names_no_populations_is_trained_with_all_that_may_have_been_in_it(
        self, together, monkeypatch, tmp_path
    ):
        shutil.copytree(together.folder, tmp_path / "old")
        for path in (tmp_path / "old" / "runs").glob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(["population"]), path)
        old = load(tmp_path / "old")
        assert set(old.runs.population) == {""}
        run = self.sampled(old, monkeypatch)
        assert run.verdict in (BITWISE, TOLERANCE)

    def test_older_runs_beside_newer_ones_are_taken_for_a_population_of_their_own_optimizer_only(self, together):
        named = together.runs.key == together.runs.key[together.runs.optimizer == "adam"].iloc[0]
        runs = together.runs.assign(population=np.where(named, "12345678", ""))
        recorded, _ = module._sort_out(module._records(runs[runs.optimizer == "muon"][:1]), module.select("cpu")[0])
        [unit] = module.tasks_of(recorded, runs)
        assert {run.key for run in unit.runs} == set(runs.key[runs.optimizer == "muon"])


class TestTampered:
    def test_a_metric(self, study):
        def better(row):
            row["test_metric"] += 0.01

        key = edit(study, finished, better)
        found = again(study.folder)
        assert (found.differs, found.counts[DIFFERENT]) == (True, 1)
        assert found.overall.startswith(f"1 of {found.total} different, ")
        row = row_of(found, key)
        assert {name for name, m in row.measures.items() if m.verdict == DIFFERENT} == {"test_metric"}

    def test_a_record_that_converges_too_fast(self, study):
        def fast(row):
            row["val_metric"] = [row["val_metric"][0]] + [0.999] * (len(row["val_metric"]) - 1)
            row["status"] = "reached"

        key = edit(study, lambda row: finished(row) and row["status"] == "missed", fast)
        found = again(study.folder)
        assert row_of(found, key).verdict == DIFFERENT
        assert "reaches the target at step 10 on record" in found.suspicious[key]

    def test_a_whole_curve_from_the_second_step(self, study):
        def smooth(row):
            row["loss_at_step"] = row["loss_at_step"][:1] + [x * 0.9 for x in row["loss_at_step"][1:]]
            row["loss_digest"] = "0123456789abcdef"

        key = edit(study, lambda row: finished(row) and row["optimizer"].startswith("lbfgs"), smooth)
        row = row_of(again(study.folder), key)
        assert row.verdict == (DIFFERENT if study.machine["dirty"] is False else row.verdict)
        assert row.measures["step_loss"].verdict != BITWISE

    def test_an_lr_setting_or_column(self, study):
        def other_lr(row):
            row["run"] = json.dumps(json.loads(row["run"]) | {"lr": 0.2})

        def other_column(row):
            row["lr"] = 0.2

        keys = [
            edit(study, finished, other_lr),
            edit(study, lambda row: finished(row) and row["lr"] == 0.1 and "0.2" not in row["run"], other_column),
        ]
        found = again(study.folder)
        assert [row_of(found, key).verdict for key in keys] == [DIFFERENT] * 2
        assert all("the record contradicts itself" in row_of(found, key).reason for key in keys)


class TestWhatCannotBe:
    def test_a_changed_or_unknown_entry_is_a_row_with_its_reason(self, plugin, tmp_path):
        matrix = MATRIX | {
            "workload": "quadratic",
            "optimizer": "sgd",
            "schedule": ["constant", "reproduced-here"],
            "budget": {},
        }
        made = lrbench.run(matrix, results=tmp_path / "r", device="cpu", workers=1, plugins=[plugin])
        assert again(made.folder).counts[BITWISE] == len(made.runs)

        def unlike(values):
            values["schedule"]["revision"] = "0" * 12

        for change, said in ((unlike, "was changed since: revision 000000000000 on record"),
                             (lambda v: v["schedule"].update(name="gone"), "there is no schedule called 'gone' here: "
                             "if it is a plug-in's"),
                             (lambda v: v["schedule"].update(settings={"high": 1.0}), "its settings are not possible "
                             "here"),
                             (lambda v: v.update(unheard=1), "not those of a run that this lrbench knows")):  # fmt: skip
            copy = shutil.copytree(made.folder, tmp_path / "copy", dirs_exist_ok=True)
            key = self.rewrite(load(copy), change)
            found = again(copy)
            row = row_of(found, key)
            assert (row.verdict, row.measures) == (NOT_RUN, {})
            assert said in row.reason
            assert found.counts[BITWISE] == len(made.runs) - 1
            assert not found.differs

    def rewrite(self, study, change):
        """Give a run other resolved values, and the key and label that belong to them."""

        def edited(row):
            values = json.loads(row["run"])
            change(values)
            row["run"] = json.dumps(values)
            with suppress(ValueError):
                row["key"] = module.Run.model_validate(values).key

        return edit(study, lambda row: row["schedule"] == "reproduced-here", edited)

    def test_a_workload_without_its_data(self, study, monkeypatch):
        monkeypatch.setattr(module, "fetch", lambda names: {n: "the data are away" for n in names if n == "quadratic"})
        found = again(study.folder, sample=8)
        assert {r.reason for r in found.runs if r.workload == "quadratic"} == {"the data are away"}
        assert {r.verdict for r in found.runs if r.workload == "digits-mlp"} == {BITWISE}

    def test_a_crash_here_and_a_crash_on_record(self, study, monkeypatch):
        def crashed(row):
            row |= {"status": "crashed", "reason": "RuntimeError: x"}

        key = edit(study, finished, crashed)

        def fail(*_, **__):
            raise RuntimeError("no memory")

        monkeypatch.setattr("lrbench.execute.work.train", fail)
        monkeypatch.setattr("lrbench.execute.work.Population", fail)
        found = again(study.folder)
        assert found.counts[NOT_RUN] == len(study.runs)
        assert found.overall == f"none of {len(study.runs)} runs could be trained again: the certificate says why"
        assert (
            row_of(found, key).reason
            == "it crashed when it was recorded, so there is no result to compare: RuntimeError: x"
        )
        assert sum("it crashed here: RuntimeError: no memory" in r.reason for r in found.runs) == len(study.runs) - 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"sample": 0}, "--sample 0"),
            ({"workers": 0}, "--workers 0"),
            ({"threads": 0}, "--threads 0"),
            ({"plugins": ["none.py"]}, "no such file"),
        ],
        ids=str,
    )
    def test_options_that_make_no_sense(self, options, said, original):
        options = {
            name: [original.folder / f for f in value] if name == "plugins" else value
            for name, value in options.items()
        }
        with pytest.raises(BadInput, match=said):
            again(original.folder, **options)

    def test_ctrl_c_tells_what_was_finished(self, original, monkeypatch):
        real = Worker.carry_out
        seen = []

        def stops(self, unit):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(unit)
            yield from real(self, unit)

        monkeypatch.setattr(Worker, "carry_out", stops)
        with pytest.raises(
            Stopped,
            match=r"interrupted: \d+ of \d+ runs were trained again: \d+ bitwise equal\. No certificate was written\.",
        ):
            again(original.folder)


class TestCertificate:
    def test_it_says_the_same_twice_and_all_of_it(self, original, tmp_path):
        for name in ("a", "b"):
            certificate.write(again(original.folder, sample=9), tmp_path / name)
        assert everything(tmp_path / "a") == everything(tmp_path / "b")
        assert sorted(everything(tmp_path / "a")) == ["certificate.json", "certificate.md"]
        facts = json.loads((tmp_path / "a" / "certificate.json").read_text())
        assert facts["counts"][BITWISE] == len(facts["bitwise_equal"]) == facts["measures"]["val_loss"][BITWISE] == 9
        assert (facts["runs"], facts["within_tolerance"], facts["trained_otherwise"]) == ([], {}, {})
        assert set(facts["measures"]) == set(MEASURES)
        assert facts["here"]["slug"] == facts["recorded_on"]["slug"] == original.machine["slug"]
        told = (tmp_path / "a" / "certificate.md").read_text()
        for part in (facts["verdict"], facts["study"]["digest"], *facts["bitwise_equal"], "within 0.001"):
            assert part in told

    def test_what_is_different_suspicious_or_not_run_is_listed(self, study, tmp_path):
        def fast(row):
            row["val_metric"] = [row["val_metric"][0]] + [0.999] * (len(row["val_metric"]) - 1)

        def crashed(row):
            row |= {"status": "crashed", "reason": "RuntimeError: a | b"}

        edit(study, finished, fast)
        edit(study, lambda row: row["workload"] == "quadratic", crashed)
        found = again(study.folder)
        told = certificate.write(found, tmp_path / "c").read_text()
        facts = json.loads((tmp_path / "c" / "certificate.json").read_text())
        told_of = [*facts["bitwise_equal"], *facts["within_tolerance"], *(run["key"] for run in facts["runs"])]
        assert sorted(told_of) == sorted(run.key for run in found.runs)
        for run in facts["runs"]:
            known = row_of(found, run["key"])
            assert run["verdict"] == known.verdict
            assert set(run["apart"]) == {name for name, m in known.measures.items() if m.verdict == known.verdict}
        for part in ("## Different", "## Suspiciously good on record", "## Not trained again", "RuntimeError: a \\| b"):
            assert part in told

    def test_numbers_that_are_none_are_json(self, study, tmp_path):
        def end(row):
            row["test_loss"] = float("nan")

        edit(study, finished, end)
        certificate.write(again(study.folder), tmp_path / "c")
        facts = json.loads((tmp_path / "c" / "certificate.json").read_text(), parse_constant=pytest.fail)
        assert facts["different"] is True


def test_the_slots_of_a_population_are_the_most_that_were_trained_together(original):
    runs = original.runs.copy()
    picked = runs.index[(runs.trainer == "population") & (runs.workload == "digits-mlp") & (runs.optimizer == "adam")]
    runs.loc[picked, "mode"] = "compiled"
    runs.loc[picked, "width"] = np.arange(1, len(picked) + 1, dtype=np.int32)
    recorded, rest = module._sort_out(module._records(runs.loc[picked[:3]]), module.select("cpu")[0])
    [unit] = module.tasks_of(recorded, runs)
    assert (rest, unit.mode, unit.width, len(unit.runs)) == ([], "compiled", len(picked), 3)
