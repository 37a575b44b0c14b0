"""RAPL's counters are summed over packages and followed around their ends; clocks are means; load is what others used."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.device.load import LEAST_S, Load, busy, cores_of_others, load
from lrbench.device.processor import Processor, counted, governor, mean_clock


class TestRapl:
    def test_only_packages_are_summed(self, powercap):
        one = powercap("intel-rapl:0", "package-0", 1_000_000)
        two = powercap("intel-rapl:1", "package-1-die-0", 5_000_000)
        inside, psys, again = (
            powercap("intel-rapl:0:0", "core", 7),
            powercap("intel-rapl:2", "psys", 7),
            powercap("intel-rapl-mmio:0", "package-0", 7),
        )
        sensors = Processor(powercap.root)
        assert (sensors.source, sensors.reason, sensors.energy()) == ("RAPL: the processor packages", "", 0.0)
        for counter, energy in ((one, 3_500_000), (two, 6_000_000), (inside, 10**9), (psys, 10**9), (again, 10**9)):
            counter.write_text(f"{energy}\n")
        assert sensors.energy() == 3.5

    def test_a_counter_that_starts_again_is_followed(self, powercap):
        counter = powercap("intel-rapl:0", "package-0", 9_000_000, most=10_000_000)
        sensors = Processor(powercap.root)
        for energy, total in ((1_000_000, 2.0), (8_000_000, 9.0), (500_000, 11.5)):
            counter.write_text(str(energy))
            assert sensors.energy() == total

    def test_no_rapl(self, tmp_path):
        sensors = Processor(tmp_path / "none")
        assert (sensors.source, sensors.reason, sensors.energy()) == (None, "no RAPL here", None)

    def test_rapl_that_this_user_may_not_read(self, powercap):
        counter = powercap("intel-rapl:0", "package-0", 1)
        counter.unlink()
        counter.mkdir()  # which root cannot read either
        sensors = Processor(powercap.root)
        assert (sensors.source, sensors.energy()) == (None, None)
        assert sensors.reason == "RAPL is there but not readable by this user: Is a directory"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_rapl_that_only_root_may_read(self, powercap):
        powercap("intel-rapl:0", "package-0", 1).chmod(0)
        assert Processor(powercap.root).reason == "RAPL is there but not readable by this user: Permission denied"

    def test_one_package_that_cannot_be_read_leaves_no_sum(self, powercap):
        powercap("intel-rapl:0", "package-0", 1)
        powercap("intel-rapl:1", "package-1", "")
        sensors = Processor(powercap.root)
        assert (sensors.energy(), sensors.reason) == (
            None,
            "RAPL is there but not readable by this user: it holds no number",
        )

    def test_a_counter_that_goes_away(self, powercap):
        counter = powercap("intel-rapl:0", "package-0", 1)
        sensors = Processor(powercap.root)
        counter.unlink()
        assert sensors.energy() is None
        assert sensors.reason.endswith("No such file or directory")


@given(st.lists(st.integers(0, 999), min_size=1), st.integers(0, 999))
def test_what_is_counted_is_what_was_used(used, start):
    value = start
    total = 0
    for joules in used:
        after = (value + joules) % 1000
        total += counted(value, after, 1000)
        value = after
    assert total == sum(used)


class TestClocks:
    @pytest.fixture
    def cpus(self, tmp_path):
        for core, khz, how in (
            (0, 3_000_000, "performance"),
            (1, 2_000_000, "performance"),
            (10, 1_000_000, "powersave"),
        ):
            folder = tmp_path / f"cpu{core}" / "cpufreq"
            folder.mkdir(parents=True)
            (folder / "scaling_cur_freq").write_text(f"{khz}\n")
            (folder / "scaling_governor").write_text(f"{how}\n")
        return tmp_path

    def test_the_clock_is_the_mean_over_cores(self, cpus):
        assert mean_clock(cpus) == 2000
        assert Processor(cpus / "none", cpus).snapshot().clock_mhz == 2000

    def test_governors(self, cpus):
        assert governor(cpus) == "performance, powersave"

    def test_no_clocks(self, tmp_path):
        assert (mean_clock(tmp_path), governor(tmp_path)) == (None, None)

    def test_clocks_that_cannot_be_read(self, cpus):
        for name in ("scaling_cur_freq", "scaling_governor"):
            (cpus / "cpu0" / "cpufreq" / name).unlink()
            (cpus / "cpu0" / "cpufreq" / name).mkdir()
        assert (mean_clock(cpus), governor(cpus)) == (None, None)


class TestLoad:
    def test_idle_waiting_and_guests_are_no_work(self):
        assert busy("cpu  1 20 300 9999 9999 4000 50000 600000 9999 9999\ncpu0 7 7 7 7\n") == 654321

    def test_old_systems_show_fewer_columns(self):
        assert busy("cpu 1 2 3 4") == 6

    @pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d", "cpu0 1 2 3 4"])
    def test_anything_else_is_unknown(self, text, tmp_path):
        (tmp_path / "stat").write_text(text)
        assert load(tmp_path / "stat") is None

    def test_no_proc(self, tmp_path):
        assert load(tmp_path / "stat") is None

    def test_ticks_are_seconds(self, tmp_path):
        (tmp_path / "stat").write_text(f"cpu {5 * os.sysconf('SC_CLK_TCK')} 0 0 0")
        before, after = load(tmp_path / "stat"), load(tmp_path / "stat")
        assert before.busy_s == 5.0
        assert 0 < before.own_s <= after.own_s
        assert before.at_s < after.at_s

    def test_what_others_used_is_what_is_not_ours(self):
        assert cores_of_others(Load(10, 100, 50), Load(12, 103, 51)) == 1.0

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (None, Load(2, 2, 2)),
            (Load(1, 1, 1), None),
            (Load(1, 1, 1), Load(1 + LEAST_S / 2, 5, 1)),
            (Load(1, 1, 1), Load(1, 5, 1)),
        ],
    )
    def test_unknown_where_it_cannot_be_told(self, before, after):
        assert cores_of_others(before, after) is None

    @given(*[st.floats(0, 1e6)] * 3, st.floats(LEAST_S * 2, 1e6))
    def test_never_below_zero(self, busy_s, used_s, own_s, seconds):
        assert cores_of_others(Load(0, busy_s, 0), Load(seconds, busy_s + used_s, own_s)) >= 0
