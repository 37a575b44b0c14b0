"""Outcomes on disk: typed, atomic, versioned, mergeable."""

from lrbench.store.costs import read_costs, write_costs
from lrbench.store.files import write_whole
from lrbench.store.study import SCHEMA, Store, Study, load, studies

__all__ = ["SCHEMA", "Store", "Study", "load", "read_costs", "studies", "write_costs", "write_whole"]
