"""What stored outcomes say: pure functions, arrays and tables in, numbers out. Needs no torch."""

from lrbench.analyse.costs import (
    CASE,
    CONDITIONS,
    contrasts,
    joules_after,
    predicted,
    seconds_after,
    step_costs,
    time_to_target,
)
from lrbench.analyse.effects import CLAIMS, DEFINITIONS, effect_measures, effects
from lrbench.analyse.factorial import Factorial, contributions, factorials, level_means
from lrbench.analyse.frames import AXES, STRATEGY, by_seed, groups, of_strategy, rows, strategy
from lrbench.analyse.machines import (
    EQUIVALENT_STEPS,
    case_costs,
    cost_ratios,
    money,
    parity,
    rank_changes,
    shared_runs,
    side_by_side,
    slowest,
    times_on,
)
from lrbench.analyse.overall import Overall, overall
from lrbench.analyse.places import places, survival
from lrbench.analyse.response import responses
from lrbench.analyse.tables import cells, per_run
from lrbench.analyse.tuning import BUDGETS, best_after, recommendations, shared_recommendations, tuning_curves, untuned
from lrbench.analyse.verdicts import at_best_lr, ranking, verdicts
from lrbench.stats.comparison import DIFFERENT, EQUIVALENT, UNDECIDED
from lrbench.stats.curves import divergence_rate
from lrbench.stats.estimates import geometric_mean, seed_warning

__all__ = [
    "AXES",
    "BUDGETS",
    "CASE",
    "CLAIMS",
    "CONDITIONS",
    "DEFINITIONS",
    "DIFFERENT",
    "EQUIVALENT",
    "EQUIVALENT_STEPS",
    "STRATEGY",
    "UNDECIDED",
    "Factorial",
    "Overall",
    "at_best_lr",
    "best_after",
    "by_seed",
    "case_costs",
    "cells",
    "contrasts",
    "contributions",
    "cost_ratios",
    "divergence_rate",
    "effect_measures",
    "effects",
    "factorials",
    "geometric_mean",
    "groups",
    "joules_after",
    "level_means",
    "money",
    "of_strategy",
    "overall",
    "parity",
    "per_run",
    "places",
    "predicted",
    "rank_changes",
    "ranking",
    "recommendations",
    "responses",
    "rows",
    "seconds_after",
    "seed_warning",
    "shared_recommendations",
    "shared_runs",
    "side_by_side",
    "slowest",
    "step_costs",
    "strategy",
    "survival",
    "time_to_target",
    "times_on",
    "tuning_curves",
    "untuned",
    "verdicts",
]
