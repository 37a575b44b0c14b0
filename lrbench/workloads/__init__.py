"""The workloads, one file each. ``WORKLOADS`` is the catalog."""

from collections.abc import Iterable
from typing import NoReturn

from lrbench.spec.faults import BadInput, nearest
from lrbench.spec.types import check_name
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
    describe,
    fingerprint,
    joined,
    make_model,
    place,
)


class Workloads(dict[str, Workload]):
    """Workloads by name, in order of cost; a missing name is told the nearest known one."""

    def __missing__(self, name: str) -> NoReturn:
        raise LookupError(f"no workload called {name!r}. {nearest(name, self)}")

    def add(self, workload: Workload) -> Workload:
        """Enter a workload under its name.

        Raises: LookupError when another workload has that name, or it is none.
        """
        check_name("workload", workload.name)
        if self.get(workload.name, workload) is not workload:
            raise LookupError(f"there is a workload called {workload.name!r} already: choose another name.")
        self[workload.name] = workload
        return workload


WORKLOADS = Workloads()
for _module in (quadratic, cancer_logistic, digits_mlp, mnist5k_mlp, mnist5k_cnn, mnist_transfer, fashion_mlp, fashion_cnn):
    WORKLOADS.add(_module.WORKLOAD)
BUILT_IN = frozenset(WORKLOADS.values())
"""lrbench's own workloads."""

add_workload = WORKLOADS.add


def fetch(names: Iterable[str]) -> dict[str, str]:
    """Have the data and weights of some workloads here, once. Returns: those whose data cannot be had, with the reasons.

    Raises: BadInput when a workload has other numbers of examples than it declares.
    """
    lost = {}
    for name in dict.fromkeys(names):
        try:
            workload = WORKLOADS[name]
            data = workload.data()
            found = (len(data.train), len(data.validation), len(data.test))
            if found != workload.examples:
                raise BadInput(
                    f"workload {name!r}: its data have {found} examples for training, validation and test, and it declares "
                    f"{workload.examples}: correct `examples`."
                )
            if workload.pretrained:
                workload.pretrained()
        except Unavailable as reason:
            lost[name] = str(reason)
    return lost


__all__ = [
    "ACCURACY",
    "BUILT_IN",
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
    "describe",
    "fetch",
    "fingerprint",
    "joined",
    "make_model",
    "place",
]
