"""Everything that analyse says of a study, computed once and typed. Tables stay on this side."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import results
from lrbench.analyse.costs import contrasts, predicted, step_costs, time_to_target
from lrbench.analyse.effects import effect_measures, effects
from lrbench.analyse.factorial import Factorial, factorials
from lrbench.analyse.frames import STRATEGY, arrays, groups
from lrbench.analyse.overall import Overall, overall
from lrbench.analyse.places import places, survival
from lrbench.analyse.response import responses
from lrbench.analyse.results import (
    Cell,
    Counts,
    Curve,
    OfStrategy,
    Reason,
    Response,
    Standing,
    TimeToTarget,
    Verdict,
    typed,
)
from lrbench.analyse.score import Standings
from lrbench.analyse.shared import shared_standings
from lrbench.analyse.tables import cells, per_run
from lrbench.analyse.tuning import best_after, recommendations, shared_recommendations, tuning_curves, untuned
from lrbench.analyse.verdicts import at_best_lr, ranking, verdicts
from lrbench.stats.estimates import Estimate, mean, seeds_interval
from lrbench.stats.survival import Survival
from lrbench.store import Study

Place = tuple[str, str, str, str]
"""A workload, and the optimizer, layer-lr policy and schedule of a strategy."""


@dataclass(frozen=True)
class StudyResults:
    """A study and what follows from it."""

    study: Study

    # ---- tables, for this module and for those that compute on

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        return per_run(self.study)

    @cached_property
    def response_table(self) -> pd.DataFrame:
        """One row per workload and strategy."""
        return responses(self.runs)

    @cached_property
    def ranking_table(self) -> pd.DataFrame:
        """The strategies of each workload, best first."""
        return ranking(self.response_table)

    @cached_property
    def best_runs(self) -> pd.DataFrame:
        """The runs of every strategy at its best lr."""
        return at_best_lr(self.runs, self.response_table)

    @cached_property
    def cell_table(self) -> pd.DataFrame:
        """One row per workload, strategy and lr: what ``summary.csv`` holds."""
        return cells(self.runs)

    @cached_property
    def time_table(self) -> pd.DataFrame:
        """Time and energy to target of every strategy at its best lr: what ``times.csv`` holds."""
        return time_to_target(self.best_runs, self.study.costs)

    @cached_property
    def case_table(self) -> pd.DataFrame:
        """One row per case whose step was measured, or could not be: what ``costs.csv`` holds."""
        return step_costs(self.study.costs)

    # ---- what was run

    @cached_property
    def workloads(self) -> list[str]:
        """The workloads that were run, by name; one under several conditions counts several times."""
        return sorted(self.runs.workload.unique())

    @cached_property
    def ranked_workloads(self) -> list[str]:
        """Those with a run that finished."""
        return sorted(self.ranking_table.workload.unique())

    def fact(self, workload: str) -> dict[str, Any]:
        """What the study says of a workload."""
        base = self.runs.loc[self.runs.workload == workload, "base"].iloc[0]
        fact: dict[str, Any] = self.study.facts["workloads"][base]
        return fact

    def target(self, workload: str) -> float:
        """The target of a workload."""
        return float(self.runs.loc[self.runs.workload == workload, "target"].iloc[0])

    def budget(self, workload: str) -> float:
        """The most steps of a run on a workload."""
        return float(self.runs.loc[self.runs.workload == workload, "budget"].max())

    @cached_property
    def known_answers(self) -> set[str]:
        """The workloads whose answer is known, so that they test the instrument and not the strategies."""
        return {w for w in self.workloads if self.fact(w).get("has_known_answer", False)}

    @cached_property
    def endings(self) -> list[results.Ending]:
        """How the runs of each optimizer ended."""
        return [results.Ending(str(name), part.status.tolist()) for (name,), part in groups(self.runs, ["optimizer"])]

    @cached_property
    def counts(self) -> dict[Place, Counts]:
        """How many runs each strategy has, and what became of them."""
        columns = ["status", "trained", "plain"]
        return {
            at: Counts(
                *(at[0], at[1], at[2], at[3]),
                len(part["status"]),
                int(part["trained"].sum()),
                int((part["status"] == "diverged").sum()),
                int((part["status"] == "crashed").sum()),
                bool(part["plain"].any()),
            )
            for at, part in arrays(self.runs, STRATEGY, columns)
        }

    @cached_property
    def baselines(self) -> set[Place]:
        """The strategies with one constant lr for all layers and steps."""
        return {place for place, count in self.counts.items() if count.is_baseline}

    def run_counts(self, axis: str) -> dict[str, int]:
        """How many runs each label of an axis has."""
        return {str(label): int(n) for label, n in self.runs[axis].value_counts().items()}

    def skipped_counts(self, axis: str) -> dict[str, int]:
        """How many runs of each label of an axis were skipped."""
        return {str(label): int(n) for label, n in self.study.skipped[axis].astype(str).value_counts().items()}

    @cached_property
    def skipped(self) -> list[Reason]:
        """Why runs were skipped, the most frequent reason first."""
        return _reasons(self.study.skipped)

    @cached_property
    def crashed(self) -> list[Reason]:
        """Why runs crashed, the most frequent reason first."""
        return _reasons(self.runs[self.runs.status == "crashed"])

    @cached_property
    def throughput(self) -> list[results.Throughput]:
        """The samples per second of the runs that were trained one by one, by workload."""
        known = self.runs.dropna(subset="samples_per_second")
        return [
            results.Throughput(str(workload), *part.samples_per_second.quantile([0.25, 0.5, 0.75]).tolist())
            for (workload,), part in groups(known, ["workload"])
        ]

    @cached_property
    def trained_alone(self) -> int:
        """How many runs were trained one by one."""
        return int(self.runs.samples_per_second.notna().sum())

    # ---- which strategy is best

    @cached_property
    def responses(self) -> list[Response]:
        """How the outcome of every strategy depends on the lr, in order of names."""
        return typed(self.response_table, Response)

    @cached_property
    def ranking(self) -> list[Response]:
        """The strategies of each workload that finished a run, best first."""
        return typed(self.ranking_table, Response)

    def ranked(self, workload: str) -> list[Response]:
        """The strategies of one workload, best first."""
        return [row for row in self.ranking if row.workload == workload]

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One for each workload."""
        table = verdicts(self.runs, self.response_table)
        bounds = {"quality": ("low", "high"), "test_metric": ("test_low", "test_high")}
        return typed(table, Verdict, **bounds)

    @cached_property
    def winners(self) -> dict[str, Verdict]:
        """The verdicts of the workloads that have a best strategy."""
        return {verdict.workload: verdict for verdict in self.verdicts if verdict.strategy}

    @cached_property
    def cells(self) -> list[Cell]:
        """The outcome of every strategy at every lr, in order of names and lr."""
        at = [*STRATEGY, "lr"]
        return typed(self.cell_table.astype({"lr": float}).merge(self._spread(at), on=at, how="left"), Cell)

    def _spread(self, at: list[str]) -> pd.DataFrame:
        """Median, least and most over the seeds that trained. A diverged one counts as the untrained model and never arrives."""
        runs = self.runs[self.runs.trained]
        is_loss = runs.workload.map({w: self.fact(w)["metric_unit"] == "loss" for w in self.workloads}).astype(bool)
        # One exploded seed would flatten all others, so a loss counts as no more than the untrained one.
        shown = runs.quality.where(~is_loss, runs[["quality", "initial_loss"]].min(axis=1))
        values = runs[at].assign(shown=shown, loss=runs.loss, steps=runs.steps_to_target.fillna(math.inf)).groupby(at)
        parts = {"middle": values.median(), "least": values.min(), "most": values.max()}
        names = {f"shown_{part}": part for part in parts} | {f"{name}_middle": name for name in ("loss", "steps")}
        table = pd.concat([of.add_suffix(f"_{part}") for part, of in parts.items()], axis=1)
        return table.rename(columns=names).reset_index()

    @cached_property
    def cells_of(self) -> dict[Place, list[Cell]]:
        """The outcomes of each strategy, by ascending lr."""
        found: dict[Place, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.place, []).append(cell)
        return found

    def best_cell(self, row: Response) -> Cell:
        """The outcome of a ranked strategy at its best lr."""
        return next(cell for cell in self.cells_of[row.place] if cell.lr == row.best_lr)

    def standings_on(self, workload: str, chosen: Iterable[Place]) -> list[Standing]:
        """Some strategies of a workload compared pair by pair, in order of rank."""
        here = set(chosen)
        best, ranked = (table[table.workload == workload] for table in (self.best_runs, self.ranking_table))
        table = places(best, ranked, here)
        return typed(table, Standing, quality=("low", "high"))

    @cached_property
    def overall(self) -> Overall:
        """The ranks over several workloads."""
        return overall(self.best_runs, self.ranking_table)

    @cached_property
    def over_workloads(self) -> list[results.Overall]:
        """The strategies with at least two workloads: the ranked ones first, by mean rank."""
        table = self.overall.table.rename(columns={"plain": "is_baseline"}).assign(workload="")
        return typed(table, results.Overall, iqm=("low", "high"))

    @cached_property
    def standings(self) -> Standings | None:
        """How the strategies that several workloads share do over all of them; None where no two workloads share two."""
        return shared_standings(self.runs, self.best_runs, self.study.costs)

    # ---- curves

    @cached_property
    def _stored(self) -> pd.DataFrame:
        return self.study.runs.set_index("key")

    @cached_property
    def _best_keys(self) -> dict[Place, list[str]]:
        return {at: sorted(part["key"]) for at, part in arrays(self.best_runs, STRATEGY, ["key"])}

    def curve(self, place: Place) -> Curve:
        """The learning curve of a strategy at its best lr."""
        stored = self._stored.loc[self._best_keys[place]]
        step_E = np.unique(np.concatenate([np.asarray(steps, np.int64) for steps in stored.eval_step]))
        metric_RE, loss_RE = (_aligned(stored.eval_step, stored[name], step_E) for name in ("val_metric", "val_loss"))
        parts = [f(of) for of in (pd.DataFrame(metric_RE), pd.DataFrame(loss_RE)) for f in _RANGE]
        return Curve(step_E, (~np.isnan(loss_RE)).sum(axis=0), *(part.to_numpy(float) for part in parts))

    def survival(self, place: Place) -> Survival:
        """The steps to target of a strategy at its best lr."""
        return survival(self.best_runs[self.best_runs.key.isin(self._best_keys[place])])

    def layer_lrs(self, place: Place) -> results.LayerLrs:
        """The lrs of the run of a strategy at its best lr that went farthest, of the lowest seed: they do not depend on the seed."""
        runs = self.best_runs[self.best_runs.key.isin(self._best_keys[place])]
        run = self._stored.loc[runs.sort_values(["steps", "seed"], ascending=[False, True]).key.iloc[0]]
        lr_EG = np.stack([np.asarray(at, float) for at in run.group_lr])
        return results.LayerLrs(np.asarray(run.eval_step), tuple(map(str, run.groups)), lr_EG)

    # ---- tuning, axes, claims

    @cached_property
    def advice(self) -> list[results.Advice]:
        """Which strategy to take on each workload for each number of trials."""
        return typed(recommendations(self.runs), results.Advice, expected=("low", "high"))

    @cached_property
    def shared_advice(self) -> tuple[list[str], list[results.Advice]]:
        """Several workloads, and which strategy to take for all of them."""
        workloads, table = shared_recommendations(self.runs)
        return workloads, typed(table, results.Advice, expected=("low", "high"))

    def tuning(self, trials: Sequence[int], ranked_at: int) -> list[results.TuningCurve]:
        """The tuning curves of each workload's strategies, best first after ``ranked_at`` trials."""
        known, first = tuning_curves(self.runs, trials), untuned(self.runs)
        columns: list[Any] = list(trials)
        curves = {at: np.column_stack(list(part.values())) for at, part in arrays(known, STRATEGY, columns)}
        at_first = {at: float(part["outcome"].mean()) for at, part in arrays(first, STRATEGY, ["outcome"])}
        order = typed(best_after(known, ranked_at), OfStrategy)
        return [
            results.TuningCurve(
                *row.place,
                tuple(Estimate(float(s.mean()), *seeds_interval(s, statistic=mean)) for s in curves[row.place].T),
                at_first.get(row.place, math.nan),
            )
            for row in order
        ]

    @cached_property
    def factorials(self) -> list[Factorial]:
        """The largest full factorial of each workload that has one."""
        return factorials(self.runs)

    @cached_property
    def claims(self) -> list[results.ClaimVerdict]:
        """What the runs say of each claim about high and low lrs."""
        return typed(effects(self.runs), results.ClaimVerdict)

    @cached_property
    def claim_measures(self) -> list[results.ClaimMeasures]:
        """The numbers behind the claims."""
        return typed(effect_measures(self.runs), results.ClaimMeasures)

    # ---- costs

    @cached_property
    def cases(self) -> list[results.Case]:
        """Every case, measured or not."""
        return typed(self.case_table, results.Case)

    @cached_property
    def times(self) -> list[TimeToTarget]:
        """Time and energy to target of every strategy at its best lr."""
        return typed(self.time_table, TimeToTarget)

    @cached_property
    def contrasts(self) -> list[results.Contrast]:
        """Cases beside those that differ in one property."""
        return typed(contrasts(self.study.costs), results.Contrast)

    @cached_property
    def whole_trainings(self) -> list[results.WholeTraining]:
        """Trainings timed whole beside what their step costs predict."""
        return typed(predicted(self.study), results.WholeTraining)


_RANGE = (pd.DataFrame.median, pd.DataFrame.min, pd.DataFrame.max)


def _aligned(steps: Iterable[Any], curves: Iterable[Any], step_E: NDArray[np.int64]) -> NDArray[np.float64]:
    """Curves as one array with a column for each of some steps; NaN where a run was not evaluated."""
    found = np.full((len(list(steps)), len(step_E)), np.nan)
    for row, at, of in zip(found, steps, curves, strict=True):
        row[np.searchsorted(step_E, np.asarray(at))] = np.asarray(of, float)
    return found


def _reasons(runs: pd.DataFrame) -> list[Reason]:
    parts = sorted(groups(runs, ["reason"]), key=lambda part: -len(part[1])) if len(runs) else []
    return [Reason(str(reason), len(part), _concerned(part)) for (reason,), part in parts]


def _concerned(runs: pd.DataFrame) -> tuple[str, ...]:
    """The labels of the axis that says most briefly which runs these are."""
    axis = min(["optimizer", "layer_lr", "schedule", "workload"], key=lambda a: runs[a].nunique())
    axis = "optimizer" if runs.optimizer.nunique() == runs[axis].nunique() else axis
    return tuple(sorted(map(str, set(runs[axis]))))
