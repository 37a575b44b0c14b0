"""The command line: commands, options, exit codes, and never a traceback for what the user typed."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

import lrbench
from lrbench.cli import app, main
from lrbench.config.cost import Costs
from lrbench.device import cpu_cores
from lrbench.plan import vocabulary
from lrbench.store import load, write_costs
from lrbench.strategies import SCHEDULES

pytestmark = pytest.mark.usefixtures("no_pictures")

COMMANDS = {
    "list": ["what", "--plugin", "--json"],
    "plan": ["matrix", "--results", "--device", "--workers", "--threads", "--plugin", "--json"],
    "run": ["matrix", "--results", "--device", "--workers", "--threads", "--cost", "--plugin"],
    "cost": ["matrix", "--results", "--device", "--threads", "--plugin"],
    "compare": ["base", "head", "--path", "--fail-on", "--format", "--output"],
    "doctor": ["--device", "--json"],
    "report": ["folder", "--price", "--export"],
    "score": ["curves", "--targets", "--baseline", "--map", "--plot", "--json"],
    "show": ["key", "--results", "--json"],
    "publish": ["study", "--sample", "--record", "--replace", "--device", "--workers", "--plugin"],
    "reproduce": ["study", "--sample", "--device", "--workers", "--threads", "--plugin", "--output"],
    "bundle": ["study", "--output"],
    "cite": ["study", "--format", "--year"],
    "schedules": ["--plot", "--steps", "--plugin"],
    "verify": ["--workload", "--device", "--plugin"],
}
MATRIX = 'workload = "quadratic"\noptimizer = "sgd"\nlr = [0.1, 0.19, 0.4]\nseed = [0, 1]\n'


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text(MATRIX)
    return tmp_path


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        told = capsys.readouterr()
        return end.value.code or 0, told.out, told.err

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of the matrix, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "m.toml").write_text(MATRIX)
    lrbench.run(folder / "m.toml", results=folder / "results", device="cpu", workers=1)
    return folder / "results"


@pytest.fixture
def study(away, trained):
    """A copy of them in the folder of the test."""
    shutil.copytree(trained, away / "results")
    [machine] = away.glob("results/m/*")
    return load(machine)


def test_the_commands_and_their_options_are_these():
    """A change here is one that users notice: it belongs in the CHANGELOG."""
    known = {
        name: [p.opts[-1] for p in command.params if p.name != "help"]
        for name, command in typer.main.get_command(app).commands.items()
    }
    assert known == COMMANDS


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=str)
def test_help_explains_every_option(command, cli):
    code, said, _ = cli(*command, "--help")
    assert code == 0
    for option in COMMANDS[command[0]] if command else COMMANDS:
        assert option.upper() in said.upper()


def test_the_version(cli):
    assert cli("--version") == (0, f"lrbench {lrbench.__version__}\n", "")


def test_nothing_at_all_is_help(cli):
    code, out, err = cli()
    assert code == 2
    assert "Commands:" in out + err


class TestList:
    def test_json_has_every_entry_with_its_meaning_and_source(self, cli):
        code, out, _ = cli("list", "--json")
        found = json.loads(out)
        assert code == 0
        assert {axis: [entry["name"] for entry in entries] for axis, entries in found.items()} == {
            axis: list(words) for axis, words in vocabulary().items()
        }
        for entry in (entry for entries in found.values() for entry in entries):
            assert entry["meaning"]
            assert entry["source"]

    def test_one_kind_to_read(self, cli):
        code, out, _ = cli("list", "layer_lr")
        assert code == 0
        assert out.startswith("layer_lr\n  uniform\n")
        assert "depth-decay" in out
        assert "adamw" not in out

    def test_every_default_is_shown(self, cli):
        assert (
            "default_lr=0.001, momentum=0, dampening=0, weight_decay=0, nesterov=False" in cli("list", "optimizer")[1]
        )


class TestPlan:
    def test_json_is_for_programs(self, cli):
        code, out, _ = cli("plan", "m.toml", "--json", "--device", "cpu")
        found = json.loads(out)
        assert code == 0
        assert (found["to_do"], found["stored"], found["skipped"]) == (6, 0, 0)
        assert len({run["key"] for run in found["runs"]}) == 6

    def test_it_writes_nothing(self, cli, away):
        assert cli("plan", "m.toml", "--device", "cpu")[0] == 0
        assert os.listdir(away) == ["m.toml"]  # noqa: PTH208 - hidden files too

    def test_stored_runs_are_counted(self, cli, study):
        code, out, _ = cli("plan", "m.toml", "--device", "cpu")
        assert code == 0
        assert out.startswith(f"m: 0 runs to do, {len(study.runs)} stored already, 0 skipped\n")


class TestRun:
    def test_diverged_runs_are_results_and_the_report_is_told(self, cli, away):
        code, out, err = cli("run", "m.toml", "--device", "cpu", "--workers", 1)
        assert code == 0
        assert "6 runs to do, 0 stored already, 0 skipped" in err
        assert "2 diverged" in err
        [report] = away.glob("results/m/*/report.md")
        assert str(report.relative_to(away)) in out
        assert "quadratic: sgd / uniform / constant at lr" in out

    def test_the_second_time_there_is_nothing_to_do(self, cli, study):
        code, _, err = cli("run", "m.toml", "--device", "cpu", "--workers", 1)
        assert code == 0
        assert err == f"0 runs to do, {len(study.runs)} stored already, 0 skipped\nwriting the report\n"

    def test_runs_that_crash_are_told_and_exit_with_one(self, cli, away):
        (away / "p.py").write_text(
            "import lrbench\n@lrbench.optimizer('crashes-here', default_lr=1.0)\ndef f(groups, lr):\n"
            "    '''It fails.\n\n    Source: a test.\n    '''\n    raise RuntimeError('out of memory')\n"
        )
        (away / "c.toml").write_text('workload = "quadratic"\noptimizer = ["crashes-here", "sgd"]\nseed = 0')
        try:
            code, _, err = cli("run", "c.toml", "--device", "cpu", "--workers", 1, "--plugin", "p.py")
        finally:
            vocabulary()["optimizer"].pop("crashes-here", None)
        assert code == 1
        assert "1 runs crashed; the report says how" in err
        [report] = away.glob("results/c/*/report.md")
        assert "out of memory" in report.read_text()


class TestShow:
    def test_a_key_and_the_beginning_of_one(self, cli, study):
        row = study.runs.iloc[0]
        whole, start = cli("show", row.key), cli("show", row.key[:12])
        assert whole == start
        code, out, _ = whole
        assert code == 0
        assert out.startswith(f"run {row.key}: {row.status}")
        assert "momentum = 0.0" in out

    def test_json_is_for_programs(self, cli, study):
        key = study.runs.key[0]
        code, out, _ = cli("show", key, "--json")
        assert code == 0
        found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert found["key"] == key
        assert found["run"]["workload"]["name"] == "quadratic"

    def test_a_beginning_of_several_asks_for_more(self, cli, study):
        code, _, err = cli("show", "")
        assert code == 2
        assert err.startswith(f"show : begins {len(study.runs)} keys: ")

    def test_an_unknown_key(self, cli, study):
        assert len(study.runs)
        code, out, err = cli("show", "zz")
        assert (code, out) == (2, "")
        assert "no run below results has a key that begins so" in err


class TestReport:
    def test_it_writes_every_report_anew(self, cli, study):
        code, out, _ = cli("report")
        assert code == 0
        assert out.split() == [str(study.folder.relative_to(study.folder.parents[2]) / "report.md")]


class TestCost:
    @pytest.mark.usefixtures("quick_turns")
    def test_costs_stand_beside_the_runs_and_in_the_report(self, cli, study):
        code, out, _ = cli("cost", "m.toml", "--device", "cpu")
        assert (code, study.costs.costs) == (0, ())
        assert out.startswith("1 steps measured, ")
        measured = load(study.folder)
        [cost] = measured.costs.costs
        assert cost.strategies == (("sgd", "uniform", "constant"),)
        assert len(measured.runs) == 6
        assert measured.machine == study.machine
        report = (study.folder / "report.html").read_text()
        assert "<h2>What a step costs</h2>" in report
        assert ">Predicted</th>" in report

    @pytest.mark.usefixtures("quick_turns")
    def test_a_run_can_measure_them_too(self, cli, away):
        code, _, err = cli("run", "m.toml", "--device", "cpu", "--workers", 1, "--cost")
        assert code == 0
        assert "1 steps measured, " in err
        assert len(list(away.rglob("costs.json"))) == 1

    @pytest.mark.usefixtures("quick_turns")
    def test_costs_can_be_measured_before_any_run(self, cli):
        code, _, _ = cli("cost", "m.toml", "--device", "cpu", "--results", "elsewhere")
        assert code == 0
        assert cli("report", "elsewhere")[0] == 0

    def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(self, cli, monkeypatch):
        monkeypatch.setattr("lrbench.execute.costs.measure_study", None)
        code, out, err = cli("cost", "m.toml", "--device", "cpu", "--results", "m.toml")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "Not a directory" in err

    @pytest.mark.parametrize("command", [["cost"], ["run", "--workers", 1, "--cost"]], ids=str)
    def test_an_interrupt_leaves_the_costs_from_before_and_says_so(self, command, cli, monkeypatch, study):
        def interrupted(*_):
            raise KeyboardInterrupt

        write_costs(study.folder, Costs(conditions={"threads": 1}))
        monkeypatch.setattr("lrbench.execute.costs.measure_study", interrupted)
        code, _, err = cli(command[0], "m.toml", "--device", "cpu", *command[1:])
        assert code == 130
        assert err.splitlines()[-1].startswith("interrupted: the costs from before stay as they were.")
        assert load(study.folder).costs.conditions == {"threads": 1}

    @pytest.mark.usefixtures("quick_turns")
    def test_other_threads_are_another_machine(self, cli, away):
        if cpu_cores() < 2:
            pytest.skip("one core")
        for threads in (1, 2):
            assert cli("cost", "m.toml", "--device", "cpu", "--threads", threads)[0] == 0
        assert len(list((away / "results" / "m").glob("cpu-*"))) == 2


class TestReproduce:
    def test_a_study_is_certified(self, cli, study, away):
        code, out, _ = cli("reproduce", "results", "--device", "cpu", "--workers", 1)
        assert code == 0
        assert (
            out == f"{len(study.runs)} of {len(study.runs)} bitwise equal. Certificate: certificate-m/certificate.md\n"
        )
        assert sorted(p.name for p in (away / "certificate-m").iterdir()) == ["certificate.json", "certificate.md"]

    def test_a_record_that_was_edited_is_exit_code_one(self, cli, study, away):
        [path] = (study.folder / "runs").glob("*.parquet")
        rows = pq.read_table(path).to_pylist()
        next(row for row in rows if row["status"] == "missed")["test_loss"] *= 0.9
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
        code, out, _ = cli("reproduce", study.folder, "--device", "cpu", "--workers", 1, "--output", "c")
        assert code == 1
        assert out.startswith("1 of 6 different, 5 bitwise equal. Certificate: c")
        assert "## Different" in (away / "c" / "certificate.md").read_text()

    def test_ctrl_c_exits_with_130_and_writes_nothing(self, cli, study, away, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("lrbench.execute.work.Worker.carry_out", interrupted)
        code, out, err = cli("reproduce", study.folder, "--device", "cpu", "--workers", 1, "--output", "c")
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == "interrupted: 0 of 6 runs were trained again: none. No certificate was written."
        assert not (away / "c").exists()

    def test_a_certificate_in_the_study_is_cited_and_bundled(self, cli, study):
        assert "[ ] The record was trained again" in cli("cite", "results", "--format", "text")[1]
        assert cli("reproduce", "results", "--device", "cpu", "--workers", 1, "--output", study.folder)[0] == 0
        assert cli("bundle", "results", "--output", "b.tar.gz") == (0, "b.tar.gz\n", "")
        for place in ("results", "b.tar.gz"):
            assert (
                f"[x] The record was trained again, and a certificate is with it: {len(study.runs)} of "
                in cli("cite", place)[1]
            )
        assert cli("report", "b.tar.gz")[0] == 0
        assert cli("show", study.runs.key[0], "--results", "b.tar.gz")[0] == 0


@pytest.fixture
def few_schedules(monkeypatch):
    """Pictures of schedules have four panels."""
    monkeypatch.setattr("lrbench.plan.picture.SCHEDULES", dict(list(SCHEDULES.items())[:4]))


def test_every_schedule_is_drawn(cli, away):
    code, out, _ = cli("schedules", "--plot", "picture.png", "--steps", 20)
    assert (code, out) == (0, "picture.png\n")
    assert (away / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.usefixtures("few_schedules")
def test_schedules_are_drawn(suffix, cli, away):
    code, out, _ = cli("schedules", "--plot", f"picture.{suffix}", "--steps", 20)
    assert (code, out) == (0, f"picture.{suffix}\n")
    assert (away / f"picture.{suffix}").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "none.toml"], "none.toml: cannot be read: No such file or directory. Give the path of a matrix file "
        "(TOML)."),
        (["plan", "."], ".: cannot be read: Is a directory. Give the path of a matrix file (TOML)."),
        (["plan", "bad.toml"], "bad.toml: is not TOML: "),
        (["run", "wrong.toml"], "wrong.toml: optimizer[0]: no optimizer called 'admw'. Did you mean 'adamw'?"),
        (["plan", "m.toml", "--device", "gpu"], "--device gpu: must be auto, cpu, cuda, or cuda:i,j"),
        (["run", "m.toml", "--device", "cuda:99"], "--device cuda:99: "),
        (["plan", "m.toml", "--workers", 0], "--workers 0: must be at least 1"),
        (["run", "m.toml", "--workers", -3], "--workers -3: must be at least 1"),
        (["run", "m.toml", "--threads", 0], "--threads 0: must be from 1 to "),
        (["cost", "m.toml", "--threads", 4096], "--threads 4096: must be from 1 to "),
        (["cost", "none.toml"], "none.toml: cannot be read: No such file or directory."),
        (["cost", "m.toml", "--device", "cuda:99"], "--device cuda:99: "),
        (["doctor", "--device", "tpu"], "--device tpu: must be "),
        (["plan", "m.toml", "--plugin", "none.py"], "none.py: there is no such file"),
        (["list", "--plugin", "m.toml"], "m.toml: is not a Python file"),
        (["list", "optimiser"], "list optimiser: there is no such kind or entry. Did you mean 'optimizer'?"),
        (["show", "abc"], "results: holds no study. Give a folder that `lrbench run` has written to, such as "
        "results/reference."),
        (["report", "none"], "none: holds no study. Give a folder that `lrbench run` has written to, such as "
        "results/reference."),
        (["run", "m.toml", "--device", "cpu", "--workers", 1, "--results", "m.toml"], "Not a directory"),
        (["compare", "none", "none"], "none: is neither a folder nor a git revision"),
        (["compare", ".", "."], ".: holds no study. Give a folder that `lrbench run` has written to"),
        (["compare", ".", ".", "--fail-on", "wrose"], "--fail-on wrose: there is no 'wrose'. Did you mean 'worse'?"),
        (["compare", ".", ".", "--format", "html"], "--format html: there is no such format. Known: json, md, text."),
        (["reproduce", "none"], "none: holds no study."),
        (["verify", "--workload", "nope"], "--workload nope: no workload is called so. Known: "),
        (["reproduce", "m.toml"], "m.toml: is not a bundle, or is damaged: "),
        (["reproduce", "m.toml", "--output", "bad.toml"], "--output bad.toml: is a file; give a folder."),
        (["bundle", "m.toml"], "m.toml: is a file; give the folder of a study"),
        (["bundle", "none"], "none: holds no study."),
        (["cite", "m.toml"], "m.toml: is not a bundle, or is damaged: "),
        (["cite", "m.toml", "--format", "html"], "--format html: there is no such format. Known: all, bibtex, text."),
        (["report", "m.toml"], "m.toml: is not a bundle, or is damaged: "),
        (["schedules", "--plot", "picture.txt"], "--plot picture.txt: must end in .png, .svg or .pdf"),
        (["schedules", "--plot", "none/picture.png", "--steps", 2], "none/picture.png: No such file or directory"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.usefixtures("few_schedules")
def test_bad_input_is_one_line_and_exit_code_two(arguments, said, cli, away):
    (away / "bad.toml").write_text("seed = ")
    (away / "wrong.toml").write_text('workload = "quadratic"\noptimizer = "admw"')
    code, out, err = cli(*arguments)
    lines = [line for line in err.splitlines() if not line.endswith("skipped")]
    assert (code, out) == (2, "")
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["plan"], ["run", "m.toml", "--nosuch"], ["run", "m.toml", "--workers", "two"]], ids=str
)
def test_a_command_line_that_makes_no_sense_shows_its_usage(arguments, cli):
    code, _, err = cli(*arguments)
    assert code == 2
    assert "Usage:" in err


def test_all_faults_of_a_matrix_are_told(cli, away):
    (away / "many.toml").write_text(
        'workload = "quadratc"\noptimizer = { name = "adam", betas = [0.9, 1.0] }\nseed = 1.5'
    )
    code, _, err = cli("plan", "many.toml")
    assert code == 2
    assert len(err.splitlines()) == 3
    assert "many.toml: optimizer[0].betas: must lie in [0, 1), got 1.0" in err


def test_an_interrupt_before_training_exits_with_130(cli, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrbench.execute.make_session", interrupted)
    assert cli("plan", "m.toml")[0] == 130


@pytest.mark.parametrize("damage", ["results/*/*/runs/*.parquet", "results/*/*/study.toml", "results/*/*/machine.json"])
@pytest.mark.parametrize("command", [["report"], ["show", "a"]], ids=str)
def test_damaged_results_are_one_line(damage, command, cli, study, away):
    assert len(study.runs)
    [path] = away.glob(damage)
    path.write_text("junk")
    code, _, err = cli(*command)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"{path.name}: is damaged and cannot be read" in err or path.suffix == ".parquet"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_damaged_results_stop_a_run_before_it_trains(command, cli, study, away):
    assert len(study.runs)
    [path] = away.glob("results/*/*/runs/*.parquet")
    path.write_text("junk")
    code, out, err = cli(command, "m.toml", "--device", "cpu", "--workers", 1)
    assert (code, out) == (2, "")
    assert "is damaged and cannot be read" in err
