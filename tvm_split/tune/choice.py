"""Which kernels of a network are worth tuning."""

from __future__ import annotations

from collections.abc import Iterable

from tvm_split.tune.kernels import Kernel
from tvm_split.tune.lab import Cost


def costliest(
    kernels: Iterable[Kernel], costs: Iterable[Cost], layers: int | None, share: float
) -> tuple[list[tuple[Kernel, Cost]], float]:
    """The kernels to tune, costliest first, by what all their calls take; and what all kernels take, in seconds.

    `layers` of them, or else as many as it takes to `share` of that time. One that cannot vary is passed over.
    """
    order = sorted(zip(kernels, costs, strict=True), key=lambda pair: -pair[1].seconds * len(pair[0].layers))
    total = sum(cost.seconds * len(kernel.layers) for kernel, cost in order)
    if layers is not None:
        return [pair for pair in order if pair[1].points][:layers], total
    chosen, covered = [], 0.0
    for kernel, cost in order:
        if covered >= share * total:
            break
        covered += cost.seconds * len(kernel.layers)
        if cost.points:
            chosen.append((kernel, cost))
    return chosen, total
