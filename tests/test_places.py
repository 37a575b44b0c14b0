"""Places that cannot be used as they are cost no result: caches that cannot be written, terminals without letters."""

import io
import sys

import pytest

from lrbench.cli import main

MATRIX = "workload = 'quadratic'\noptimizer = 'sgd'\nlr = 0.1\nseed = { count = 8 }\nbudget.quadratic = { steps = 4, eval_every = 2 }\n"


def test_a_cache_that_cannot_be_written_is_done_without_and_said_in_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "occupied").touch()
    (tmp_path / "m.toml").write_text(MATRIX)
    monkeypatch.setenv("LRBENCH_CACHE", str(tmp_path / "occupied" / "cache"))
    with pytest.raises(SystemExit) as end:
        main(
            [
                "run",
                str(tmp_path / "m.toml"),
                "--results",
                str(tmp_path / "results"),
                "--workers",
                "1",
                "--device",
                "cpu",
            ]
        )
    assert not end.value.code
    said = [line for line in capsys.readouterr().err.splitlines() if "occupied" in line]
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path / 'occupied' / 'cache'}: cannot be written (Not a directory)")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_in_another_encoding_is_no_traceback(encoding, monkeypatch, tmp_path):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stderr", out)
    with pytest.raises(SystemExit) as end:
        main(["plan", str(tmp_path / "\u03b7.toml")])
    out.flush()
    assert end.value.code == 2
    said = out.buffer.getvalue()
    assert b".toml: cannot be read: No such file or directory." in said
    assert said.count(b"\n") == 1
