"""Curves of other tools: what is read, in which order, and what is refused with which words."""

import gzip

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from lrbench.config.faults import BadInput
from lrbench.config.targets import Targets
from lrbench.store.curves import COLUMNS, parse_names, read_curves

TARGETS = Targets.model_validate(
    {
        "workloads": {
            w: {"metric": m, "target": 0.5, "better": "lower"} for w, m in (("criteo", "loss"), ("wmt", "bleu"))
        }
    }
)
ROWS = [
    ("criteo", "adam", 1, 1, 10, 1.5, "loss", 0.7),
    ("criteo", "adam", 1, 1, 20, 2.5, "loss", 0.4),
    ("criteo", "adam", 1, 1, 20, 2.5, "accuracy", 0.9),
    ("criteo", "NA", 2, 1, 10, 1.0, "loss", float("nan")),
    ("wmt", "adam", 1, 1, 10, 9.0, "bleu", 30.0),
    ("wmt", "adam", 1, 2, 10, 9.0, "accuracy", 0.1),
]


def frame(rows=ROWS):
    return pd.DataFrame(rows, columns=COLUMNS)


def saved(folder, table, name="c.csv"):
    path = folder / name
    table.to_csv(path, index=False) if name.endswith("csv") else table.to_parquet(path)
    return path


def read(*paths, **names):
    return read_curves(paths, TARGETS, names)


def same(one, other):
    assert_frame_equal(one.trials, other.trials)
    assert_frame_equal(one.evaluations, other.evaluations)
    return True


def test_trials_exist_by_any_metric_and_only_the_targets_metric_counts(tmp_path):
    found = read(saved(tmp_path, frame()))
    assert found.trials.to_numpy().tolist() == [
        ["criteo", "NA", "2", "1"], ["criteo", "adam", "1", "1"], ["wmt", "adam", "1", "1"], ["wmt", "adam", "1", "2"],
    ]  # fmt: skip
    assert found.evaluations.fillna(-1.0).to_numpy().tolist() == [
        [0, 10, 1, -1],
        [1, 10, 1.5, 0.7],
        [1, 20, 2.5, 0.4],
        [2, 10, 9, 30],
    ]


def test_csv_and_parquet_and_gzip_say_the_same(tmp_path):
    plain = read(saved(tmp_path, frame()))
    assert same(plain, read(saved(tmp_path, frame(), "c.parquet")))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress((tmp_path / "c.csv").read_bytes()))
    assert same(plain, read(tmp_path / "c.csv.gz"))


@pytest.mark.parametrize(
    "types",
    [
        {"study": "float64", "trial": "category", "step": "float32"},
        {"workload": "category", "value": "str", "seconds": "str"},
        {"study": "Int64", "step": "int8", "metric": "category"},
    ],
    ids=str,
)
def test_types_of_columns_do_not_matter(types, tmp_path):
    assert same(read(saved(tmp_path, frame())), read(saved(tmp_path, frame().astype(types), "c.parquet")))


def test_the_order_of_rows_and_files_does_not_matter(tmp_path):
    plain = read(saved(tmp_path, frame()))
    mixed = frame().sample(frac=1.0, random_state=3)
    first, second = saved(tmp_path, mixed.iloc[:2], "a.csv"), saved(tmp_path, mixed.iloc[2:], "b.parquet")
    assert same(plain, read(first, second))
    assert same(plain, read(second, first))


def test_columns_can_have_other_names(tmp_path):
    path = saved(tmp_path, frame().rename(columns={"strategy": "submission", "study": "strategy"}))
    assert same(read(path, strategy="submission", study="strategy"), read(saved(tmp_path, frame(), "d.csv")))


def test_names_are_understood_either_way_round():
    assert parse_names(["strategy=submission", "score=seconds", "study=trial"]) == {
        "strategy": "submission", "seconds": "score", "study": "trial",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["strategy"], "--map strategy: must be COLUMN=NAME"),
        (["strategy="], "--map strategy=: must be COLUMN=NAME"),
        (["stratgy=submission"], "no column is called 'stratgy'. Did you mean 'strategy'?"),
        (["study=a", "study=b"], "--map study=b: study is mapped already"),
    ],
)
def test_names_that_make_no_sense(given, said):
    with pytest.raises(BadInput) as error:
        parse_names(given)
    assert said in str(error.value)


def changed(column, value, row=1):
    table = frame().astype(object)
    table.loc[row, column] = value
    return table


BAD = {
    "missing column": (frame().drop(columns="study"), "has no column 'study'. Known: "),
    "similar column": (
        frame().rename(columns={"seconds": "second"}),
        "has no column 'seconds'. Did you mean 'second'?",
    ),
    "unknown workload": (
        changed("workload", "crieto"),
        "workload 'crieto' has no target. Did you mean 'criteo'? Known: criteo, wmt.",
    ),
    "unknown workloads": (
        frame().replace({"workload": {"wmt": "crieto", "criteo": "fastmri"}}),
        "workload 'crieto' has no target. Did you mean 'criteo'? Known: criteo, wmt. Nor has 'fastmri'.",
    ),
    "word for a value": (changed("value", "good"), "data row 2: value must be a number, got 'good'"),
    "word for a step": (changed("step", "ten"), "data row 2: step must be a number, got 'ten'"),
    "no step": (changed("step", None), "data row 2: step must be a finite number from 0 up, got none"),
    "nan step": (changed("step", float("nan")), "data row 2: step must be a finite number from 0 up, got none"),
    "infinite time": (
        changed("seconds", float("inf")),
        "data row 2: seconds must be a finite number from 0 up, got inf",
    ),
    "negative time": (changed("seconds", -1.0), "data row 2: seconds must be a finite number from 0 up, got -1"),
    "no label": (changed("strategy", ""), "data row 2: strategy is empty"),
    "twice": (
        frame([*ROWS, ROWS[0]]),
        "step 10 of workload 'criteo', strategy 'adam', study '1', trial '1' stands there twice",
    ),
    "no rows": (frame([]), "has no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_csv_file_that_is_refused(name, tmp_path):
    table, said = BAD[name]
    with pytest.raises(BadInput) as error:
        read(saved(tmp_path, table))
    [line] = error.value.faults
    assert "c.csv" in line
    assert said in line


@pytest.mark.parametrize("name", sorted(BAD.keys() - {"no rows"}))
def test_a_parquet_file_that_is_refused(name, tmp_path):
    table, said = BAD[name]
    texts = {c: "str" for c in table if c in ("study", "trial") or name.startswith("word")}
    with pytest.raises(BadInput) as error:
        read(saved(tmp_path, table.astype(texts).infer_objects(), "c.parquet"))
    [line] = error.value.faults
    assert said in line


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_columns_that_are_not_separated_by_commas_are_one_fault(mark, tmp_path):
    frame().to_csv(tmp_path / "c.csv", sep=mark, index=False)
    with pytest.raises(BadInput) as error:
        read(tmp_path / "c.csv")
    assert error.value.faults == (
        f"{tmp_path / 'c.csv'}: its columns are separated by {mark!r}: separate them by commas.",
    )


def test_what_is_wrong_in_rows_that_do_not_count_is_ignored(tmp_path):
    table = changed("value", "good", row=2)
    table.loc[2, "step"] = "soon"
    assert same(read(saved(tmp_path, frame())), read(saved(tmp_path, table, "d.csv")))


@pytest.mark.parametrize("word", ["", "nan", "NaN", "NA", "null"])
def test_a_value_may_be_missing(word, tmp_path):
    found = read(saved(tmp_path, changed("value", word)))
    assert found.evaluations.value.isna().sum() == 2


def test_a_label_that_is_missing_in_parquet(tmp_path):
    with pytest.raises(BadInput, match="data row 2: strategy is empty"):
        read(saved(tmp_path, changed("strategy", None).infer_objects().astype({"strategy": "string"}), "c.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.parquet", b"junk", "cannot be read as Parquet"),
        ("c.parquet", b"", "cannot be read as Parquet"),
        ("c.csv", b"", "is empty. Its first line must name the columns: workload, strategy"),
        ("c.csv", b"a,b\n1,2,3\n", "cannot be read as CSV"),
        ("c.csv", b"a,a\n1,2\n", "has no column 'workload'"),
        ("c.csv", b"\x7fELF\x02\x01\0\0", "c.csv: is not text, so no CSV. Give a CSV or Parquet file."),
        ("c.csv", b"PAR1\x15\x04\x15", "c.csv: is a Parquet file by its first bytes: let its name end in .parquet."),
        ("c.parquet", b"a much longer piece of junk", "not a parquet file. Give a CSV or Parquet file."),
        ("c.csv", b"\xff\xfe\xff,b\n1,2\n", "c.csv: "),
    ],
)
def test_files_that_cannot_be_read(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as error:
        read(tmp_path / name)
    assert said in str(error.value)
    assert all(line.startswith(str(tmp_path / name)) and "\n" not in line for line in error.value.faults)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "folder.csv", "folder.parquet"])
def test_files_that_are_not_there(name, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(BadInput, match=name):
        read(tmp_path / name)


def test_a_column_that_is_there_twice(tmp_path):
    path = saved(tmp_path, frame())
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{line},{'study' if i == 0 else 'x'}" for i, line in enumerate(lines)))
    with pytest.raises(BadInput, match="has two columns called 'study'"):
        read(path)


def test_numbers_must_not_be_dates(tmp_path):
    table = pa.Table.from_pandas(frame()).set_column(4, "step", pa.array(range(6), pa.timestamp("ms")))
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(BadInput, match=r"column step: must hold numbers, got timestamp"):
        read(tmp_path / "c.parquet")


def test_the_faults_of_all_files_are_told(tmp_path):
    paths = saved(tmp_path, BAD["word for a value"][0], "a.csv"), saved(tmp_path, BAD["unknown workload"][0], "b.csv")
    with pytest.raises(BadInput) as error:
        read(*paths)
    assert len(error.value.faults) == 2


def test_a_study_that_one_tool_calls_1_and_another_1_point_0_is_one(tmp_path):
    early, late = frame(ROWS[:1]), frame(ROWS[1:2]).assign(study="1.0", trial="1.0")
    assert same(
        read(saved(tmp_path, early, "a.csv"), saved(tmp_path, late, "b.csv")), read(saved(tmp_path, frame(ROWS[:2])))
    )
    both = frame(ROWS[:2]).assign(study=["1", "1.0"])
    assert read(saved(tmp_path, both)).trials.study.tolist() == ["1"]


def test_a_workload_or_strategy_is_called_what_it_is_called(tmp_path):
    rows = [("criteo", "1.0", 1, 1, 10, 1.5, "loss", 0.7), ("criteo", "1", 1, 1, 10, 1.5, "loss", 0.7)]
    assert read(saved(tmp_path, frame(rows))).trials.strategy.tolist() == ["1", "1.0"]


def test_blanks_around_names_labels_and_numbers_do_not_matter(tmp_path):
    lines = saved(tmp_path, frame()).read_text().splitlines()
    (tmp_path / "spaced.csv").write_text("\n".join(" , ".join(line.split(",")) + " " for line in lines) + "\n")
    assert same(read(tmp_path / "spaced.csv"), read(saved(tmp_path, frame())))


def test_a_label_of_blanks_is_empty(tmp_path):
    with pytest.raises(BadInput, match="data row 2: strategy is empty"):
        read(saved(tmp_path, frame().assign(strategy=["adam", "  "] + ["adam"] * 4)))


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (
            '"Step","adam-1 - loss","adam-1 - loss__MIN","sgd-1 - loss"',
            "a table of Weights & Biases with a column for each run",
        ),
        ("Wall time,Step,Value", "an export of TensorBoard"),
    ],
)
def test_a_wide_table_of_another_tool_is_one_fault(header, kind, tmp_path):
    (tmp_path / "wide.csv").write_text(f"{header}\n{','.join('1' * (header.count(',') + 1))}\n")
    with pytest.raises(BadInput) as refused:
        read(tmp_path / "wide.csv")
    [fault] = refused.value.faults
    assert fault == (
        f"{tmp_path / 'wide.csv'}: seems to be {kind}, which does not say what a number belongs to. Write a row for "
        f"each measurement, "
        f"with the columns {', '.join(COLUMNS)}."
    )
