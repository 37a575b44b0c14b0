"""A cost that moved since it was last measured is in doubt, in whichever direction, and the same measurement twice is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import step_costs

from lrbench.cost.earlier import agrees, beside_earlier
from lrbench.spec.cost import Costs

BEFORE = step_costs()


def scaled(factor, costs=BEFORE):
    return replace(costs, costs=tuple(replace(c, seconds=c.seconds and c.seconds * factor) for c in costs.costs))


def test_the_same_costs_again_are_in_no_doubt():
    found = beside_earlier(BEFORE, BEFORE)
    assert found.costs == BEFORE.costs
    measured = sum(c.measured for c in BEFORE.costs)
    assert found.conditions["against_the_measurement_before"] == f"{measured} of {measured} cases within 5 %, median ratio 1.000"


@pytest.mark.parametrize(
    ("factor", "told"), [(1.08, "8 % slower than when measured before"), (1 / 1.08, "8 % faster than when measured before")]
)
def test_a_cost_that_moved_is_marked_and_keeps_its_number(factor, told):
    found = beside_earlier(scaled(factor), BEFORE)
    assert {c.noise for c in found.costs if c.measured} == {(told,)}
    assert [c.seconds for c in found.costs] == [c.seconds for c in scaled(factor).costs]
    assert {c.noise for c in found.costs if not c.measured} == {()}
    assert found.conditions["against_the_measurement_before"].startswith("0 of ")


@pytest.mark.parametrize("earlier", [Costs(), replace(BEFORE, conditions=BEFORE.conditions | {"threads": 2})])
def test_nothing_is_compared_with_what_is_not_there_or_was_measured_otherwise(earlier):
    assert beside_earlier(scaled(2.0), earlier) == scaled(2.0)


@given(st.floats(0.5, 2.0))
def test_agreement_does_not_depend_on_which_came_first(ratio):
    assert agrees(ratio) == agrees(1 / ratio)
