"""Step costs are written whole, read back as they were, and a damaged file is told in one line."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import step_cost, step_costs, study

from lrbench.config.cost import Costs, Peak, TimedRun
from lrbench.config.faults import BadInput
from lrbench.store import load
from lrbench.store.costs import FILE, SCHEMA, read_costs, write_costs

TIMED = TimedRun("0123456789abcdef", "fake:0", "digits_mlp", "adam", "uniform", "constant", 60, 0.09, None)
NOISY = replace(
    step_cost("digits_mlp", "adam", 1e-3), noise=("load 2.1 at the start",), joules=None, joules_reason="no counter"
)


def six_digits(cost):
    """A step cost whose numbers are stored as they are."""
    return replace(cost, **{name: float(f"{v:.6g}") for name, v in vars(cost).items() if isinstance(v, float)})


FULL = replace(
    step_costs(),
    costs=tuple(map(six_digits, step_costs().costs)),
    timed=(TIMED,),
    peaks=(Peak("fake:0", "fp32", 1e12, 2048),),
)


def as_sets(found: Costs):
    return set(found.costs), set(found.timed), set(found.peaks), found.conditions


@pytest.mark.parametrize(
    "given", [Costs(), FULL, Costs(costs=(NOISY,), conditions={"load_before": None})], ids=["none", "full", "noisy"]
)
def test_what_is_written_is_read(given, tmp_path):
    write_costs(tmp_path, given)
    assert as_sets(read_costs(tmp_path)) == as_sets(given)


@given(st.floats(1e-7, 1e3))
def test_numbers_keep_six_digits(tmp_path_factory, seconds):
    folder = tmp_path_factory.mktemp("costs")
    write_costs(folder, Costs((step_cost("digits_mlp", "adam", seconds),)))
    assert read_costs(folder).costs[0].seconds == pytest.approx(seconds, rel=5e-6)


def test_the_order_of_cases_changes_no_byte_and_each_has_its_line(tmp_path):
    one = write_costs(tmp_path / "a", FULL).read_bytes()
    assert write_costs(tmp_path / "b", replace(FULL, costs=FULL.costs[::-1])).read_bytes() == one
    assert one.count(b'\n  {"device"') >= len(FULL.costs)
    json.loads(one)


def test_a_study_without_costs_has_none(tmp_path):
    assert read_costs(tmp_path) == Costs()
    assert study(tmp_path, seeds=[]).costs == Costs()


def test_a_study_has_its_costs(tmp_path):
    assert as_sets(study(tmp_path, seeds=[], costs=FULL).costs) == as_sets(FULL)


def values(**changes):
    return json.dumps({"schema": SCHEMA, "conditions": {}, "costs": [], "timed": [], "peaks": []} | changes)


DAMAGED = {
    "junk": ("junk", "Expecting value"),
    "cut": (values()[:-20], "is damaged"),
    "empty": ("", "Expecting value"),
    "a list": ("[]", "is damaged"),
    "no costs": ('{"schema": 1}', "costs"),
    "newer": (
        values(schema=SCHEMA + 1),
        f"has schema {SCHEMA + 1}, and this lrbench reads up to {SCHEMA}: upgrade lrbench",
    ),
    "unknown field": (values(costs=[{"volts": 3}]), "unknown ['volts']"),
    "missing field": (values(peaks=[{"device": "cpu"}]), "missing"),
    "a number for a list": (values(costs=3), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_told_in_one_line(name, tmp_path):
    text, said = DAMAGED[name]
    study(tmp_path, seeds=[])
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BadInput) as told:
        load(tmp_path)
    [line] = told.value.faults
    assert line.startswith(f"{tmp_path / FILE}: is damaged and cannot be read: ")
    assert said in line
    assert "\n" not in line
