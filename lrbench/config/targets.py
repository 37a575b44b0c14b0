"""The targets file: the metric, target and direction of each workload, and how strategies are scored."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lrbench.config.faults import BadInput, fault, faults_of, nearest, read_toml
from lrbench.config.types import Strict

Name = Annotated[str, Field(min_length=1)]


class Target(Strict):
    """The target of a workload. A variant is held out: it only decides whether its base workload counts."""

    metric: Name
    target: float
    better: Literal["lower", "higher"]
    variant_of: Name | None = None

    @property
    def sign(self) -> float:
        """1.0 where higher is better, -1.0 where lower is: multiplied with it, more is better."""
        return 1.0 if self.better == "higher" else -1.0


class Targets(Strict):
    """A whole targets file.

    ``tau_max``: a strategy slower than the fastest by more than this factor counts as not reaching the target.
    ``trial``: the time of a study is that of the trial that reaches the target fastest, or in the fewest evaluations.
    """

    tau_max: Annotated[float, Field(gt=1.0)] = 4.0
    trial: Literal["fastest", "fewest-evaluations"] = "fastest"
    workloads: dict[Name, Target]

    @model_validator(mode="after")
    def _variants_have_bases(self) -> Self:
        if not self.bases:
            raise fault("workloads: must hold at least one workload that is not a variant")
        for name, target in self.workloads.items():
            if target.variant_of is not None and target.variant_of not in self.bases:
                raise fault(
                    f"workloads.{name}.variant_of: must be a workload of this file that is no variant itself, got "
                    f"{target.variant_of!r}. {nearest(target.variant_of, self.bases)}"
                )
        return self

    @property
    def bases(self) -> list[str]:
        """The workloads that are not variants, by name."""
        return sorted(name for name, target in self.workloads.items() if target.variant_of is None)

    @property
    def names(self) -> list[str]:
        """All workloads, by name."""
        return sorted(self.workloads)


def read_targets(path: Path) -> Targets:
    """Read and check a targets file.

    Raises: BadInput with every fault in the file, each with its path.
    """
    try:
        return Targets.model_validate(read_toml(path, "a targets file"))
    except ValidationError as error:
        raise BadInput(faults_of(error, path.name)) from error
