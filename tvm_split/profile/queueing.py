"""What other requests on the cloud machine add to this one's time: it waits while the machine is busy with them.

    waiting   W = load * S / (2 * (1 - load))                      Pollaczek-Khinchine's mean for M/D/1
    factor    (S + W) / S = 1 + load / (2 * (1 - load))            whatever S is

S is the service time: the cloud's own seconds of an answer. Since W is a multiple of it, scaling every layer's seconds,
and an element's to unpack, by the factor gives each answer its own waiting, and planners that are exact stay so.
Assumed: requests arrive at random moments, independent of each other (Poisson); all take as long as this one, so the
others are of the same plan; one server takes them one after another, first come first served, and runs one at a time on
the whole machine; the queue is in its steady state. It is a mean: single requests wait longer, or not at all.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tvm_split.costs import Costs, with_seconds
from tvm_split.errors import CostError

#: where the provenance of costs keeps the load
LOAD = "cloud_load"


def waiting_factor(load: float) -> float:
    """Mean time of a request, waiting and service, over the service time. CostError unless 0 <= load < 1."""
    if not 0 <= load < 1:  # NaN is not between either
        raise CostError(
            f"the cloud's load (--cloud-load) is {load}; expected the share of time that it is busy with other "
            "requests, from 0 to less than 1: at 1 the queue grows for ever"
        )
    return 1 + load / (2 * (1 - load))


def under_load(cloud: Costs, load: float) -> Costs:
    """The cloud's costs with the mean waiting in them; the very same at load 0.

    Provenance keeps the load, the factor, and the service time of the whole network, as "service_s". CostError: no
    load, or costs that have one in them already.
    """
    factor = waiting_factor(load)
    if load == 0:
        return cloud
    if LOAD in cloud.provenance:
        raise CostError(
            f"the costs of '{cloud.target}' have a load of {cloud.provenance[LOAD]} in them already; leave "
            "--cloud-load out, or give costs without it"
        )
    service_s = math.fsum(cloud.layer_s.values())
    busy = with_seconds(cloud, {name: seconds * factor for name, seconds in cloud.layer_s.items()})
    said = {"load": load, "factor": factor, "service_s": service_s}
    return replace(busy, per_crossing_element_s=cloud.per_crossing_element_s * factor,
                   provenance={**busy.provenance, LOAD: said})  # fmt: skip


def without_load(cloud: Costs) -> Costs:
    """The costs that `under_load` was given, to rounding; costs that it did not make as they are."""
    found: dict[str, Any] | None = cloud.provenance.get(LOAD)
    if found is None:
        return cloud
    idle = with_seconds(cloud, {name: seconds / found["factor"] for name, seconds in cloud.layer_s.items()})
    return replace(idle, per_crossing_element_s=cloud.per_crossing_element_s / found["factor"],
                   provenance={name: value for name, value in idle.provenance.items() if name != LOAD})  # fmt: skip
