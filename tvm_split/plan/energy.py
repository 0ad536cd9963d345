"""Energy that an answer takes from the edge, beyond what the device draws idle.

    joules = edge_w * edge_s + up_w * uplink_s + down_w * downlink_s

Waiting for the cloud is idle, and costs nothing here; the half round trips in the link's seconds count as the radio's.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm_split.plan.problem import Link, Timing


class Watts(NamedTuple):
    """Of the edge while it computes, and of its radio while it sends and receives."""

    edge: float
    up: float
    down: float


def watts_of(edge_w: float | None, link: Link) -> Watts | None:
    """None where one of the three is not known."""
    if edge_w is None or link.up_w is None or link.down_w is None:
        return None
    return Watts(edge_w, link.up_w, link.down_w)


def energy_j(timing: Timing, watts: Watts) -> float:
    """Joules that the stages take together."""
    return watts.edge * timing.edge_s + watts.up * timing.uplink_s + watts.down * timing.downlink_s
