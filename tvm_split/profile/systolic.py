"""Cycles of a systolic array in closed form, and what it fetches: what SCALE-Sim simulates, without running it.

A layer is a product of matrices, (positions x window) times (window x filters) (`LayerShape`). What stays is cut into
folds of the array's size, rows by cols; each fold fills the array, streams the third dimension through it and drains:

    dataflow       over the rows   over the cols   streamed    cycles of a fold
    ws (weights)   window          filters         positions   rows + (positions + rows + cols - 2)
    os (outputs)   positions       filters         window      window + rows + cols - 2
    is (inputs)    window          positions       filters     rows + (filters + rows + cols - 2)

    cycles = groups * ceil(over rows / rows) * ceil(over cols / cols) * cycles of a fold

Folds do not overlap, and one that is not full takes as long as any other. SCALE-Sim 3.0.0 reports the same as "Total
Cycles" of its COMPUTE_REPORT, less one: the number of the last cycle, counted from 0. There no fetch makes the array
wait, so its "Stall Cycles" are 0: in its mode CALC the bandwidth follows from the demand. (Its mode USER has one that
the user gives, but counts a late fetch twice.) "Total Cycles (incl. prefetch)" adds the first fetch, at ten words a
cycle whatever the chip. The costs have the wait in their own way: `traffic` is what must be fetched and written, and

    seconds = max(ceil(bits / 8) * cycles / clock, traffic * bits / 8 / memory bandwidth) + layer overhead

Counted in the traffic, for loops that take every fold of the rows before the next of the cols, half of each memory for
what is used (the other half is being filled): an operand that fits is fetched once, else as often as it is needed
again; sums of unfinished results that do not fit leave and come back. SCALE-Sim's fetches ("DRAM Reads") are the same
for all shapes of ResNet-50 on the TPU, and for those simulated on Eyeriss (benchmarks/systolic.py --memory); with
memories of 4 KiB they are within half as much more or less (tests/profile/test_scalesim.py). Its array writes the sums
of every fold, and reads none back.

Not counted: the first fetch, which nothing overlaps; conflicts of memory banks and latencies of DRAM; what bias,
residual add and activation take beyond reading their tensors. Layers that multiply nothing take the time in which they
are read, as in `mac_array`. Widths below 8 bits save traffic, and no cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from tvm_split.costs import Costs
from tvm_split.errors import CostError
from tvm_split.graph import DTYPE_BITS, Graph, Layer
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.targets.spec import TargetSpec
from tvm_split.targets.systolic import SystolicArray

#: bits that one pass of an array multiplies
PASS_BITS = 8
#: bits of what the layers compute with where nothing is quantised
FLOAT_BITS = 32

Cycles = Callable[[LayerShape, SystolicArray], int]


@dataclass(frozen=True, slots=True)
class Folds:
    """rows, cols: numbers of folds. cycles: of one fold."""

    rows: int
    cols: int
    cycles: int


def folds(shape: LayerShape, array: SystolicArray) -> Folds:
    """How one group of the layer is cut; see the file's docstring."""
    over_rows, over_cols, streamed = {
        "ws": (shape.window, shape.filters, shape.positions),
        "os": (shape.positions, shape.filters, shape.window),
        "is": (shape.window, shape.positions, shape.filters),
    }[array.dataflow]
    filling = 0 if array.dataflow == "os" else array.rows  # results build up where they are: nothing to load first
    cycles = filling + streamed + array.rows + array.cols - 2
    return Folds(-(-over_rows // array.rows), -(-over_cols // array.cols), cycles)


def compute_cycles(shape: LayerShape, array: SystolicArray) -> int:
    """Cycles of the layer when no fetch keeps the array waiting. O(1)."""
    cut = folds(shape, array)
    return shape.groups * cut.rows * cut.cols * cut.cycles


@dataclass(frozen=True, slots=True)
class Traffic:
    """Elements that all groups of a layer fetch and write: inputs, weights, and results with unfinished sums."""

    inputs: int
    weights: int
    results: int

    @property
    def elements(self) -> int:
        return self.inputs + self.weights + self.results


def traffic(shape: LayerShape, array: SystolicArray, bits: int = PASS_BITS) -> Traffic:
    """What crosses between memory and the array with elements of `bits`; see the file's docstring. O(1)."""
    held = {
        name: kib * 1024 * 8 // (2 * bits)
        for name, kib in (("ifmap", array.ifmap_kib), ("filter", array.filter_kib), ("ofmap", array.ofmap_kib))
    }
    cut = folds(shape, array)
    inputs, weights, results = shape.input_elements, shape.weights, shape.results
    fits = inputs <= held["ifmap"]
    every_window = min(shape.positions * shape.window, cut.rows * inputs)
    shared_rows = shape.kernel_height * shape.width * shape.channels  # of neighbouring windows, position by position
    by_position = inputs if shared_rows <= held["ifmap"] else every_window
    if array.dataflow == "os":
        inputs = inputs if fits else cut.cols * by_position
        weights *= 1 if shape.window * min(shape.filters, array.cols) <= held["filter"] else cut.rows
        return Traffic(shape.groups * inputs, shape.groups * weights, shape.groups * results)
    if array.dataflow == "ws":
        inputs = inputs if fits else cut.cols * every_window
        sums = shape.positions * min(shape.filters, array.cols)
    else:
        inputs = inputs if fits else by_position
        weights *= 1 if weights <= held["filter"] else cut.cols
        sums = shape.filters * min(shape.positions, array.cols)
    results *= 1 if sums <= held["ofmap"] else 2 * cut.rows - 1
    return Traffic(shape.groups * inputs, shape.groups * weights, shape.groups * results)


def array_of(spec: TargetSpec) -> SystolicArray:
    """The target's array; CostError when its file has none."""
    if spec.systolic is None:
        raise CostError(
            f"target '{spec.name}' has no table [systolic], so no array can be simulated for it; choose one that has "
            "(eyeriss, tpu), add the table to its file, or use --costs roofline"
        )
    return spec.systolic


def systolic_costs(
    graph: Graph, shapes: Mapping[str, LayerShape], spec: TargetSpec, bits: int = FLOAT_BITS,
    source: str = "systolic", cycles_of: Cycles = compute_cycles,
) -> Costs:  # fmt: skip
    """Costs of every layer on the target's array, its weights and float tensors at `bits`.

    shapes: of each layer that multiplies. Integer tensors have their dtype's width, or `bits` if that is less.
    cycles_of: what tells the compute cycles, and `source` its name. CostError as `array_of`. O(layers + reads) and a
    call of `cycles_of` a shape.
    """
    array = array_of(spec)
    cycles = {shape: cycles_of(shape, array) for shape in dict.fromkeys(shapes.values())}

    def seconds(layer: Layer) -> float:
        moved = _read_bytes(graph, layer, bits)
        shape = shapes.get(layer.name)
        if shape is None:
            return moved / spec.memory_bandwidth_bytes_per_s + spec.layer_overhead_s
        again = traffic(shape, array, bits).elements - shape.groups * shape.input_elements  # the first time is `moved`
        moved += max(0, again) * bits / 8
        computing_s = -(-bits // PASS_BITS) * cycles[shape] / array.clock_hz
        return max(computing_s, moved / spec.memory_bandwidth_bytes_per_s) + spec.layer_overhead_s

    provenance = {
        "graph": graph.name, "bits": bits, **asdict(array),
        "memory_bandwidth_bytes_per_s": spec.memory_bandwidth_bytes_per_s,
    }  # fmt: skip
    return Costs(spec.name, source, {layer.name: seconds(layer) for layer in graph.layers}, provenance)


def _read_bytes(graph: Graph, layer: Layer, bits: int) -> float:
    """Bytes of the tensors that the layer reads, each once."""
    read = (graph.tensor[name] for name in dict.fromkeys(layer.inputs))
    return sum(tensor.elements * min(bits, DTYPE_BITS[tensor.dtype]) for tensor in read) / 8
