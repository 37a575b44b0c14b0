"""The sections on step costs and time to target."""

import re
from dataclasses import replace

import pytest
from documents import lines, tables
from documents import text as told_in
from synthetic import step_cost, step_costs, study, timed

from lrbench.config.cost import Costs
from lrbench.report import write
from lrbench.report.findings import Findings
from lrbench.report.study import costs as section


def times(found):
    return told_in(section.times(found))


def steps(found):
    return told_in(section.steps(found))


def whole_costs(made):
    """Costs with everything: a doubtful case, runs timed whole, a step of a policy with groups."""
    deep = step_cost(
        "digits_mlp", "adam", 1.8e-3, layer_lr="depth-decay", groups=3, strategies=[("adam", "depth-decay", "constant")]
    )
    doubtful = replace(made.costs.costs[0], noise=("load 2.1 at the start",))
    whole = (timed(made, made.runs.key[0], ratio=1.02), timed(made, made.runs.key[1], ratio=0.9))
    return replace(made.costs, costs=(doubtful, *made.costs.costs[1:], deep), timed=whole)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = study(tmp_path_factory.mktemp("study"), costs=step_costs(1e-3))
    return replace(found, costs=whole_costs(found))


@pytest.fixture(scope="module")
def sections(made):
    return times(Findings(made)), steps(Findings(made))


def with_costs(made, **changes):
    return replace(made, costs=replace(made.costs, costs=tuple(replace(c, **changes) for c in made.costs.costs)))


def test_a_report_has_both_sections_and_tables_beside_it(made, tmp_path):
    write(made, folder=tmp_path)
    page = (tmp_path / "report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    in_order = ["Stability", "Time to target", "What a step costs", "Everything in the matrix"]
    assert [title for title in titles if title in in_order] == in_order
    for text in (times(Findings(made)), steps(Findings(made))):
        assert not re.search(r"\bnan\b|\binf\b", text)
        assert text.count("<details>") == text.count("</details>")
        for block in text.split("\n\n"):
            bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")}
            assert len(bars) <= 1
    cases, until = ((tmp_path / name).read_text().splitlines() for name in ("costs.csv", "times.csv"))
    assert len(cases) == 1 + len(made.costs.costs)
    assert len(until) == 1 + 2 * 3 * 2
    few = made.runs[(made.runs.workload == "digits_mlp") & (made.runs.optimizer == "adam")]
    write(replace(made, costs=Costs(), runs=few.reset_index(drop=True)), folder=tmp_path)
    assert not (tmp_path / "costs.csv").exists()
    assert not (tmp_path / "times.csv").exists()
    page = (tmp_path / "report.html").read_text()
    assert "<h2>What a step costs</h2>" not in page
    assert "<h2>Time to target</h2>" not in page


def test_the_order_of_cases_changes_nothing(made, sections):
    turned = replace(made, costs=replace(made.costs, costs=made.costs.costs[::-1], timed=made.costs.timed[::-1]))
    assert (times(Findings(turned)), steps(Findings(turned))) == sections


def test_the_fastest_in_time_come_first(sections):
    shown = re.findall(r"^\| `(.+?)` \| .*?\| (\S+ \S+) \[", sections[0], re.MULTILINE)
    assert [time for _, time in shown[:3]] == ["15 ms", "18 ms", "18.8 ms"]
    assert shown[0][0] == "sgd(momentum=0.9) / uniform / cosine"
    assert "accuracy ≥ 80.0 %" in sections[0]


def test_it_is_told_when_the_fastest_in_time_is_not_so_in_steps(tmp_path):
    slow = study(
        tmp_path,
        costs=step_costs(1e-3, slowness={"sgd(momentum=0.9)": 2.0, "adam": 2.0, "rmsprop": 2.0}),
        workloads=["digits_mlp"],
    )
    cheap = [replace(c, seconds=1e-3) if c.schedule == "constant" else c for c in (*slow.costs.costs,)]
    cheap = [replace(c, strategies=tuple(s for s in c.strategies if s[2] == "constant")) for c in cheap]
    dear = [
        replace(c, seconds=9e-3, schedule="cosine", strategies=((c.optimizer, "uniform", "cosine"),))
        for c in cheap
        if c.strategies
    ]
    told = times(Findings(replace(slow, costs=Costs((*cheap, *dear)))))
    assert "The fastest in time is not the fastest in steps: " in told
    assert re.search(r"/ cosine` needs the fewest, 15 in 135 ms; `.+ / constant` needs 18 in 18 ms", told)


def test_of_many_strategies_the_first_are_shown(tmp_path):
    names = [f"opt-{i:02}" for i in range(12)]
    costs = step_costs(
        1e-3, workloads=["digits_mlp"], slowness={name: 1.0 + i for i, name in enumerate(names)}, schedules=["constant"]
    )
    axes = {"optimizers": names, "schedules": ["constant"], "workloads": ["digits_mlp"], "lrs": [1e-2]}
    [table] = tables(section.times(Findings(study(tmp_path, **axes, costs=costs)))).values()
    assert (table.most, len(lines(table))) == (10, 12)


def test_what_stayed_doubtful_is_marked_and_the_reason_told_once(sections):
    assert sections[1].count("load 2.1 at the start") == 1
    assert "| `adam` | 3 | 1.65 ms [1.62, 1.68] † | 1.5 ms to 1.8 ms |" in sections[1]


def test_the_numbers_have_sensible_units(sections):
    assert "| `sgd(momentum=0.9)` | 2 | 1 ms [0.98, 1.02] | - | 32,000 |" in sections[1]
    assert "2.86 MiB" in sections[1]
    assert "924 MFLOP/s (2 %)" in sections[1]
    assert "30 / 40 / 25 / 1 %" in sections[1]
    assert "| 50 mJ |" in sections[1]


def test_what_was_not_measured_is_told_with_its_reason(made, sections):
    assert "- Not measured at all: rmsprop has no fused implementation (1 case)." in sections[1]
    silent = steps(Findings(with_costs(made, joules=None, joules_reason="no counter | here")))
    assert silent.count("no counter \\| here") == 1
    told = times(Findings(with_costs(made, joules=None, joules_reason="no counter")))
    assert "No energy: no counter (6 strategies)." in told


def test_implementations_groups_and_policies_are_compared(sections):
    assert "| foreach | for-loop | 4 | 0.5 x | 0.5 to 0.5 |" in sections[1]
    assert "| a group per parameter (foreach) | one group | 2 | 1.3 x |" in sections[1]
    assert "| `depth-decay` | default | 3 | 1.8 ms | uniform | 1 | 1.5 ms | 1.2 x |" in sections[1]


def test_the_largest_deviation_from_the_prediction_is_told(made, sections):
    assert (
        "Of 2 trainings timed whole and alone, the one farthest from what its step costs predict took 0.9 x that: "
        in sections[1]
    )
    assert f"(run `{made.runs.key[1]}`)" in sections[1]


def test_costs_without_runs_are_told_in_words(made):
    bare = Findings(replace(made, runs=made.runs[:0]))
    assert times(bare) == "## Time to target\n\nNo run finished, so there is no time to tell."
    assert "15 cases measured on fake:0" in steps(bare)


def test_runs_without_their_costs_are_told_in_words(made):
    other = replace(made, costs=Costs((step_cost("elsewhere", "adam", 1.0),)))
    assert "No step cost was measured for any strategy that was run" in times(Findings(other))


def test_a_machine_that_failed_everything_is_told_in_words(made):
    lost = {"seconds": None, "seconds_low": None, "seconds_high": None, "reason": "out of memory"}
    told = steps(Findings(with_costs(made, **lost)))
    assert "0 cases measured" in told
    assert "out of memory (16 cases)" in told
