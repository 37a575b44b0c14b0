"""What stored outcomes say: pure functions, arrays and tables in, numbers out. Needs no torch."""

from lrbench.analyse.effects import CLAIMS, DEFINITIONS, effect_measures, effects
from lrbench.analyse.frames import AXES, STRATEGY, by_seed, groups, of_strategy, rows, strategy
from lrbench.analyse.response import responses
from lrbench.analyse.stability import divergence_rate
from lrbench.analyse.statistics import seed_warning
from lrbench.analyse.tables import cells, per_run
from lrbench.analyse.verdicts import at_best_lr, ranking, verdicts

__all__ = [
    "AXES",
    "CLAIMS",
    "DEFINITIONS",
    "STRATEGY",
    "at_best_lr",
    "by_seed",
    "cells",
    "divergence_rate",
    "effect_measures",
    "effects",
    "groups",
    "of_strategy",
    "per_run",
    "ranking",
    "responses",
    "rows",
    "seed_warning",
    "strategy",
    "verdicts",
]
