"""From a matrix to the runs it stands for, and the reasons for those that cannot be."""

from lrbench.plan.expand import expand, product
from lrbench.plan.plan import Plan, Skip, make_plan, params_of
from lrbench.plan.vocabulary import load_plugins, vocabulary

__all__ = ["Plan", "Skip", "expand", "load_plugins", "make_plan", "params_of", "product", "vocabulary"]
