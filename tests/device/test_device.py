"""Devices are chosen by what the user writes, and machines are told apart by facts alone."""

import dataclasses
import getpass
import json
import re
import socket
from pathlib import Path

import pytest
import torch

from lrbench.config.faults import BadInput
from lrbench.device import Machine, describe, deterministic, name_of, provenance, select
from lrbench.device.machine import _told

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


class TestSelect:
    @pytest.mark.parametrize(
        ("wish", "count", "expected"),
        [
            ("auto", 0, ["cpu"]),
            ("auto", 2, ["cuda:0", "cuda:1"]),
            ("cpu", 2, ["cpu"]),
            ("cuda", 3, ["cuda:0", "cuda:1", "cuda:2"]),
            ("cuda:1", 2, ["cuda:1"]),
            ("cuda:2,0,2", 3, ["cuda:2", "cuda:0"]),
        ],
    )
    def test_a_wish_stands_for_devices(self, wish, count, expected, gpus):
        gpus(count)
        assert [name_of(device) for device in select(wish)] == expected

    @pytest.mark.parametrize(
        "wish", ["", "gpu", "cuda:", "cuda:-1", "cuda:0,", "cuda:a", "CPU", "cpu:0", " cpu", "mps:0", "xpu:1"]
    )
    def test_anything_else_is_told_what_is_possible(self, wish, gpus):
        gpus(1)
        with pytest.raises(BadInput, match="must be auto, cpu, cuda, or cuda:i,j"):
            select(wish)

    def test_a_gpu_that_is_not_there(self, gpus):
        gpus(2)
        with pytest.raises(BadInput, match=r"there is no device \[2, 5\], the last is cuda:1"):
            select("cuda:0,2,5")

    def test_no_gpu_at_all(self, gpus):
        gpus(0)
        with pytest.raises(BadInput, match=r"sees no CUDA device here\. Use --device cpu\."):
            select("cuda")

    @pytest.fixture
    def accelerator(self, monkeypatch):
        def have(found, count=0):
            monkeypatch.setattr(
                torch.accelerator, "current_accelerator", lambda check_available: check_available and found
            )
            monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

        return have

    @pytest.mark.parametrize("kind", ["mps", "xpu"])
    @pytest.mark.parametrize("found", [None, torch.device("cuda")])
    def test_an_accelerator_that_is_not_there(self, kind, found, accelerator):
        accelerator(found, count=1)
        with pytest.raises(BadInput, match=f"--device {kind}: torch .* sees no {kind} device here. Use --device cpu."):
            select(kind)

    @pytest.mark.parametrize("kind", ["mps", "xpu"])
    def test_an_accelerator_of_another_kind(self, kind, gpus, accelerator):
        gpus(0)
        accelerator(torch.device(kind), count=2)
        assert [name_of(device) for device in select(kind)] == [f"{kind}:0", f"{kind}:1"]
        assert select("auto") == [CPU]
        machine = describe(select(kind))
        assert (machine.kind, machine.count, machine.driver) == (kind, 2, None)
        assert machine.slug.startswith(f"{kind}-")
        assert provenance(machine)["energy_reason"] == f"no sensor of {kind} devices is read"


ONE = Machine("cpu", "AMD EPYC 7763 64-Core Processor", 8, 32, None, None, "2.9.0", 1)
OTHER = Machine("cuda", "Intel Xeon", 9, 64, "580.1", "13.0", "2.9.1", 2)


class TestMachine:
    @pytest.mark.parametrize("fact", [field.name for field in dataclasses.fields(Machine)])
    def test_every_fact_tells_machines_apart(self, fact):
        assert dataclasses.replace(ONE, **{fact: getattr(OTHER, fact)}).slug != ONE.slug

    @pytest.mark.parametrize(
        ("machine", "name"),
        [
            (ONE, "cpu-amd-epyc-7763-64-8core"),
            (dataclasses.replace(ONE, model="Intel(R) Xeon(R) CPU @ 2.20GHz"), "cpu-intel-xeon-8core"),
            (dataclasses.replace(ONE, kind="cuda", model="NVIDIA H100 80GB HBM3", count=4), "cuda-h100-80gb-hbm3-4gpu"),
            (dataclasses.replace(ONE, model="@@@"), "cpu-unknown-8core"),
        ],
    )
    def test_a_slug_is_a_readable_folder_name(self, machine, name):
        assert machine.slug.rpartition("-")[0] == name
        assert re.fullmatch(r"[a-z0-9-]+", machine.slug)

    def test_the_same_machine_is_the_same_twice(self):
        assert describe([CPU]) == describe([CPU])
        assert describe([CPU]).count >= 1

    def test_provenance_is_json_that_names_no_user_host_or_path(self):
        text = json.dumps(provenance(describe([CPU])))
        for private in (str(Path.home()), str(Path.cwd()), socket.gethostname()):
            assert private not in text
        assert getpass.getuser() not in json.loads(text).values()

    def test_provenance_has_what_a_result_depends_on(self):
        facts = provenance(describe([CPU]))
        assert facts["slug"] == describe([CPU]).slug
        assert facts["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
        assert {"python", "os", "cpu", "cores", "commit", "dirty", "ram_gib", "cpu_vectors", "cpu_governor"} <= set(
            facts
        )
        assert {"gpus", "compute_capability", "cudnn", "rocm", "driver", "precision", "determinism"} <= set(facts)
        assert bool(facts["energy_source"]) != bool(facts["energy_reason"])

    def test_provenance_never_says_zero_or_nothing_for_unknown(self):
        facts = provenance(describe([CPU]))
        assert {key for key, value in facts.items() if value in (0, "") and value is not False} <= {"energy_reason"}

    def test_provenance_tells_how_products_are_rounded_and_repeated(self, monkeypatch):
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        deterministic()
        facts = provenance(describe([CPU]))
        assert set(facts["precision"]) == {"float32_matmul", "cuda_matmul_fp32", "cudnn_conv_fp32"}
        assert facts["determinism"]["cudnn_deterministic"] is True
        assert facts["determinism"]["cublas_workspace"] == ":4096:8"

    def test_a_flag_that_torch_refuses_to_tell_is_none(self):
        matmul = torch.backends.cuda.matmul
        before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
        try:
            assert provenance(describe([CPU]))["precision"]["cuda_matmul_fp32"] == "tf32"
        finally:
            matmul.fp32_precision = before

        def refuse():
            raise RuntimeError("mix of the legacy and new APIs")

        assert _told(refuse) is None

    def test_provenance_of_gpus(self, nvml, monkeypatch):
        nvml.add("GPU-b")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
        facts = provenance(dataclasses.replace(OTHER, driver=None))
        assert facts["gpus"] == ["NVIDIA H100 80GB HBM3"] * 2
        assert facts["compute_capability"] == ["9.0"] * 2
        assert facts["driver"] == "580.95.05"
        assert (facts["energy_source"], facts["energy_reason"]) == ("NVML: the whole GPU", "")
        assert "GPU-b" not in json.dumps(facts)

    def test_outside_a_checkout_there_is_no_commit(self, monkeypatch, tmp_path):
        monkeypatch.setattr("lrbench.device.machine.__file__", str(tmp_path / "lrbench" / "device" / "machine.py"))
        facts = provenance(describe([CPU]))
        assert facts["commit"] is None
        assert facts["dirty"] is None


def test_determinism_takes_one_thread():
    torch.set_num_threads(2)
    deterministic()
    assert torch.get_num_threads() == 1
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # as cuDNN has it, and as a run in TF32 leaves it
    deterministic()
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
