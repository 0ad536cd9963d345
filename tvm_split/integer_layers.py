"""What layers take once they are computed on integers: their constants and their scratch, as compiled for a target.

Kernels of integers store what float kernels do not: offsets and scales of the channels, tables, codes laid out for dot
products. Of that the plan must know before anything is chosen. So the whole network is brought to 8 bits and lowered
once, layer by layer; how fine its quantisers are changes no size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import tvm

from tvm_split import explain, pipeline
from tvm_split.graph import Graph
from tvm_split.layer_kernels import Kernel, lower_layers
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.plan.precision import IntegerLayer
from tvm_split.progress import Progress, quiet
from tvm_split.scratch import workspace_bytes

if TYPE_CHECKING:
    from tvm_split.quantizer import Quantizer


def integer_layers(
    mod: tvm.IRModule, graph: Graph, weights: Mapping[str, int], held: Mapping[str, Quantizer],
    target: tvm.target.Target, progress: Progress = quiet,
) -> dict[str, IntegerLayer]:  # fmt: skip
    """By layer of the module; of one kernel each, others are left out. BuildError names what TVM cannot lower.

    weights: layer -> bits, held: the quantiser of each tensor, of all that may be quantised.
    """
    steps = [AnnotatePrecision(weights, held), pipeline.quantized()]
    with explain.heard():  # what the passes have to say, they say of the half
        lowered = lower_layers(tvm.transform.Sequential(steps)(mod), target, progress=progress)
    scratch = workspace_bytes(lowered.library(), target)
    found = {}
    for name, program in lowered.programs.items():
        kernel = program.kernel
        if name in graph.layer:
            codes, other = _constants(kernel)
            found[name] = IntegerLayer(codes, other, scratch[kernel.symbol])
    return found


def _constants(kernel: Kernel) -> tuple[int, int]:
    """Bytes of the weights' codes, the constant of most bytes, and of all other constants."""
    sizes = sorted(
        math.prod(int(extent) for extent in read.shape) * tvm.DataType(read.dtype).itemsize
        for read in kernel.reads
        if not isinstance(read, int)
    )
    return (sizes[-1], sum(sizes[:-1])) if sizes else (0, 0)
