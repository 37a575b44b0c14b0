"""The table of docs/score.md is what benchmarks/score_coverage.py prints."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "score.md").read_text()


def script():
    spec = importlib.util.spec_from_file_location(
        "benchmark_of_score_coverage", ROOT / "benchmarks" / "score_coverage.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()
TOLD = {
    (int(studies), strategies): int(share)
    for studies, *shares in re.findall(r"^\| (\d+) \| (\d+) % \| (\d+) % \| (\d+) % \|$", PAGE, re.MULTILINE)
    for strategies, share in zip(SCRIPT.STRATEGIES, shares, strict=True)
}


def test_the_page_has_every_cell_and_says_how_they_were_measured():
    assert list(TOLD) == [(studies, strategies) for studies in SCRIPT.STUDIES for strategies in SCRIPT.STRATEGIES]
    assert f"{SCRIPT.WORKLOADS} workloads" in PAGE
    assert f"sigma {SCRIPT.APART} among strategies and {SCRIPT.NOISE} among studies" in PAGE
    assert f"some {SCRIPT.RANGES} ranges a cell" in re.sub(r"\s+", " ", PAGE)


@pytest.mark.parametrize(("studies", "strategies"), [(2, 4), (5, 4), (5, 20)])
def test_the_table_is_what_is_measured(studies, strategies):
    """With an eighth of the ranges, so some points off."""
    assert 100 * SCRIPT.coverage(studies, strategies, ranges=500) == pytest.approx(TOLD[studies, strategies], abs=8)


def test_without_noise_every_range_is_the_true_score():
    assert SCRIPT.coverage(2, 4, ranges=80, noise=0.0) == 1.0
