"""Joules of an answer, by hand: of computing, sending and receiving."""

import pytest

from tvm_split.plan.energy import Watts, energy_j, watts_of
from tvm_split.plan.problem import Link, Timing
from tvm_split.targets import load_link, load_target

CPUS_WITH_POWER = ("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5")


def test_each_stage_has_its_own_power_and_the_cloud_none():
    assert energy_j(Timing(2.0, 0.5, 100.0, 0.25), Watts(3.0, 4.0, 8.0)) == 6.0 + 2.0 + 2.0


def test_a_pi_4_on_wifi():
    """3.7 W for 0.1 s; 18.88 Mbit/s carry 236 kB in 0.1 s at 5.4791 W; 6.871 kB come back in 1 ms at 7.6643 W."""
    watts = watts_of(load_target("raspberry-pi-4").active_w, load_link("wifi"))
    timing = Timing(0.1, 236_000 / (18.88e6 / 8), 0.5, 6871.25 / (54.97e6 / 8))
    assert energy_j(timing, watts) == pytest.approx(0.37 + 0.54791096 + 0.0076642997)


@pytest.mark.parametrize(
    ("up_w", "down_w", "edge_w"), [(None, 1.0, 1.0), (1.0, None, 1.0), (1.0, 1.0, None)]
)  # fmt: skip
def test_without_one_of_the_powers_there_is_no_energy(up_w, down_w, edge_w):
    assert watts_of(edge_w, Link("l", 1.0, 1.0, 0.0, up_w, down_w)) is None


@pytest.mark.parametrize("name", CPUS_WITH_POWER)
def test_full_load_is_idle_and_what_computing_adds(name):
    """Published for the whole board: 5.1 W (Pi 3 B+), 6.4 W (Pi 4), 7.86 W (Pi 5)."""
    spec = load_target(name)
    loads = {"raspberry-pi-3b-plus": 5.1, "raspberry-pi-4": 6.4, "raspberry-pi-5": 7.86}
    assert spec.idle_w + spec.active_w == pytest.approx(loads[name])
