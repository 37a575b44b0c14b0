"""Costs on a real GPU. Run with ``make test-cuda``; skipped where there is none."""

import pytest
import torch
from runs import a_run

from lrbench.config.cost import Case, Peak
from lrbench.cost import Bench, Wanted, measure
from lrbench.device import Telemetry, matmul_peak
from lrbench.execute.doctor import examine

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("implementation", ["for-loop", "foreach", "fused"])
def test_a_step_has_all_its_costs(implementation, precision):
    case = Case(run=a_run("mnist5k-cnn", "adam", precision=precision), implementation=implementation)
    peaks = {precision: Peak("cuda:0", precision, *matmul_peak(CUDA, precision))}
    telemetry = Telemetry(CUDA)
    [cost] = measure([Wanted(case)], CUDA, peaks, Bench(CUDA, telemetry).turn, lambda _: None)
    assert cost.reason == ""
    assert 0.0 < cost.forward_share + cost.backward_share + cost.optimizer_share + cost.scheduler_share <= 1.05
    assert cost.peak_bytes > 0
    assert 0.0 < cost.peak_share < 1.0
    assert (cost.joules is None) == (telemetry.energy_source is None)


def test_the_doctor_finds_no_fault():
    assert not [check for check in examine([CUDA]) if check.state == "fault"]
