import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.stats.comparison import _groups, compact_letters


def apart(n, pairs):
    found = np.zeros((n, n), bool)
    for i, j in pairs:
        found[i, j] = found[j, i] = True
    return found


graphs = st.integers(0, 8).flatmap(
    lambda n: st.lists(st.sampled_from(list(combinations(range(n), 2)) or [None]), unique=True).map(
        lambda p: apart(n, filter(None, p))
    )
)


def shares(letters, i, j):
    return bool({*letters[i]} & {*letters[j]})


@pytest.mark.parametrize(
    ("n", "pairs", "letters"),
    [
        (0, [], []),
        (1, [], ["a"]),
        (3, [], ["a", "a", "a"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (3, [(1, 2)], ["ab", "a", "b"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        (5, [(0, 3), (0, 4), (1, 3), (1, 4), (2, 4)], ["a", "a", "ab", "bc", "c"]),
    ],
)
def test_letters_by_hand(n, pairs, letters):
    assert compact_letters(apart(n, pairs)) == letters


@given(graphs)
def test_two_share_a_letter_if_and_only_if_they_are_not_separated(matrix):
    letters = compact_letters(matrix)
    assert all(letters)
    assert all(shares(letters, i, j) != matrix[i, j] for i, j in combinations(range(len(matrix)), 2))


@given(graphs)
def test_the_groups_are_all_that_cannot_be_enlarged(matrix):
    n = len(matrix)
    alike = [set(c) for k in range(1, n + 1) for c in combinations(range(n), k) if not matrix[np.ix_(c, c)].any()]
    assert {frozenset(c) for c in alike if not any(c < other for other in alike)} == set(_groups(matrix))


@given(graphs, st.randoms(use_true_random=False))
def test_order_changes_only_the_names(matrix, random):
    places = random.sample(range(len(matrix)), len(matrix))
    letters, shuffled = compact_letters(matrix), compact_letters(matrix[np.ix_(places, places)])
    assert compact_letters(matrix) == letters
    assert all(
        shares(shuffled, a, b) == shares(letters, places[a], places[b]) for a, b in combinations(range(len(places)), 2)
    )


@given(graphs.filter(len))
def test_letters_come_in_rank_order(matrix):
    first = [letter for letters in compact_letters(matrix) for letter in letters]
    seen = list(dict.fromkeys(first))
    assert seen == sorted(seen)
    assert compact_letters(matrix)[0].startswith("a")


def test_thirty_arms_at_random_end_soon():
    """As many rows as a table has, three pairs in ten separated."""
    matrix = np.triu(np.random.default_rng(0).random((30, 30)) < 0.3, 1)
    matrix |= matrix.T
    letters = compact_letters(matrix)
    held = [set(re.findall("[a-z][0-9]*", one)) for one in letters]
    assert all(bool(held[i] & held[j]) != matrix[i, j] for i, j in combinations(range(30), 2))


def test_many_groups_have_names_too():
    letters = compact_letters(~np.eye(60, dtype=bool))
    assert letters[:2] + letters[25:28] + letters[-1:] == ["a", "b", "z", "a1", "b1", "h2"]
    assert len(set(letters)) == 60


def test_arms_along_a_line_have_as_many_letters_as_there_are_windows():
    """150 arms, apart when more than 40 places lie between: the groups are the 110 windows of 41."""
    rank = np.arange(150)
    letters = compact_letters(np.abs(rank[:, None] - rank[None]) > 40)
    assert letters[0] == "a"
    assert letters[149] == "f4"
    assert len(_groups(np.abs(rank[:, None] - rank[None]) > 40)) == 110
