"""The command line: it reads arguments, calls the package, prints, and chooses the exit code.

Exit codes: 0 done (a diverged run is a result), 1 some runs crashed or are not what is on record, 2 bad input, 130
interrupted.
"""

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lrbench.execute import Session, Summary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Compare learning-rate strategies.",
)

MatrixFile = Annotated[
    Path, typer.Argument(help="A matrix file (TOML), such as benchmarks/reference.toml.", show_default=False)
]
Results = Annotated[Path, typer.Option(help="Where results are kept: RESULTS/<matrix>/<machine>/.")]
DeviceWish = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:i,j, mps or xpu.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes. Default: one per GPU, or one per CPU core.", show_default=False)
]
Threads = Annotated[
    int, typer.Option(help="Threads of the CPU in each worker; another number counts as another machine.")
]
Plugins = Annotated[
    list[Path], typer.Option("--plugin", help="A Python file that enters strategies or workloads. Can be repeated.")
]
StudyPlace = Annotated[
    Path, typer.Argument(help="A study, a folder with one study below it, or a bundle.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_entries(
    what: Annotated[
        str, typer.Argument(help="workload, optimizer, layer_lr, schedule, or a name; all when left out.")
    ] = "",
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
    as_json: AsJson = False,
) -> None:
    """Show what a matrix can name: each entry with its meaning, defaults, source and flags."""
    from lrbench.plan.listing import entries, text

    found = entries(what, plugin)
    typer.echo(json.dumps(found, indent=2) if as_json else text(found))


@app.command()
def plan(
    matrix: MatrixFile,
    results: Results = Path("results"),
    device: DeviceWish = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
    as_json: AsJson = False,
) -> None:
    """Say what would be run, what is skipped and why, what is stored already, and how long it takes. Writes nothing."""
    from lrbench.execute import make_session
    from lrbench.execute.preview import preview, preview_text

    found = preview(
        make_session(matrix, results=results, device=device, workers=workers, threads=threads, plugins=plugin)
    )
    typer.echo(json.dumps(found, indent=2) if as_json else preview_text(found))


@app.command()
def run(
    matrix: MatrixFile,
    results: Results = Path("results"),
    device: DeviceWish = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    cost: Annotated[
        bool, typer.Option("--cost", help="Then measure what the steps cost, as `lrbench cost` does.")
    ] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Train what is missing of a matrix, then write and show its report."""
    from lrbench.config.faults import BadInput
    from lrbench.execute import carry_out, make_session
    from lrbench.execute.preview import reason_lines, reasons

    session = make_session(matrix, results=results, device=device, workers=workers, threads=threads, plugins=plugin)
    missing, stored = len(session.plan.missing), len(session.plan.possible) - len(session.plan.missing)
    typer.echo(f"{missing} runs to do, {stored} stored already, {len(session.plan.skips)} skipped", err=True)
    for line in reason_lines(reasons(session.plan)):
        typer.echo(line, err=True)
    if not session.plan.possible:
        raise BadInput(f"{matrix}: every run is skipped, for the reasons above; nothing was written.")
    summary = carry_out(session)
    if summary.interrupted:
        typer.echo("interrupted: what was finished is stored. Give the same command again to go on.", err=True)
        raise typer.Exit(130)
    if cost:
        typer.echo(_measured(session), err=True)
    _conclude(session, summary)


def _conclude(session: "Session", summary: "Summary") -> None:
    from lrbench import report
    from lrbench.config.outcome import Status
    from lrbench.execute.progress import spoken
    from lrbench.store import load

    study = load(session.store.folder)
    typer.echo("writing the report", err=True)
    path = report.write(study)
    typer.echo(report.verdict_text(study))
    typer.echo(f"{sum(summary.counts.values())} runs in {spoken(summary.seconds)}. Report: {path}")
    if crashed := summary.counts[Status.CRASHED]:
        typer.echo(
            f"{crashed} runs crashed; the report says how. Give the same command again to try them once more.", err=True
        )
        raise typer.Exit(1)


@app.command()
def cost(
    matrix: MatrixFile,
    results: Results = Path("results"),
    device: DeviceWish = "auto",
    threads: Threads = 1,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Measure what a training step of each strategy costs, alone on each device, then write the report. Leave the machine idle for it."""
    from lrbench import report
    from lrbench.execute import make_session
    from lrbench.store import load

    session = make_session(matrix, results=results, device=device, threads=threads, plugins=plugin)
    told = _measured(session)
    typer.echo(f"{told}. Report: {report.write(load(session.store.folder))}")


def _measured(session: "Session") -> str:
    """Measure the costs of a session, and say how it went."""
    from lrbench.config.cost import IN_DOUBT
    from lrbench.execute.costs import measure_costs

    try:
        found = measure_costs(session)
    except KeyboardInterrupt:
        typer.echo(
            "interrupted: the costs from before stay as they were. Give the same command again to measure anew.",
            err=True,
        )
        raise typer.Exit(130) from None
    lost, doubtful = (
        sum(map(bool, values)) for values in ([c.reason for c in found.costs], [c.noise for c in found.costs])
    )
    meaning = f" ({IN_DOUBT})" if doubtful else ""
    return f"{len(found.costs) - lost} steps measured, {doubtful} of them in doubt{meaning}, {lost} not to be had"


@app.command()
def doctor(device: DeviceWish = "auto", as_json: AsJson = False) -> None:
    """Show what this machine is (all of it with --json), check data sets and devices, and say what to mend.

    Exit code 1 if something is wrong.
    """
    from dataclasses import asdict

    from lrbench.device import select
    from lrbench.execute.doctor import examine, facts, headline, text

    devices = select(device)
    machine, checks = facts(devices), []
    if not as_json:
        typer.echo(headline(machine))
    for check in examine(devices):
        checks.append(check)
        if not as_json:
            typer.echo(text(check))
    if as_json:
        typer.echo(json.dumps({"machine": machine, "checks": [asdict(check) for check in checks]}, indent=2))
    if any(check.state == "fault" for check in checks):
        raise typer.Exit(1)


@app.command("report")
def write_report(
    folder: Annotated[Path, typer.Argument(help="A study, or a folder of studies.")] = Path("results"),
    price: Annotated[
        list[str],
        typer.Option(
            "--price", help="NAME=PRICE of a machine, per hour of all of it, in any currency. Can be repeated."
        ),
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    export: Annotated[
        bool, typer.Option("--export", help="Also every table as LaTeX and CSV, every figure as SVG and PDF.")
    ] = False,
) -> None:
    """Write the report of every study below a folder anew, and compare the machines of a matrix. Needs neither GPU nor torch."""
    from lrbench.report import write_reports

    for path in write_reports(folder, price, export=export):
        typer.echo(path)


@app.command()
def score(
    curves: Annotated[
        list[Path], typer.Argument(help="Measurements of other tools: tidy CSV or Parquet files.", show_default=False)
    ],
    targets: Annotated[
        Path, typer.Option(help="A file (TOML) with the metric and the target of each workload.", show_default=False)
    ],
    baseline: Annotated[
        str, typer.Option(help="A strategy; also tell how many times as fast as it the others are.")
    ] = "",
    columns: Annotated[
        list[str], typer.Option("--map", help="COLUMN=NAME where a column has another name. Can be repeated.")
    ] = [],  # noqa: B006 - as above
    plot: Annotated[
        Path | None, typer.Option(help="Draw the performance profiles (PNG, SVG or PDF).", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score curves that other tools recorded by their time to target, as AlgoPerf does. Needs neither GPU nor torch."""
    from lrbench.report import scores

    found = scores.score_files(curves, targets, columns, baseline, plot)
    for remark in scores.remarks(found):
        typer.echo(remark, err=True)
    typer.echo(json.dumps(scores.as_json(found), indent=2) if as_json else scores.as_text(found))


@app.command()
def compare(
    base: Annotated[
        str, typer.Argument(help="Results before: a folder, a git revision, or REVISION:FOLDER.", show_default=False)
    ],
    head: Annotated[str, typer.Argument(help="Results now, likewise.", show_default=False)],
    path: Annotated[str, typer.Option(help="The folder of results in a git revision.")] = "results",
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 on any of these, separated by commas: worse, gone, crashed.")
    ] = "",
    how: Annotated[str, typer.Option("--format", help="text, md (for a pull request) or json.")] = "text",
    output: Annotated[
        Path | None,
        typer.Option(help="A folder for changes.md with a picture of what changed, besides.", show_default=False),
    ] = None,
) -> None:
    """Tell what is new, gone, better, worse or tied between two sets of results, with effect sizes and tests."""
    from lrbench.report import changes
    from lrbench.report.changes_page import FORMATS, write

    changes.check(fail_on, how, FORMATS)
    found = changes.compare(base, head, path)
    typer.echo(FORMATS[how](found))
    if output is not None:
        typer.echo(f"Written: {write(found, output)}", err=True)
    if changes.failures(found, fail_on):
        raise typer.Exit(1)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A run key, or the beginning of one.", show_default=False)],
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Tell a run's whole story: its strategy with every setting, what happened, and where it is stored."""
    from lrbench.report.story import story, story_text

    found = story(results, key)
    typer.echo(json.dumps(found, indent=2) if as_json else story_text(found))


@app.command()
def verify(
    workload: Annotated[list[str], typer.Option(help="A workload to train; can be repeated.")] = ["digits-mlp"],  # noqa: B006 - as below
    device: DeviceWish = "auto",
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Check on this machine that populations train as the reference trainer does: every rule, in eager and faster modes, in float64."""
    from lrbench.device import select
    from lrbench.execute.verify import table
    from lrbench.execute.verify import verify as findings
    from lrbench.plan import load_plugins

    load_plugins(plugin)
    good = True
    for found in findings(workload, select(device)[0]):
        good = good and found.holds
        typer.echo(table([found])[0])
    if not good:
        typer.echo("populations and the reference trainer do not agree here", err=True)
        raise typer.Exit(1)


@app.command()
def reproduce(
    study: StudyPlace,
    sample: Annotated[
        int | None, typer.Option(help="Train so many runs again, of every kind some. Default: all.", show_default=False)
    ] = None,
    device: DeviceWish = "auto",
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU in each worker. Default: as recorded.", show_default=False)
    ] = None,
    plugin: Plugins = [],  # noqa: B006 - as above
    output: Annotated[
        Path | None, typer.Option(help="Folder of the certificate. Default: certificate-<name>.", show_default=False)
    ] = None,
) -> None:
    """Train a stored study again, compare, and certify what agrees. Exit code 1 if something is different."""
    from lrbench.execute.reproduce import Stopped, refuse_file
    from lrbench.execute.reproduce import reproduce as again
    from lrbench.report import certificate

    refuse_file(output)
    try:
        found = again(study, sample=sample, device=device, workers=workers, threads=threads, plugins=plugin)
    except Stopped as stop:
        typer.echo(str(stop), err=True)
        raise typer.Exit(130) from None
    path = certificate.write(found, output or certificate.default_folder(found))
    typer.echo(f"{found.overall}. Certificate: {path}")
    raise typer.Exit(found.differs)


@app.command()
def publish(
    study: StudyPlace,
    sample: Annotated[int, typer.Option(help="Train so many runs again first; they must not differ.")] = 60,
    record: Annotated[Path, typer.Option(help="The record: a tracked folder.")] = Path("results/published"),
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the same study in the record.")] = False,
    device: DeviceWish = "auto",
    workers: Workers = None,
    plugin: Plugins = [],  # noqa: B006 - as above
) -> None:
    """Take a complete study into the record, with its report, methods, citation and the certificate of a sample trained again."""
    from lrbench.publish import publish as enter

    typer.echo(
        enter(study, sample=sample, record=record, replace=replace, device=device, workers=workers, plugins=plugin)
    )


@app.command("bundle")
def write_bundle(
    study: StudyPlace,
    output: Annotated[
        Path | None, typer.Option(help="The file. Default: <matrix>-<machine>.tar.gz here.", show_default=False)
    ] = None,
) -> None:
    """Pack a study into one file with checksums, which report, show, cite and reproduce take like its folder. Same study, same bytes."""
    from lrbench.store import bundle

    typer.echo(bundle(study, output))


@app.command()
def cite(
    study: StudyPlace,
    form: Annotated[str, typer.Option("--format", help="bibtex, text or all.")] = "all",
    year: Annotated[
        int | None,
        typer.Option(
            min=1, max=9999, help="Of the study, which holds no date. Default: this year.", show_default=False
        ),
    ] = None,
) -> None:
    """Print how to cite a study and what it used: BibTeX, a methods paragraph, a check-list, the licences of the data."""
    from lrbench.report.cite import cited

    typer.echo(cited(study, form, year), nl=False)


@app.command()
def schedules(
    plot: Annotated[Path, typer.Option(help="The picture to write (PNG, SVG or PDF).")] = Path("schedules.png"),
    steps: Annotated[int, typer.Option(min=2, help="Length of the training in optimizer steps.")] = 200,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """Draw the lr curve of every schedule, as its own class gives it, for a group at the base lr and one at a tenth of it."""
    from lrbench.plan.picture import draw_schedules

    typer.echo(draw_schedules(plot, steps, plugin))


def version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from lrbench import __version__

        typer.echo(f"lrbench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Compare learning-rate strategies: optimizer x per-layer lr x schedule."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; the entry point of ``lrbench``."""
    from lrbench.config.faults import BadInput

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without some letter shows its number
    try:
        return app(arguments)
    except BadInput as error:
        for line in error.faults:
            typer.echo(line, err=True)
    except OSError as error:
        typer.echo(f"{error.filename or 'file'}: {error.strerror or error}", err=True)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(2)
