from itertools import product

import pytest
from pairs import every_pair, pairs_of

SIZES = [(16, 9, 20), (2, 2, 2), (5, 1, 3), (3, 4, 5, 6)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_pair_of_the_product_is_in_a_row(sizes):
    rows = set(every_pair(product(*map(range, sizes))))
    for i, j in product(range(len(sizes)), repeat=2):
        if i < j:
            assert {(row[i], row[j]) for row in rows} == set(product(range(sizes[i]), range(sizes[j])))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rows_are_few(sizes):
    """No array can have fewer than the two longest axes make pairs; this has at most half as many again."""
    *_, second, first = sorted(sizes)
    rows = every_pair(product(*map(range, sizes)))
    assert first * second <= len(rows) == len(set(rows)) <= 1.5 * first * second


def test_rows_are_always_the_same():
    rows = list(product("abc", "de", range(4)))
    assert every_pair(rows) == every_pair(reversed(rows)) == every_pair(rows * 2)


def test_what_is_left_out_of_the_product_is_no_row_and_only_its_pairs_are_missed():
    rows = [row for row in product(range(3), range(4), range(3)) if row[:2] != (0, 0) and sum(row) != 5]
    chosen = every_pair(rows)
    assert set(chosen) <= set(rows)
    assert set().union(*map(pairs_of, chosen)) == set().union(*map(pairs_of, rows))
    assert not any(row[:2] == (0, 0) for row in chosen)


def test_no_rows_have_no_pairs():
    assert every_pair([]) == []
