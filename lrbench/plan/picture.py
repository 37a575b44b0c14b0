"""Every schedule's real lr curve, drawn."""

from collections.abc import Sequence
from pathlib import Path

from lrbench.config.faults import BadInput
from lrbench.config.run import Choice
from lrbench.plan.vocabulary import load_plugins
from lrbench.strategies import SCHEDULES, Timing, lr_curve

SHARES = (1.0, 0.1)


def draw_schedules(path: Path, steps: int, plugins: Sequence[Path] = ()) -> Path:
    """Draw one panel per schedule: the lr of each of two groups, at the base lr and at a tenth of it, by step.

    A closed-loop schedule is shown a validation loss that halves every tenth of the training for half of it, then
    stays.

    Raises: BadInput when the file's ending is not that of a picture.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise BadInput(f"--plot {path}: must end in .png, .svg or .pdf")
    load_plugins(plugins)
    columns = 4
    rows = -(-len(SCHEDULES) // columns)
    with sns.axes_style("whitegrid"), mpl.rc_context({"svg.hashsalt": "lrbench"}):
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.2 * columns, 2.2 * rows), sharex=True, sharey=True, layout="constrained"
        )
        for axis, name in zip(axes.flat, SCHEDULES, strict=False):
            for share, style in zip(SHARES, ("-", "--"), strict=True):
                axis.plot(range(1, steps + 1), _curve(name, share, steps), style, label=f"group at {share:g} x base lr")
            axis.set_title(name)
        for axis in axes.flat[len(SCHEDULES) :]:
            axis.set_axis_off()
        axes.flat[0].legend(fontsize="small")
        figure.supxlabel("optimizer step")
        figure.supylabel("lr / base lr")
        figure.savefig(
            path,
            metadata={"Software": None} if path.suffix == ".png" else {"Date": None} if path.suffix == ".svg" else None,
        )
        plt.close(figure)
    return path


def _curve(name: str, base_lr: float, steps: int) -> list[float]:
    entry = SCHEDULES[name]
    choice = Choice(name=name, revision=entry.revision, settings=entry.settings().model_dump(mode="json"), label=name)
    every = max(1, steps // 20)
    losses = [0.5 ** min(10 * i * every / steps, 5.0) for i in range(1, steps // every + 1)]
    timing = Timing(steps, max(1, steps // 10), every)
    curve: list[float] = lr_curve(choice, base_lr, timing, evaluations=[(loss, 1.0 - loss) for loss in losses]).tolist()
    return curve
