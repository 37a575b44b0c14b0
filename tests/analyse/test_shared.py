"""The workloads and strategies that standings are over."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from lrbench.analyse.shared import block


@pytest.mark.parametrize("seed", range(4))
def test_the_block_has_as_many_pairs_as_can_be(seed):
    table = pd.DataFrame(
        np.random.default_rng(seed).random((5, 9)) > 0.3, index=list("edcba"), columns=list("srqponmlk")
    )
    workloads, strategies = block(table)
    assert (workloads, strategies) == (sorted(workloads), sorted(strategies))
    assert table.loc[workloads, strategies].all(axis=None)
    sizes = [(k, int(table.iloc[list(c)].all(axis=0).sum())) for k in range(2, 6) for c in combinations(range(5), k)]
    assert len(workloads) * len(strategies) == max(w * s for w, s in sizes if s > 1)


def test_nothing_is_shared_without_two_of_each():
    assert block(pd.DataFrame([[True, False], [False, True]], index=["a", "b"], columns=["x", "y"])) == ([], [])
    assert block(pd.DataFrame([[True, True]], index=["a"], columns=["x", "y"])) == ([], [])
