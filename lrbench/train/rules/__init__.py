"""The update rules of optimizers for N stacked runs. Each is one function: the formula."""

from lrbench.train.rules import adaptive, plain, shaped
from lrbench.train.rules.base import RULES, Hyper, Rule, State, numbers, rule, rule_for, structure

__all__ = ["RULES", "Hyper", "Rule", "State", "adaptive", "numbers", "plain", "rule", "rule_for", "shaped", "structure"]
