"""Joules that an answer takes of the edge: of its processor, computing, and of its radio, sending and receiving."""

from __future__ import annotations

from tvm_split.plan.problem import Link, Timing

#: of the edge while it computes, of its radio while it sends, and while it receives
Watts = tuple[float, float, float]


def watts_of(edge_w: float | None, link: Link) -> Watts | None:
    """None where one of the three is not known."""
    if edge_w is None or link.up_w is None or link.down_w is None:
        return None
    return edge_w, link.up_w, link.down_w


def energy_j(timing: Timing, watts: Watts) -> float:
    edge_w, up_w, down_w = watts
    return edge_w * timing.edge_s + up_w * timing.uplink_s + down_w * timing.downlink_s
