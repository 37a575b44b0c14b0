"""From a matrix to the runs it stands for, and the reasons for those that cannot be."""

from lrbench.plan.expand import expand, product
from lrbench.plan.plan import Plan, Skip, make_plan, params_of
from lrbench.plan.vocabulary import changed, load_plugins, origins_of, revision_of, vocabulary

__all__ = [
    "Plan",
    "Skip",
    "changed",
    "expand",
    "load_plugins",
    "make_plan",
    "origins_of",
    "params_of",
    "product",
    "revision_of",
    "vocabulary",
]
