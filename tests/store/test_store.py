"""What is written is there whole, or not at all, and is read back to the bit."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from runs import a_run

from lrbench.config.faults import BadInput
from lrbench.config.outcome import Outcome, Status
from lrbench.config.run import Choice, Run
from lrbench.config.types import check_name
from lrbench.stats.curves import Losses, summary
from lrbench.store import SCHEMA, Store, load, studies, write_whole
from lrbench.store.table import COLUMNS, row, table_of
from lrbench.strategies import SCHEDULES
from lrbench.workloads import WORKLOADS, add_workload

NO_SKIPS = pd.DataFrame(columns=["key", "workload", "optimizer", "layer_lr", "schedule", "lr", "seed", "reason"])
MACHINE = {"slug": "cpu-test"}


def facts(**more):
    return {"matrix": {"name": "m"}} | more


def outcome(run, status=Status.MISSED, loss=1.0, **more):
    curve = np.array([2.0, loss], np.float32)
    curves = {
        "eval_step": np.array([0, 10], np.int32),
        "val_loss": curve,
        "val_metric": curve,
        "train_loss": 0.25,
        "step_loss": curve,
    }
    lrs = {"groups": ("body", "head"), "group_lr": np.array([[np.nan, 0.1], [0.01, 0.1]])}
    return Outcome(
        key=run.key,
        status=status,
        **(curves | lrs | {"test_loss": 1.5, "test_metric": 0.5, "train_seconds": 0.25} | more),
    )


def crash(run, reason="RuntimeError: out of memory"):
    return Outcome(key=run.key, status=Status.CRASHED, reason=reason)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "m" / "cpu-test")
    made.describe(facts(), MACHINE, NO_SKIPS)
    return made


def stored(store):
    return load(store.folder).runs.set_index("key")


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RUNS = [a_run("quadratic", seed=seed) for seed in range(4)]
ELSEWHERE = a_run("digits-mlp")


class TestPlaces:
    def test_links_to_studies_are_followed_and_each_is_found_once(self, store, tmp_path):
        results = tmp_path / "results"
        results.mkdir()
        (results / "linked").symlink_to(store.folder.parent)
        (results / "around").symlink_to(results)
        assert studies(results) == [results / "linked" / "cpu-test"]
        (results / "again").symlink_to(store.folder)
        assert len(studies(results)) == 1

    def test_a_place_that_cannot_be_written_is_told_before_anything_is_trained(self, tmp_path):
        made = Store(tmp_path / "m" / "cpu-test")
        made.folder.mkdir(parents=True)
        (made.folder / "runs").write_text("not a folder")
        with pytest.raises(FileExistsError), made.alone():
            pytest.fail("nothing may begin")


class TestNames:
    @pytest.mark.parametrize("name", ["glue/sst2", "a b", "näh", "50%", "con:aux", "x" * 100])
    def test_a_legal_name_is_a_file_inside_the_study_and_is_found_again(self, name, store):
        run = a_run("quadratic").but(workload=Choice(name=name, revision=1, label=name))
        check_name("workload", name)
        store.write("a", [(run, outcome(run))])
        for _ in range(2):
            store.arrange({run.key})
            assert store.finished() == {run.key}
            assert load(store.folder).runs.workload.tolist() == [name]
        assert [path.parent for path in store.folder.rglob("*.parquet")] == [store.folder / "runs"]

    @pytest.mark.parametrize(
        "name", ["", "..", "../..", "/etc", "a//b", "a/./b", " a", "a\n", "a\x00b", "x" * 101, None, 7]
    )
    def test_what_is_no_name_is_refused_where_it_is_entered(self, name):
        with pytest.raises(LookupError, match="is no name"):
            add_workload(replace(WORKLOADS["quadratic"], name=name))
        with pytest.raises(LookupError, match="is no name"):
            SCHEDULES.register(name)
        assert name not in WORKLOADS


class TestRoundTrip:
    def test_every_field_of_an_outcome_is_stored(self):
        assert {field.name for field in fields(Outcome)} - {"step_loss", "lowest_loss"} <= set(COLUMNS.names)
        assert set(summary([1.0])) <= set(COLUMNS.names)
        assert set(row(RUNS[0], outcome(RUNS[0]))) == set(COLUMNS.names)

    def test_numbers_come_back_to_the_bit(self, store):
        given = outcome(RUNS[0], loss=np.float32(1 / 3), test_loss=1 / 3, status=Status.DIVERGED, diverged_at=7)
        store.write("a", [(RUNS[0], given)])
        [found] = load(store.folder).runs.to_dict("records")
        for name in ("eval_step", "val_loss", "val_metric"):
            np.testing.assert_array_equal(found[name], getattr(given, name))
        np.testing.assert_array_equal(np.stack(found["group_lr"]), given.group_lr)
        assert tuple(found["groups"]) == given.groups
        assert (found["status"], found["diverged_at"], found["test_loss"]) == ("diverged", 7, 1 / 3)
        assert Run.model_validate_json(found["run"]) == RUNS[0]

    def test_a_study_that_kept_every_loss_reads_like_one_of_today(self, store):
        curves = [
            np.linspace(2, 1, 60, dtype=np.float32),
            np.array([2, np.inf, np.nan], np.float32),
            np.zeros(0, np.float32),
        ]
        done = [(run, outcome(run, step_loss=curve)) for run, curve in zip(RUNS, curves, strict=False)]
        now = table_of([row(*one) for one in done])
        whole = {outcome.key: outcome.step_loss.tolist() for _, outcome in done}
        before = now.drop_columns([*Losses.__annotations__, "population"]).append_column(
            "step_loss", pa.array([whole[key] for key in now["key"].to_pylist()], pa.list_(pa.float32()))
        )
        (store.folder / "runs").mkdir()
        pq.write_table(before, store.folder / "runs" / "a.parquet")
        pd.testing.assert_frame_equal(load(store.folder).runs, now.to_pandas())
        assert store.finished() == {run.key for run, _ in done}
        store.arrange(store.finished())
        assert pq.read_schema(store.folder / "runs" / "quadratic.parquet").equals(COLUMNS)
        pd.testing.assert_frame_equal(load(store.folder).runs, now.to_pandas())

    @given(
        arrays(np.float32, st.integers(0, 5), elements=st.floats(width=32)),
        arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4), elements=st.floats()),
    )
    @settings(max_examples=50)
    def test_any_curve_comes_back(self, curve, lrs):
        found = table_of([row(RUNS[0], outcome(RUNS[0], val_loss=curve, group_lr=lrs))]).to_pylist()[0]
        np.testing.assert_array_equal(np.asarray(found["val_loss"], np.float32), curve)
        assert len(found["group_lr"]) == len(lrs)
        for ours, theirs in zip(found["group_lr"], lrs, strict=True):
            np.testing.assert_array_equal(np.asarray(ours, np.float64), theirs)

    def test_a_crash_has_no_curves_and_no_test_result(self, store):
        store.write("a", [(RUNS[0], crash(RUNS[0]))])
        [found] = load(store.folder).runs.to_dict("records")
        assert found["reason"] == "RuntimeError: out of memory"
        assert len(found["val_loss"]) == len(found["group_lr"]) == 0
        assert np.isnan(found["test_loss"])

    def test_the_columns_are_typed_even_when_there_is_no_run(self, store):
        assert list(load(store.folder).runs.columns) == COLUMNS.names
        store.write("a", [(run, outcome(run)) for run in RUNS])
        [file] = (store.folder / "runs").iterdir()
        assert pq.read_schema(file).equals(COLUMNS)

    def test_runs_are_sorted_by_key_whatever_the_order_in_which_they_came(self, store):
        store.write("b", [(run, outcome(run)) for run in reversed(RUNS)])
        assert list(load(store.folder).runs.key) == sorted(run.key for run in RUNS)

    def test_facts_machine_and_skips_come_back(self, store):
        skips = pd.DataFrame(
            [("1234567890123456", "w", "o", "l", "s", 0.1, 3, "no, because\nof this")], columns=NO_SKIPS.columns
        )
        store.describe(facts(optimizers={"mine": {"settings": {"eps": None, "betas": [0.9, 0.5]}}}), MACHINE, skips)
        study = load(store.folder)
        assert study.name == "m"
        assert study.machine == MACHINE
        assert study.facts["optimizers"] == {"mine": {"settings": {"betas": [0.9, 0.5]}}}
        pd.testing.assert_frame_equal(study.skipped, skips, check_dtype=False)
        assert study.skipped.key[0] == "1234567890123456"

    def test_the_same_study_is_the_same_bytes(self, tmp_path):
        for name, order in (("one", RUNS), ("two", RUNS[::-1])):
            made = Store(tmp_path / name)
            made.describe(facts(), MACHINE, NO_SKIPS)
            for run in order:
                made.write(run.key, [(run, outcome(run))])
            made.arrange({run.key for run in RUNS})
        assert everything(tmp_path / "one") == everything(tmp_path / "two")


class Killed(BaseException):
    pass


class TestKillSafety:
    @pytest.mark.parametrize("at", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
    def test_a_file_is_the_old_one_or_the_new_one(self, at, tmp_path, monkeypatch):
        def die(*_, **__):
            raise Killed

        path = write_whole(tmp_path / "folder" / "file.txt", "old")
        monkeypatch.setattr(at, die)
        with pytest.raises(Killed):
            write_whole(path, "new")
        assert path.read_text() == "old"
        assert os.listdir(path.parent) == ["file.txt"]  # noqa: PTH208 - hidden files too

    def test_a_left_over_temporary_file_is_no_shard(self, store):
        store.write("a", [(RUNS[0], outcome(RUNS[0]))])
        (store.folder / "runs" / ".b.parquet.x.tmp").write_bytes(b"half")
        assert len(stored(store)) == 1
        assert store.finished() == {RUNS[0].key}

    def test_text_is_utf_8_and_readable_by_others(self, tmp_path):
        path = write_whole(tmp_path / "a.txt", "Zürich")
        assert path.read_bytes() == "Zürich".encode()
        assert path.stat().st_mode & 0o777 == 0o644

    @pytest.mark.parametrize("unlinks", range(4))
    @pytest.mark.parametrize("writes", range(4))
    def test_arrange_can_be_killed_between_any_of_its_steps(self, unlinks, writes, store, monkeypatch):
        for run in [*RUNS, ELSEWHERE]:
            store.write(run.key, [(run, outcome(run))])
        planned = {run.key for run in RUNS[:2]}
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying(Path.unlink, after=unlinks))
            patch.setattr(Path, "replace", dying(Path.replace, after=writes))
            try:
                store.arrange(planned)
            except Killed:
                assert store.finished() == {run.key for run in [*RUNS, ELSEWHERE]}
        store.arrange(planned)
        assert set(stored(store).index) == planned
        assert store.finished() == {run.key for run in [*RUNS, ELSEWHERE]}
        assert sorted(str(p.relative_to(store.folder)) for p in store.folder.rglob("*.parquet")) == [
            "retired/digits-mlp.parquet", "retired/quadratic.parquet", "runs/quadratic.parquet",
        ]  # fmt: skip


def dying(function, after):
    left = iter(range(after))

    def step(*arguments, **options):
        if next(left, None) is None and not (arguments[0].name.endswith(".tmp") and function is Path.unlink):
            raise Killed
        return function(*arguments, **options)

    return step


class TestArranging:
    def test_shards_become_one_file_per_workload(self, store):
        for run in [*RUNS, ELSEWHERE]:
            store.write(run.key, [(run, outcome(run))])
        before = load(store.folder).runs
        store.arrange({run.key for run in [*RUNS, ELSEWHERE]})
        assert sorted(p.name for p in (store.folder / "runs").iterdir()) == ["digits-mlp.parquet", "quadratic.parquet"]
        pd.testing.assert_frame_equal(load(store.folder).runs, before)

    def test_runs_that_are_no_longer_named_retire_and_come_back(self, store):
        for run in RUNS:
            store.write(run.key, [(run, outcome(run))])
        everyone, some = {run.key for run in RUNS}, {RUNS[1].key}
        before = load(store.folder).runs
        store.arrange(some)
        assert set(stored(store).index) == some
        assert store.finished() == everyone
        store.arrange(everyone)
        pd.testing.assert_frame_equal(load(store.folder).runs, before)
        assert not list((store.folder / "retired").glob("*"))

    def test_arranging_twice_changes_no_byte(self, store):
        for run in RUNS:
            store.write(run.key, [(run, outcome(run))])
        store.arrange({RUNS[0].key})
        before = everything(store.folder)
        store.arrange({RUNS[0].key})
        assert everything(store.folder) == before

    def test_a_store_of_nothing_is_arranged_into_nothing(self, store):
        store.arrange(set())
        assert stored(store).empty


class TestRepeats:
    def test_a_crash_is_not_finished_and_gives_way_to_a_later_success(self, store):
        store.write("a", [(RUNS[0], crash(RUNS[0]))])
        assert store.finished() == set()
        store.write("b", [(RUNS[0], outcome(RUNS[0]))])
        assert store.finished() == {RUNS[0].key}
        assert stored(store).status.tolist() == ["missed"]
        store.arrange({RUNS[0].key})
        assert stored(store).status.tolist() == ["missed"]

    @pytest.mark.parametrize("names", ["ab", "ba"])
    def test_a_success_outlives_a_crash_in_whichever_file_it_is(self, names, store):
        store.write(names[0], [(RUNS[0], crash(RUNS[0]))])
        store.write(names[1], [(RUNS[0], outcome(RUNS[0]))])
        store.write("c", [(RUNS[0], crash(RUNS[0], "again"))])
        assert stored(store).status.tolist() == ["missed"]

    def test_the_last_of_several_crashes_counts(self, store):
        store.write("a", [(RUNS[0], crash(RUNS[0], "first"))])
        store.write("b", [(RUNS[0], crash(RUNS[0], "second"))])
        assert stored(store).reason.tolist() == ["second"]

    def test_the_same_result_twice_is_one_whatever_the_clocks_say(self, store):
        store.write("a", [(RUNS[0], outcome(RUNS[0]))])
        store.write("b", [(RUNS[0], outcome(RUNS[0], train_seconds=99.0))])
        assert len(stored(store)) == 1

    def test_curves_with_nan_are_equal_to_themselves(self, store):
        bad = outcome(RUNS[0], step_loss=np.array([1.0, np.nan, np.inf], np.float32))
        for name in "ab":
            store.write(name, [(RUNS[0], bad)])
        assert len(stored(store)) == 1

    @pytest.mark.parametrize(
        "other",
        [{"loss": 1.0000001}, {"status": Status.REACHED}, {"test_loss": 1.6}, {"step_loss": np.zeros(3, np.float32)}],
        ids=str,
    )
    def test_two_different_results_of_one_run_are_refused(self, other, store):
        store.write("a", [(RUNS[0], outcome(RUNS[0]))])
        store.write("b", [(RUNS[0], outcome(RUNS[0], **other))])
        for look in (lambda: load(store.folder), lambda: store.arrange(set())):
            with pytest.raises(BadInput, match=f"holds two different results of run {RUNS[0].key}"):
                look()


class TestDamage:
    @pytest.mark.parametrize("file", ["study.toml", "machine.json", "skipped.csv", "runs/a.parquet"])
    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[[", b'"text"', None], ids=repr)
    def test_a_damaged_file_is_one_line_and_no_traceback(self, file, content, store):
        store.write("a", [(RUNS[0], outcome(RUNS[0]))])
        path = store.folder / file
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
        with pytest.raises(BadInput) as caught:
            load(store.folder)
        [line] = caught.value.faults
        assert line.startswith(
            f"{store.folder if path.suffix == '.parquet' else path}: is damaged and cannot be read: "
        )
        assert "\n" not in line

    def test_a_damaged_shard_stops_what_would_build_on_it(self, store):
        (store.folder / "runs").mkdir()
        (store.folder / "runs" / "a.parquet").write_bytes(b"junk")
        for look in (store.finished, lambda: store.arrange(set()), lambda: load(store.folder)):
            with pytest.raises(BadInput, match="is damaged and cannot be read"):
                look()

    def test_a_shard_of_other_columns_is_damaged(self, store):
        (store.folder / "runs").mkdir()
        pq.write_table(pa.table({"key": [1, 2], "status": [[1.0], [2.0]]}), store.folder / "runs" / "a.parquet")
        with pytest.raises(BadInput, match="is damaged"):
            load(store.folder)

    @pytest.mark.parametrize("file", ["machine.json", "skipped.csv"])
    def test_a_missing_file_is_damage(self, file, store):
        (store.folder / file).unlink()
        with pytest.raises(BadInput, match="is damaged"):
            load(store.folder)

    def test_a_newer_schema_is_refused(self, store):
        store.describe(facts(schema=SCHEMA + 1), MACHINE, NO_SKIPS)
        with pytest.raises(
            BadInput, match=rf"has schema {SCHEMA + 1}, and this lrbench reads up to {SCHEMA}: upgrade lrbench"
        ):
            load(store.folder)

    def test_a_newer_schema_is_refused_before_anything_else_is_read(self, store):
        store.describe(facts(schema=SCHEMA + 1), MACHINE, NO_SKIPS)
        (store.folder / "machine.json").write_text("in another form")
        with pytest.raises(BadInput, match="upgrade lrbench"):
            load(store.folder)

    @pytest.mark.parametrize("schema", ["one", [1]])
    def test_a_schema_that_is_no_number_is_damage(self, schema, store):
        store.describe(facts(schema=schema), MACHINE, NO_SKIPS)
        with pytest.raises(BadInput, match="is damaged"):
            load(store.folder)

    def test_a_folder_that_is_no_study_says_what_to_give(self, tmp_path):
        with pytest.raises(BadInput, match=r"is not a study \(it has no study.toml\)"):
            load(tmp_path)


class TestStudies:
    def test_are_found_at_any_depth_and_sorted(self, tmp_path):
        folders = [tmp_path / name for name in ("b/cpu", "a/gpu", "a/cpu")]
        for folder in folders:
            Store(folder).describe(facts(), MACHINE, NO_SKIPS)
        assert studies(tmp_path) == sorted(folders)
        assert studies(folders[0]) == [folders[0]]

    def test_none_is_a_fault_that_says_what_to_give(self, tmp_path):
        with pytest.raises(BadInput, match=r"holds no study\. Give a folder that `lrbench run` has written to"):
            studies(tmp_path / "none")


def test_a_study_is_plain_files_that_other_tools_read(store):
    store.write("a", [(RUNS[0], outcome(RUNS[0]))])
    assert json.loads((store.folder / "machine.json").read_text()) == MACHINE
    frame = pd.read_parquet(store.folder / "runs" / "a.parquet")
    assert json.loads(frame.run[0])["lr"] == RUNS[0].lr
