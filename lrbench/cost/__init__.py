"""What a training step costs: measured alone, on a device that does nothing else."""

from lrbench.cost.cases import Wanted, cases
from lrbench.cost.measure import Bench, measure
from lrbench.cost.step import CannotMeasure, Step
from lrbench.cost.study import measure_study

__all__ = ["Bench", "CannotMeasure", "Step", "Wanted", "cases", "measure", "measure_study"]
