"""What is left is told from the work that is done, not from how many runs are."""

import time

from lrbench.config.outcome import Status
from lrbench.execute.progress import Progress


def test_time_left_follows_the_expected_work(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(4)
    assert progress.left() == ""
    progress.expect({"quick": 1.0, "quick too": 1.0, "slow": 38.0, "slow too": 40.0})
    now[0] += 2.0
    progress.add("quick", Status.REACHED)
    assert progress.left() == "", "a fiftieth of the work is too little to go by"
    progress.add("quick too", Status.MISSED)
    assert progress.left() == ", about 1 min 18 s left"
    now[0] += 38.0
    progress.add("slow", Status.REACHED)
    assert progress.left() == ", about 40 s left"


def test_off_a_terminal_a_line_is_written_now_and_then_and_at_the_end(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(3) as progress:
        progress.expect({"a": 1.0, "b": 1.0, "c": 2.0})
        progress.add("a", Status.REACHED)
        assert capsys.readouterr().err == ""
        now[0] = 20.0
        progress.add("b", Status.DIVERGED)
        assert capsys.readouterr().err == "2/3 runs, 6 runs/min, about 20 s left: 1 diverged, 1 reached\n"
        progress.add("c", Status.REACHED)
        assert capsys.readouterr().err == "3/3 runs, 9 runs/min, about 0 s left: 1 diverged, 2 reached\n"
