"""The doctor sees what is wrong, and says what to do about it."""

import dataclasses
import json
import re

import pytest
import torch

from lrbench.cli import main
from lrbench.device import Telemetry
from lrbench.execute import doctor
from lrbench.execute.doctor import examine, text
from lrbench.execute.verify import Finding
from lrbench.train import train
from lrbench.workloads import WORKLOADS


def finding(mode="eager", weights=1e-14, compared=6):
    return Finding("digits-mlp", "adam", mode, 6, compared=compared, weights=weights, losses=0.0, lrs=0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Populations that agree, without training them: the real check is that of ``lrbench verify``."""
    monkeypatch.setattr(doctor, "verify", lambda *_: iter([finding(), finding("compiled")]))
    monkeypatch.setattr(doctor, "ENERGY_SECONDS", 0.15)


def checks(cpu):
    return {check.name: check for check in examine([cpu])}


def test_a_sound_machine_has_no_fault(cpu):
    found = checks(cpu)
    assert not [check for check in found.values() if check.state == "fault"]
    assert found["data of digits-mlp"].found == "here"
    assert found["cpu: populations"].found == "eager, compiled: agree with the reference trainer to 1e-14 in float64"
    assert found["cpu: float32 against float64 on the CPU"].found.startswith("validation losses agree to ")


def test_populations_that_differ_are_a_fault_and_the_exit_code(cpu, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "verify", lambda *_: iter([finding(), finding("compiled", 0.5)]))
    assert checks(cpu)["cpu: populations"].state == "fault"
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--device", "cpu"])
    assert end.value.code == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".+, \d+ cores, \d+ GiB, torch .+, Python .+: results go to <matrix>/cpu-.+", first)
    told = "fault cpu: populations: compiled: differs from the reference trainer by 5.0e-01. Run lrbench verify"
    assert any(line.startswith(told) for line in rest)


def test_a_device_that_computes_wrongly_is_a_fault(cpu, monkeypatch):
    def wrong(run, *rest):
        outcome = train(run, *rest)
        return dataclasses.replace(outcome, val_loss=outcome.val_loss * (1.01 if run.precision == "fp32" else 1.0))

    monkeypatch.setattr(doctor, "train", wrong)
    found = checks(cpu)["cpu: float32 against float64 on the CPU"]
    assert (found.state, found.found) == ("fault", "validation losses differ by 1.0e-02 after 30 steps")


def test_what_breaks_is_told_and_the_rest_is_still_looked_at(cpu, monkeypatch):
    def broken(*_):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(doctor, "verify", broken)
    found = checks(cpu)
    assert (
        text(found["cpu: populations"])
        == "fault cpu: populations: RuntimeError: no luck. See whether torch itself works here."
    )
    assert "cpu: quiet" in found


def test_missing_data_and_packages_are_notes_with_what_to_do(cpu, monkeypatch):
    gone = dataclasses.replace(WORKLOADS["digits-mlp"], missing=lambda: "the file is not there")
    monkeypatch.setitem(WORKLOADS, "digits-mlp", gone)
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    monkeypatch.setattr(doctor, "kernels_missing", lambda: "no compiler")
    found = checks(cpu)
    assert (
        text(found["data of digits-mlp"])
        == "note  data of digits-mlp: the file is not there. Its runs are skipped until then."
    )
    assert found["package schedulefree"].mend == "pip install schedulefree"
    assert found["own kernels"].found == "no compiler"


@pytest.mark.parametrize(("joules", "state"), [(12.0, "ok"), (None, "note")])
def test_an_energy_counter_must_move(joules, state, cpu, monkeypatch):
    readings = iter([100.0, 100.0 + (joules or 0.0)])
    monkeypatch.setattr(Telemetry, "energy_source", "a counter")
    monkeypatch.setattr(Telemetry, "energy", lambda _: next(readings))
    found = doctor._energy(cpu)
    assert found.state == state
    assert ("the energy counter did not move" in found.found) == (joules is None)


def test_the_facts_and_the_checks_are_json(capsys):
    main_without_exit(["doctor", "--device", "cpu", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["machine"]["torch"] == torch.__version__
    assert {"name", "state", "found", "mend"} == set(told["checks"][0])


def main_without_exit(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
