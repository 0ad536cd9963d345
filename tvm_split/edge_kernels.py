"""What layers take once they are compiled for the edge: scratch, constants on integers. A simulated edge has none."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tvm_split.calibration.network import Calibrated
from tvm_split.graph import Graph
from tvm_split.integer_layers import integer_layers
from tvm_split.plan.precision import INTEGER_BITS, IntegerLayer
from tvm_split.progress import Progress, quiet
from tvm_split.scratch import with_scratch
from tvm_split.targets.spec import TargetSpec
from tvm_split.tvm_target import resolve

if TYPE_CHECKING:
    import tvm

log = logging.getLogger(__name__)


def with_edge_scratch(
    mod: tvm.IRModule, graph: Graph, edge: TargetSpec, progress: Progress = quiet
) -> tuple[Graph, list[str]]:
    """The graph with each layer's scratch on the edge, and what to warn of where code for it cannot be made."""
    if edge.simulated:
        return graph, []
    target = resolve(edge)
    if target.kind.name != "llvm":
        return graph, [f"'{edge.name}' is no CPU target, so the scratch memory of its kernels is not known or counted."]
    log.info("each layer as compiled for the edge, %s:", edge.name)
    return with_scratch(mod, graph, target, progress), []


def edge_integers(
    mod: tvm.IRModule, graph: Graph, edge: TargetSpec, calibrated: Calibrated, widths: Iterable[int],
    progress: Progress = quiet,
) -> dict[str, IntegerLayer]:  # fmt: skip
    """What the layers take on integers, where code for the edge can be made.

    widths: that weights may have. Below 8 bits kernels decode them into scratch.
    """
    target = None if edge.simulated else resolve(edge)
    if target is None or target.kind.name != "llvm":
        return {}
    progress("measuring what each layer takes on integers, as compiled for the edge")
    every = calibrated.everywhere(INTEGER_BITS)
    found = integer_layers(mod, graph, dict.fromkeys(calibrated.weights, INTEGER_BITS), every, target, progress)
    few = min(widths, default=INTEGER_BITS)
    if few >= INTEGER_BITS:
        return found
    packed = integer_layers(mod, graph, dict.fromkeys(calibrated.weights, few), every, target, progress)
    return {name: replace(each, packed_scratch_bytes=packed[name].scratch_bytes) for name, each in found.items()}
