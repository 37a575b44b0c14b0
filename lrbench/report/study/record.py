"""What changed against the record: a study beside the published one of the same matrix and machine."""

from lrbench.report.document import Section
from lrbench.report.findings import Findings


def changed(found: Findings) -> Section | None:
    """Nothing where the record holds no such study, or this is it."""
    del found
    return None
