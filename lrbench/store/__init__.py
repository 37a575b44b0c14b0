"""Outcomes on disk: typed, atomic, versioned, mergeable."""

from lrbench.store.archive import unpacked
from lrbench.store.bundle import bundle
from lrbench.store.costs import read_costs, write_costs
from lrbench.store.files import write_whole
from lrbench.store.study import RECORD, SCHEMA, Store, Study, in_record, load, one_study, studies
from lrbench.store.table import digest

__all__ = [
    "RECORD",
    "SCHEMA",
    "Store",
    "Study",
    "bundle",
    "digest",
    "in_record",
    "load",
    "one_study",
    "read_costs",
    "studies",
    "unpacked",
    "write_costs",
    "write_whole",
]
