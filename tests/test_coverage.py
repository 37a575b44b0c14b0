"""The table of docs/statistics.md is what benchmarks/coverage.py prints, and what reports say of it is in it."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from lrbench.report.study.opening import HOW_TO_READ
from lrbench.stats.estimates import COVERAGE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "statistics.md").read_text()


def script():
    spec = importlib.util.spec_from_file_location("benchmark_of_coverage", ROOT / "benchmarks" / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()
TOLD = {
    (int(seeds), name): [int(share) for share in shares]
    for seeds, name, *shares in re.findall(
        r"^\| (\d+) \| ([a-z-]+) \| (\d+) % \| (\d+) % \| (\d+) % \|$", PAGE, re.MULTILINE
    )
}


def test_the_page_has_every_row_under_the_header_of_the_script():
    assert list(TOLD) == [(seeds, name) for seeds in SCRIPT.SEEDS for name in SCRIPT.DISTRIBUTIONS]
    assert "| " + " | ".join(SCRIPT.HEADER) + " |" in PAGE


@pytest.mark.parametrize(
    ("seeds", "name"), [(2, "normal"), (3, "skewed"), (5, "heavy-tailed"), (10, "skewed"), (20, "normal")]
)
def test_the_table_is_what_is_measured(seeds, name):
    """With a tenth of the draws, so up to five points off."""
    found = SCRIPT.coverage(name, seeds, draws=400)
    assert 100 * np.array(found) == pytest.approx(TOLD[seeds, name], abs=6)


def test_students_interval_of_normal_seeds_keeps_its_word():
    assert all(abs(shares[2] - 95) <= 1 for (_, name), shares in TOLD.items() if name == "normal")


def test_what_reports_say_stands_in_the_table():
    assert {seeds: round(100 * share) for seeds, share in COVERAGE.items()} == {
        seeds: TOLD[seeds, "normal"][0] for seeds in COVERAGE
    }
    assert f"with 5 seeds a 95 % interval covers about {TOLD[5, 'normal'][0]} %" in HOW_TO_READ


def test_the_middle_mean_of_a_symmetric_distribution_is_its_mean():
    assert SCRIPT.middle_mean(SCRIPT.DISTRIBUTIONS["normal"]) == pytest.approx(0.0, abs=1e-9)
    exponential = SCRIPT.stats.expon()  # -2 [(1 - u) - (1 - u) log(1 - u)] from 1/4 to 3/4
    antiderivative = lambda u: (1 - u) * np.log(1 - u) - (1 - u)  # noqa: E731 - the formula
    assert SCRIPT.middle_mean(exponential) == pytest.approx(2 * (antiderivative(0.75) - antiderivative(0.25)), abs=1e-6)
