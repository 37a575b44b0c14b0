"""A sample leaves no kind of run out, is random, and is always the same."""

import numpy as np
import pandas as pd
import pytest

from lrbench.analyse.sample import STRATA, stratified


def runs():
    rng = np.random.default_rng(5)
    kinds = [("a", "reached", "population", "compiled"), ("a", "missed", "population", "compiled: without own kernels: "
    "x"),
             ("b", "missed", "reference", "eager"), ("c", "diverged", "population", "eager")]  # fmt: skip
    chosen = rng.choice(4, 400, p=[0.9, 0.08, 0.01, 0.01])
    chosen[:4] = range(4)
    return pd.DataFrame([kinds[i] for i in chosen], columns=STRATA).assign(key=[f"{i:04}" for i in range(400)])


def draw(size, table=None):
    return stratified(runs() if table is None else table, size, np.random.default_rng(0))


@pytest.mark.parametrize("size", [3, 4, 7, 40])
def test_every_value_of_every_column_is_there(size):
    table = runs().assign(mode=lambda t: t["mode"].str.partition(":")[0])
    chosen = table[table.key.isin(draw(size))]
    assert len(chosen) == size
    for name in STRATA:
        assert set(chosen[name]) == set(table[name])


def test_most_of_a_large_sample_is_of_the_most_frequent_kind():
    table = runs()
    chosen = table[table.key.isin(draw(200))]
    assert 0.75 < (chosen.status == "reached").mean() < 0.97


def test_all_are_all():
    for size in (None, 400, 1000):
        assert draw(size) == sorted(runs().key)


def test_it_depends_on_nothing_but_the_runs_and_the_generator():
    shuffled = runs().sample(frac=1.0, random_state=3)
    assert draw(20) == draw(20) == draw(20, shuffled)
    assert draw(20) != stratified(runs(), 20, np.random.default_rng(1))


def test_none_of_none():
    assert draw(5, runs().iloc[:0]) == []
