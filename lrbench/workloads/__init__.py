"""The workloads, one file each. ``WORKLOADS`` is the catalog."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NoReturn

from lrbench.config.faults import BadInput, nearest
from lrbench.config.origin import Origin, is_ours, joined, origin_of, outside
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


class Workloads(dict[str, Workload]):
    """Workloads by name, in order of cost. The error for a missing name suggests the nearest known one.

    The revision of a plug-in's workload has the fingerprint of its code; ``origins`` says where it comes from.
    """

    def __init__(self, known: Mapping[str, Workload] | None = None) -> None:
        super().__init__(known or {})
        self._given: dict[str, Workload] = {}
        self.origins: dict[str, Origin] = {}

    def __missing__(self, name: str) -> NoReturn:
        raise LookupError(f"no workload called {name!r}. {nearest(name, self)}")

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
        known = self.origins.get(name) if name in self else None
        if name in self and not (known and origin and known.is_replaced_by(origin)):
            where = f" (from {known.place})" if known else ""
            raise LookupError(f"there is a workload called {name!r} already{where}: choose another name.")
        if (
            known and workload.revision == self[name].revision
        ):  # made of the one that it replaces, whose fingerprint is not its own
            workload = replace(workload, revision=self._given[name].revision)
        self._given[name] = self[name] = workload
        if origin:
            self.origins[name] = origin
            self[name] = replace(workload, revision=joined(workload.revision, origin.fingerprint))
        return self[name]

    def renew(self) -> None:
        """Compute the fingerprints again of workloads that can change without being entered again."""
        for name, origin in self.origins.items():
            if origin.live and name in self:
                self[name] = replace(self[name], revision=joined(self._given[name].revision, origin.live()))

    def forget(self, file: str) -> None:
        """Remove what a file entered."""
        for name in [name for name, origin in self.origins.items() if origin.file == file]:
            del self.origins[name]
            self.pop(name, None)


WORKLOADS = Workloads()
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
