"""The comparison of machines, as it is read."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import delayed, fake, step_costs, study

from lrbench.analyse import side_by_side
from lrbench.cli import main
from lrbench.config.cost import Costs
from lrbench.config.faults import BadInput
from lrbench.report import machines as comparison
from lrbench.report import write_reports
from lrbench.report.prices import parse_prices

SMALL = {"workloads": ["digits_mlp"], "lrs": [1e-3, 1e-2, 1e-1]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("results") / "synthetic"


@pytest.fixture(scope="module")
def pair(root):
    """On ``b`` steps are four times as fast and adam's are cheaper than sgd's; rmsprop needs three steps more."""
    one = study(root / "fake-gpu-a", machine=fake("a"), costs=step_costs(1e-3, workloads=["digits_mlp"]), **SMALL)
    costs = step_costs(2.5e-4, workloads=["digits_mlp"], slowness={"adam": 0.7})
    other = study(
        root / "fake-gpu-b", machine=fake("b", count=8, tf32="off"), costs=costs, change=delayed(3, "rmsprop"), **SMALL
    )
    return one, other


def text_of(studies, folder, **prices):
    return comparison.write(folder, side_by_side(studies), prices).read_text()


@pytest.fixture(scope="module")
def text(pair, tmp_path_factory):
    return text_of(pair, tmp_path_factory.mktemp("comparison"))


def test_a_machine_that_needs_other_steps_is_flagged_at_the_top(text):
    opening = text[: text.index("## In short")]
    assert (
        "**fake-gpu-b needs other numbers of steps than fake-gpu-a** with 2 of 6 pairs of workload and strategy: "
        in opening
    )
    assert "`rmsprop / uniform / cosine` on digits_mlp (1.2 x)" in opening
    assert "| digits_mlp | fake-gpu-b | 4 | 2 | 0 | 1 to 1.2 | 0 |" in text


def test_the_fastest_strategy_of_each_machine_is_told_in_short(text):
    [line] = re.findall(r"^\| digits_mlp \| `(\S+) .*?`: .*?\| `(\S+) .*?`: ", text, re.MULTILINE)
    assert line == ("sgd(momentum=0.9)", "adam")


def test_machines_and_their_facts(text):
    assert "| `fake-gpu-b` | Fake GPU B | 8 | 1.0 | 13.0 | 2.14.1 | 1 | tf32 off | 90 | 7 |" in text


def test_the_runs_under_the_numbers_are_linked(text, pair):
    assert "at the lr that is best on `fake-gpu-a`. They stand in `summary.csv`" in text
    linked = re.findall(r"\]\((\S+/summary\.csv)\)", text)
    assert linked == [f"{made.folder.name}/summary.csv" for made in pair]


def test_speed_ups_are_over_the_slowest_which_is_named(text):
    assert "How many times as fast a training step is as on `fake-gpu-a`, the machine with the slowest steps" in text
    assert re.search(r"\| digits_mlp \| 4\.\d+ x \[4, \d\.\d+\] \(7 cases\) \|", text)


def test_energy_is_told_where_two_can_read_it(pair, text, tmp_path):
    assert re.search(r"as a multiple of that on `fake-gpu-a`.*\n\n.*\n.*\n\| digits_mlp \| 0\.2\d+ x", text)
    costs = pair[1].costs
    silent = replace(costs, costs=tuple(replace(c, joules=None, joules_reason="no counter") for c in costs.costs))
    told = text_of([pair[0], replace(pair[1], costs=silent)], tmp_path)
    assert "Two machines that can read their energy are needed" in told
    assert "- fake-gpu-b: no energy: no counter." in told


def test_pairs_that_change_places_are_listed_with_both_times(text):
    assert (
        "| `sgd(momentum=0.9) / uniform / cosine` | `adam / uniform / cosine` | fake-gpu-a | 15 ms against 22.5 ms | "
        "fake-gpu-b |" in text
    )
    assert "do not overlap on at least one of the two machines" in text


def test_the_markdown_is_whole(text):
    assert not re.search(r"\bnan\b|\binf\b", text)
    assert text.count("<details>") == text.count("</details>")
    for block in text.split("\n\n"):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")}) <= 1


def test_pictures_exist_and_old_ones_are_gone(pair, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    told = text_of(pair, tmp_path)
    shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", told))
    assert (
        shown
        == {f"figures/{p.name}" for p in (tmp_path / "figures").iterdir()}
        == {"figures/speed-up.png", "figures/time-to-target.png"}
    )


@pytest.mark.parametrize(
    "orders", [[(0, 1, 2), (2, 1, 0)], pytest.param([*itertools.permutations(range(3))], marks=pytest.mark.exhaustive)]
)
@pytest.mark.usefixtures("drawn")
def test_the_order_of_studies_and_rows_changes_no_byte(orders, pair, tmp_path):
    """Of the text and of the pictures."""
    three = [*pair, replace(pair[0], machine=fake("c"), folder=pair[0].folder.parent / "fake-gpu-c")]
    seen = set()
    for i, order in enumerate(orders):
        mixed = {"frac": 1.0, "random_state": i, "ignore_index": True}
        turned = [replace(three[at], runs=three[at].runs.sample(**mixed)) for at in order]
        folder = tmp_path / str(i)
        text_of(turned, folder, **{"fake-gpu-a": 1.0, "fake-gpu-b": 2.0})
        pictures = [path.read_bytes() for path in sorted((folder / "figures").iterdir())]
        assert len(pictures) == 2
        assert all(picture.startswith(b"\x89PNG") for picture in pictures)
        seen.add((*pictures, *(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())))
    assert len(seen) == 1


def test_prices_make_costs(pair, tmp_path):
    told = text_of(pair, tmp_path, **{"fake-gpu-a": 3600.0, "fake-gpu-b": 36000.0})
    section = told[told.index("## Cost to target") :]
    assert "| `sgd(momentum=0.9) / uniform / cosine` | 0.015 [0.0147, 0.0153] | 0.0375 [0.0367, 0.038" in section
    assert "per hour of the whole machine (fake-gpu-a 3,600, fake-gpu-b 36,000)" in section
    assert "| Price per hour |" in told
    one = text_of(pair, tmp_path, **{"fake-gpu-b": 1.0})
    assert "\n| Strategy | fake-gpu-b |\n" in one[one.index("## Cost to target") :]


def test_without_prices_there_is_no_cost(text):
    assert "Cost to target" not in text


def bare(made, **changes):
    return replace(made, **changes)


ODD = {
    "no-runs": (
        lambda a, b: [a, bare(b, runs=b.runs[:0])],
        ["No runs are stored of fake-gpu-b: only its step costs are compared."],
    ),
    "no-costs": (
        lambda a, b: [a, bare(b, costs=Costs())],
        [
            "No step costs were measured on fake-gpu-b: there are no times for it.",
            "No other machine has step times of a case",
        ],
    ),
    "only-runs": (
        lambda a, b: [bare(a, costs=Costs()), bare(b, costs=Costs())],
        ["No machine has step costs.", "there are no times"],
    ),
    "only-costs": (
        lambda a, b: [bare(a, runs=a.runs[:0]), bare(b, runs=b.runs[:0])],
        ["Two machines with shared runs are needed to compare steps to target."],
    ),
    "one-each": (
        lambda a, b: [bare(a, costs=Costs()), bare(b, runs=b.runs[:0])],
        ["there are no times", "No other machine has step times"],
    ),
    "nothing": (lambda a, b: [bare(m, costs=Costs(), runs=m.runs[:0]) for m in (a, b)], ["No machine has step costs."]),
    "nothing-shared": (
        lambda a, b: [bare(a, runs=a.runs[a.runs.seed < 2]), bare(b, runs=b.runs[b.runs.seed > 1])],
        [
            "0 runs with the same key were trained on all machines with runs (fake-gpu-a has 36, fake-gpu-b has 54): "
            "only these"
        ],
    ),
    "one-seed": (
        lambda a, b: [bare(a, runs=a.runs[a.runs.seed == 0]), b],
        ["Only 1 seed:", "18 runs with the same key"],
    ),
    "other-cases": (
        lambda a, b: [
            a,
            bare(b, costs=replace(b.costs, costs=tuple(replace(c, precision="bf16") for c in b.costs.costs))),
        ],
        ["No other machine has step times of a case that was measured on `fake-gpu-a` too."],
    ),
    "other-torch": (
        lambda a, b: [a, bare(b, machine=b.machine | {"torch": "2.13.0"})],
        ["Different versions of torch: fake-gpu-a 2.14.1,"],
    ),
    "doubtful": (
        lambda a, b: [
            a,
            bare(b, costs=replace(b.costs, costs=tuple(replace(c, noise=("busy",)) for c in b.costs.costs))),
        ],
        ["Step costs in doubt (repeated visits", "8 of 8 on fake-gpu-b. Each machine's"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_machines_that_lack_something_are_handled_with_words(name, pair, tmp_path):
    change, said = ODD[name]
    told = text_of(change(*pair), tmp_path, **{"fake-gpu-a": 1.0})
    assert all(sentence in told for sentence in said), said
    assert not re.search(r"\bnan\b|\binf\b", told)


def test_other_matrices_and_targets_are_told(pair, tmp_path):
    easier = study(tmp_path / "b", machine=fake("b"), target=0.5, schedules=["cosine"], **SMALL)
    told = text_of([pair[0], easier], tmp_path)
    assert "The matrices do not have the same schedules." in told
    assert "Targets or budgets differ on digits_mlp: these are other runs." in told
    assert "0 runs with the same key" in told


def test_a_target_that_is_never_reached_is_told(tmp_path):
    made = [
        study(
            tmp_path / x,
            machine=fake(x),
            target=2.0,
            costs=step_costs(1e-3, workloads=["digits_mlp"]),
            seeds=[0, 1],
            **SMALL,
        )
        for x in "ab"
    ]
    told = text_of(made, tmp_path)
    assert "none reaches it" in told
    assert "| never" in told
    assert "| digits_mlp | fake-gpu-b | 0 | 0 | 6 | - | 0 |" in told


@pytest.mark.usefixtures("drawn")
def test_an_interval_may_end_at_never(tmp_path):
    def fail(run, outcome):
        return replace(outcome, status="missed", val_metric=outcome.val_metric * 0) if run.seed < 2 else outcome

    costs = step_costs(1e-3, workloads=["digits_mlp"])
    told = text_of([study(tmp_path / x, machine=fake(x), costs=costs, change=fail, **SMALL) for x in "ab"], tmp_path)
    assert re.search(r"\| `sgd.*? / cosine` \| 15 ms \[14.7, never\] \|", told)
    assert (tmp_path / "figures" / "time-to-target.png").is_file()


@pytest.mark.parametrize("price", ["gpu-z=1", "gpu=1", "gpu-a=much", "1"])
def test_a_bad_price_on_the_command_line_is_one_line_and_exit_code_two(price, pair, root, capsys):
    assert pair
    with pytest.raises(SystemExit) as end:
        main(["report", str(root), "--price", price])
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--price {price}: ")


class TestReports:
    @pytest.fixture(autouse=True)
    def _only_the_comparison(self, monkeypatch, pair):
        assert pair
        monkeypatch.setattr("lrbench.report.write", lambda made, **_: made.folder / "report.md")

    def test_a_matrix_folder_gets_a_comparison(self, root):
        assert [path.relative_to(root).as_posix() for path in write_reports(root, ["gpu-b=2.5"])] == [
            "fake-gpu-a/report.md",
            "fake-gpu-b/report.md",
            "comparison.md",
        ]
        assert "## Cost to target" in (root / "comparison.md").read_text()

    def test_a_single_machine_is_not_compared(self, root):
        assert write_reports(root / "fake-gpu-a") == [root / "fake-gpu-a" / "report.md"]
        with pytest.raises(BadInput, match="there are no two machines to compare"):
            write_reports(root / "fake-gpu-a", ["a=1"])

    def test_a_bad_price_is_told_before_anything_is_written(self, root):
        (root / "comparison.md").unlink(missing_ok=True)
        with pytest.raises(BadInput):
            write_reports(root, ["gpu-z=1"])
        assert not (root / "comparison.md").exists()


def test_studies_of_another_matrix_are_not_compared(pair):
    other = replace(pair[1], facts=pair[1].facts | {"matrix": {"name": "other"}})
    assert comparison.together([pair[0], other]) == {}
    third = replace(pair[0], folder=Path(pair[0].folder.parent / "z"), machine=fake("z"))
    assert list(comparison.together([other, third, pair[0]])[pair[0].folder.parent]) == ["fake-gpu-a", "fake-gpu-z"]


MACHINES = ["cpu-epyc", "cuda-a100-1gpu", "cuda-a100-1gpu-x", "cuda-h100-8gpu"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["h100=2.50"], {"cuda-h100-8gpu": 2.5}),
        (["cpu=0", "cuda-h=3"], {"cpu-epyc": 0.0, "cuda-h100-8gpu": 3.0}),
        (["cuda-a100-1gpu=1"], {"cuda-a100-1gpu": 1.0}),
        ([], {}),
    ],
    ids=str,
)
def test_prices_belong_to_the_machine_that_is_meant(given, found):
    assert parse_prices(given, MACHINES) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["h100"], "--price h100: must be NAME=PRICE"),
        (["=2"], "--price =2: must be NAME=PRICE"),
        (["v100=two"], "--price v100=two: must be a price per hour, a number from 0 up, got 'two'."),
        (["v100=2"], "--price v100=2: no machine here is called 'v100'. Known: cpu-epyc, "),
        (
            ["cuda=2"],
            "--price cuda=2: 'cuda' may be cuda-a100-1gpu or cuda-a100-1gpu-x or cuda-h100-8gpu. Give more of the "
            "name.",
        ),
        (["h100=two"], "--price h100=two: must be a price per hour, a number from 0 up, got 'two'."),
        (["h100=-1"], "must be a price per hour"),
        (["h100=nan"], "must be a price per hour"),
        (["h100=inf"], "must be a price per hour"),
        (["h100="], "must be a price per hour"),
        (["h100=1", "8gpu=2"], "--price 8gpu=2: cuda-h100-8gpu has a price already"),
    ],
    ids=str,
)
def test_a_price_that_makes_no_sense_is_one_line(given, said):
    with pytest.raises(BadInput) as told:
        parse_prices(given, MACHINES)
    [line] = told.value.faults
    assert said in line
