import pytest
from pydantic import ValidationError

from lrbench.config.faults import BadInput
from lrbench.config.targets import Targets, read_targets

GOOD = '[workloads.a]\nmetric = "loss"\ntarget = 1\nbetter = "lower"\n'
VARIANT = '[workloads.b]\nvariant_of = "a"\nmetric = "loss"\ntarget = 2.0\nbetter = "lower"\n'


def read(tmp_path, text):
    (tmp_path / "t.toml").write_text(text)
    return read_targets(tmp_path / "t.toml")


def test_what_is_left_out_has_algoperfs_value(tmp_path):
    found = read(tmp_path, GOOD + VARIANT)
    assert (found.tau_max, found.trial, found.bases, found.names) == (4.0, "fastest", ["a"], ["a", "b"])
    assert found.workloads["b"].variant_of == "a"
    with pytest.raises(ValidationError):
        found.tau_max = 2.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tau_max = ", "t.toml: is not TOML"),
        ("", "t.toml: workloads: is required"),
        ("[workloads]", "workloads: must hold at least one workload that is not a variant"),
        ("tau_max = 1.0\n" + GOOD, "t.toml: tau_max: must be > 1.0, got 1.0"),
        ("tau = 3.0\n" + GOOD, "t.toml: tau: unknown key. Did you mean 'tau_max'?"),
        ("trial = 'first'\n" + GOOD, "t.toml: trial: must be 'fastest' or 'fewest-evaluations', got 'first'"),
        (GOOD.replace("better", "beter"), "t.toml: workloads.a.beter: unknown key. Did you mean 'better'?"),
        (GOOD.replace('"lower"', '"less"'), "t.toml: workloads.a.better: must be 'lower' or 'higher', got 'less'"),
        (GOOD.replace("target = 1", ""), "t.toml: workloads.a.target: is required"),
        (GOOD.replace("1", "nan"), "t.toml: workloads.a.target: must be finite"),
        (GOOD.replace("1", "'1'"), "t.toml: workloads.a.target: must be a number, got '1'"),
        (GOOD + VARIANT.replace('"a"', '"aa"'), "that is no variant itself, got 'aa'. Did you mean 'a'?"),
        (GOOD + VARIANT.replace('"a"', '"b"'), "got 'b'. Known: a."),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(text, said, tmp_path):
    with pytest.raises(BadInput) as error:
        read(tmp_path, text)
    assert said in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be read: No such file or directory\. Give the path of a targets file"):
        read_targets(tmp_path / "none.toml")


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is not a text file in UTF-8"):
        read_targets(tmp_path / "t.toml")


def test_a_target_knows_which_way_is_up():
    found = Targets.model_validate(
        {"workloads": {w: {"metric": "m", "target": 0.0, "better": w} for w in ("lower", "higher")}}
    )
    assert [found.workloads[w].sign for w in ("lower", "higher")] == [-1.0, 1.0]
