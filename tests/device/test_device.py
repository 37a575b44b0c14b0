"""Devices are chosen by what the user writes, and machines are told apart by facts alone."""

import dataclasses
import getpass
import json
import re
import socket
from pathlib import Path

import pytest
import torch

from lrbench.device import Machine, describe, deterministic, name_of, provenance, select
from lrbench.spec.faults import BadInput

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

    @pytest.mark.parametrize("wish", ["", "gpu", "cuda:", "cuda:-1", "cuda:0,", "cuda:a", "CPU", "cpu:0", " cpu", "mps"])
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
        assert {"python", "os", "cpu", "cores", "commit", "dirty"} <= set(facts)

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
