"""The workloads, one file each. ``WORKLOADS`` is the catalog."""

import sys
from collections.abc import Iterable
from dataclasses import replace

from lrbench.config.catalog import Registry
from lrbench.config.faults import BadInput
from lrbench.config.origin import is_ours, origin_of, outside
from lrbench.config.types import check_name
from lrbench.workloads import (
    cancer_logistic,
    digits_mlp,
    fashion_cnn,
    fashion_mlp,
    mnist5k_cnn,
    mnist5k_mlp,
    mnist_transfer,
    quadratic,
)
from lrbench.workloads.base import (
    ACCURACY,
    Data,
    Metric,
    Split,
    Unavailable,
    Workload,
    accuracy,
    as_number,
    concatenated,
    describe,
    fingerprint,
    make_model,
    place,
)

DECIDES = ("data", "model", "layers", "loss", "metric", "examples", "pretrained", "stacks", "lowest_loss")
"""The fields that results depend on, and that no other value of a run determines."""


class Workloads(Registry[Workload]):
    """The workloads, in order of cost."""

    def add(self, workload: Workload) -> Workload:
        """Enter a workload under its name. A cell or a file that is run again replaces what it entered before.

        Returns: the workload, with its revision.

        Raises: LookupError when the name is not valid, or another workload has it.
        """
        check_name("workload", workload.name)
        name, caller = workload.name, sys._getframe(1)
        if name in self and (workload is self[name] or workload is self._given.get(name)):
            return self[name]
        values = {part: getattr(workload, part) for part in DECIDES}
        origin = None if is_ours(caller.f_globals.get("__name__")) else origin_of(outside(caller), values)
        if name in self and name in self.origins and workload.revision == self[name].revision:
            # made of the workload that it replaces, whose fingerprint is not its own
            workload = replace(workload, revision=self._given[name].revision)
        self.enter(name, workload, origin)
        return self[name]


WORKLOADS = Workloads("workload")
for _module in (
    quadratic,
    cancer_logistic,
    digits_mlp,
    mnist5k_mlp,
    mnist5k_cnn,
    mnist_transfer,
    fashion_mlp,
    fashion_cnn,
):
    WORKLOADS.add(_module.WORKLOAD)

add_workload = WORKLOADS.add


def fetch(names: Iterable[str]) -> dict[str, str]:
    """Fetch or prepare data and weights of workloads. Returns: the workloads that are not available, with reasons.

    Raises: BadInput when a workload has other numbers of examples than it declares.
    """
    unavailable = {}
    for name in dict.fromkeys(names):
        try:
            workload = WORKLOADS[name]
            data = workload.data()
            sizes = (len(data.train), len(data.validation), len(data.test))
            if sizes != workload.examples:
                raise BadInput(
                    f"workload {name!r}: its data have {sizes} examples for training, validation and test, and it "
                    f"declares {workload.examples}: correct `examples`."
                )
            if workload.pretrained:
                workload.pretrained()
        except Unavailable as reason:
            unavailable[name] = str(reason)
    return unavailable


__all__ = [
    "ACCURACY",
    "WORKLOADS",
    "Data",
    "Metric",
    "Split",
    "Unavailable",
    "Workload",
    "Workloads",
    "accuracy",
    "add_workload",
    "as_number",
    "concatenated",
    "describe",
    "fetch",
    "fingerprint",
    "make_model",
    "place",
]
