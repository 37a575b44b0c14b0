"""A cost that moved since it was last measured is in doubt, in whichever direction, and the same measurement twice is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import step_costs

from lrbench.config.cost import Costs
from lrbench.cost.earlier import agrees, beside_earlier

BEFORE = step_costs()


def scaled(factor, costs=BEFORE):
    return replace(costs, costs=tuple(replace(c, seconds=c.seconds and c.seconds * factor) for c in costs.costs))


def test_the_same_costs_again_are_in_no_doubt():
    found = beside_earlier(BEFORE, BEFORE)
    assert found.costs == BEFORE.costs
    measured = sum(c.measured for c in BEFORE.costs)
    assert (
        found.conditions["against_the_measurement_before"]
        == f"{measured} of {measured} cases within 5 %, median ratio 1.000"
    )


@pytest.mark.parametrize(
    ("factor", "told"),
    [(1.08, "8 % slower than when measured before"), (1 / 1.08, "8 % faster than when measured before")],
)
def test_a_cost_that_moved_is_marked_and_keeps_its_number(factor, told):
    one = replace(BEFORE, costs=(*scaled(factor).costs[:1], *BEFORE.costs[1:]))
    found = beside_earlier(one, BEFORE)
    assert found.costs[0].noise == (told,)
    assert [c.seconds for c in found.costs] == [c.seconds for c in one.costs]
    assert {c.noise for c in found.costs[1:]} == {()}
    assert "moved" not in found.conditions


@pytest.mark.parametrize(("factor", "told"), [(1.08, "8 % slower"), (1 / 1.08, "8 % faster")])
def test_a_machine_that_moved_is_told_once_and_marks_only_the_cases_that_moved_otherwise(factor, told):
    same, slow, *moved = (*BEFORE.costs[:1], *scaled(factor).costs[1:])
    slow = replace(slow, seconds=1.3 * slow.seconds)
    found = beside_earlier(replace(BEFORE, costs=(same, slow, *moved)), BEFORE)
    assert found.conditions["moved"] == (
        f"the median step is {told} than when measured before, and a case is in doubt only if it differs by 5 % or "
        f"more from that"
    )
    assert found.conditions["against_the_measurement_before"].startswith("1 of ")
    assert found.costs[0].noise == (f"as when measured before, the median step {told}",)
    assert found.costs[1].noise == (
        f"{100 * (1.3 * factor - 1):.0f} % slower than when measured before, the median step {told}",
    )
    assert {c.noise for c in found.costs[2:]} == {()}


def test_on_a_machine_that_moved_unevenly_only_what_stands_out_is_in_doubt():
    """Nearly half of the cases are 5 % or more from the median ratio, as on a virtual machine on another day."""
    ratios = [1.07 * (1 + 0.02 * (i % 7 - 3)) for i in range(40)] + [1.6]
    before = replace(BEFORE, costs=tuple(replace(BEFORE.costs[0], batch_size=i + 1) for i in range(len(ratios))))
    now = replace(
        before, costs=tuple(replace(c, seconds=c.seconds * r) for c, r in zip(before.costs, ratios, strict=True))
    )
    found = beside_earlier(now, before)
    assert found.conditions["moved"].startswith("the median step is 7 % slower than when measured before")
    assert [bool(c.noise) for c in found.costs] == [False] * 40 + [True]


def test_cases_that_moved_in_all_directions_are_no_machine_that_did():
    apart = replace(
        BEFORE, costs=tuple(replace(c, seconds=c.seconds and c.seconds * 1.1**i) for i, c in enumerate(BEFORE.costs))
    )
    found = beside_earlier(apart, BEFORE)
    assert "moved" not in found.conditions
    assert all(c.noise for c in found.costs[1:] if c.measured)


def test_a_few_cases_do_not_tell_that_the_machine_moved():
    few = replace(BEFORE, costs=BEFORE.costs[:3])
    found = beside_earlier(scaled(1.08, few), few)
    assert "moved" not in found.conditions
    assert {c.noise for c in found.costs if c.measured} == {("8 % slower than when measured before",)}


@pytest.mark.parametrize("earlier", [Costs(), replace(BEFORE, conditions=BEFORE.conditions | {"threads": 2})])
def test_nothing_is_compared_with_what_is_not_there_or_was_measured_otherwise(earlier):
    assert beside_earlier(scaled(2.0), earlier) == scaled(2.0)


@given(st.floats(0.5, 2.0))
def test_agreement_does_not_depend_on_which_came_first(ratio):
    assert agrees(ratio) == agrees(1 / ratio)
