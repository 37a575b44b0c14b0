"""Outcomes on disk: typed, atomic, versioned, mergeable."""

from lrbench.store.files import write_whole
from lrbench.store.study import SCHEMA, Store, Study, load, studies

__all__ = ["SCHEMA", "Store", "Study", "load", "studies", "write_whole"]
