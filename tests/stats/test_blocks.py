"""The largest complete block, against all of them."""

from itertools import chain, combinations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lrbench.stats.blocks import largest_block

tables = arrays(bool, array_shapes(min_dims=1, max_dims=3, max_side=4))


def subsets(n):
    return chain.from_iterable(combinations(range(n), k) for k in range(1, n + 1))


def most_cells(table):
    blocks = (kept for kept in product(*map(subsets, table.shape)) if table[np.ix_(*kept)].all())
    return max((prod(map(len, kept)) for kept in blocks), default=0)


@given(tables)
def test_it_is_complete_and_no_block_is_larger(table):
    block = largest_block(table)
    if block is None:
        assert not table.any()
    else:
        assert table[np.ix_(*block)].all()
        assert prod(map(len, block)) == most_cells(table)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_the_levels_does_not_change_its_size(table, random):
    orders = [random.sample(range(n), n) for n in table.shape]
    before, after = largest_block(table), largest_block(table[np.ix_(*orders)])
    assert (before is None) == (after is None)
    assert before is None or prod(map(len, before)) == prod(map(len, after))


def test_two_full_products_that_overlap():
    table = np.zeros((6, 5, 4), bool)
    table[:4, :4, :3] = True
    table[0] = True
    assert [kept.tolist() for kept in largest_block(table)] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2]]


def test_what_will_not_do_is_passed_over():
    table = np.array([[True] * 9, [True, True, *[False] * 7]])
    assert len(largest_block(table)[0]) == 1
    square = largest_block(table, lambda b: float(len(b[0]) * len(b[1]) if min(map(len, b)) > 1 else 0))
    assert [kept.tolist() for kept in square] == [[0, 1], [0, 1]]
    assert largest_block(table, lambda _: 0.0) is None


@pytest.mark.parametrize("seed", range(3))
def test_with_many_single_holes_it_is_complete_and_keeps_most(seed):
    table = np.ones((40, 10, 5), bool)
    lost = np.random.default_rng(seed).choice(table.size, 10, replace=False)
    table.flat[lost] = False
    block = largest_block(table)
    assert table[np.ix_(*block)].all()
    assert prod(map(len, block)) >= 0.6 * table.size
