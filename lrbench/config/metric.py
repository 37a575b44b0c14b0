"""How the values of a metric are written."""

from typing import Literal

Unit = Literal["fraction", "loss", "number"]
"""A fraction lies in [0, 1] and is shown in %. A loss is the workload's own loss. A number is any other."""


def usual_unit(metric: str) -> Unit:
    """The unit of a metric that does not state it: a study stored before metrics did, or a plug-in.

    >>> usual_unit("top-5 accuracy"), usual_unit("loss"), usual_unit("perplexity")
    ('fraction', 'loss', 'number')
    """
    return "fraction" if metric.endswith("accuracy") else "loss" if metric == "loss" else "number"
