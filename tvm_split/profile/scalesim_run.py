"""Cycles of a layer from SCALE-Sim itself, the simulator that the Auto-Split paper names (PyPI: scalesim, MIT).

    pip install 'tvm-split[systolic]'

`simulate(shape, array)` builds the layer's operands and the demands of each cycle with the simulator's classes, and
answers with what its COMPUTE_REPORT calls "Total Cycles". With `memory=True` its memory model follows every address:
minutes a layer, and what it adds are the fetches, as its array waits for none (mode CALC). Without, the cycles are
those in which the array demands something, which is the same figure.

What the simulator takes is a convolution of one image without padding, dilation or groups. So one group is run, and
counts `groups` times; padding is part of the input; a dilated window has its inputs side by side; a matmul is a 1x1
convolution of a column of pixels (`read_shapes` has the whole list). Nothing is written but the answer, once, into the
cache folder.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tvm_split.errors import CostError
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.profile.systolic import compute_cycles
from tvm_split.targets.systolic import SystolicArray
from tvm_split.zoo.cache import kept

INSTALL = "pip install 'tvm-split[systolic]', or use --costs systolic, which needs no simulator"
#: where the simulator puts inputs, weights and results; any will do that are apart
OFFSETS = (0, 10_000_000, 20_000_000)
#: its tables of demands have a line a cycle and 8 bytes a row and twice a column, and are copied once
BYTES_OF_DEMAND, MOST_BYTES = 16, 4 * 2**30


@dataclass(frozen=True, slots=True)
class Simulated:
    """One group of a layer. cycles, stalls: "Total Cycles" and "Stall Cycles" of COMPUTE_REPORT.

    inputs, weights, results: elements fetched and written off-chip, None where memory was not simulated. seconds: that
    the simulator took.
    """

    cycles: int
    stalls: int
    seconds: float
    inputs: int | None = None
    weights: int | None = None
    results: int | None = None


def simulated_cycles(shape: LayerShape, array: SystolicArray) -> int:
    """Compute cycles of all groups of the layer, from the cache folder if they were simulated before.

    One more a group than is reported, which is the number of the last cycle, counted from 0.
    CostError: scalesim is not installed, or the layer is larger than it can hold.
    """
    return shape.groups * (cached(shape, array).cycles + 1)


def cached(shape: LayerShape, array: SystolicArray, memory: bool = False) -> Simulated:
    """As `simulate`; kept by shape, array and version of the simulator. ModelError when a kept file was changed."""
    one = replace(shape, groups=1)
    path = kept(_name(one, array, memory), lambda made: _write(made, one, array, memory))
    return Simulated(**json.loads(path.read_text(encoding="utf-8")))


def simulate(shape: LayerShape, array: SystolicArray, memory: bool = False) -> Simulated:
    """Run one group of the layer. CostError as `simulated_cycles`.

    Time and memory grow with the cycles: seconds for a million, four minutes with `memory`.
    """
    _check_size(shape, array)  # before the operands are built, which are as large
    began = time.monotonic()
    sim, stall_free = _prepared(replace(shape, groups=1), array), _StallFree()
    if not memory:
        sim.set_memory_system(stall_free)
        sim.run()
        return Simulated(stall_free.cycles, 0, time.monotonic() - began)
    # numpy 2.4 converts no array of one element to a number, which the simulator does with this one's last cycle
    buffer = sim.memory_system.ofmap_buf
    service = buffer.service_writes
    buffer.service_writes = lambda **requests: service(**requests)[:, 0]
    sim.run()
    _, cycles, stalls, *_ = sim.get_compute_report_items()
    fetched = sim.get_detail_report_items()
    seconds = time.monotonic() - began
    return Simulated(int(cycles), int(stalls), seconds, int(fetched[11]), int(fetched[14]), int(fetched[17]))


class _StallFree:
    """A memory system, as the simulator calls one, that has everything at once."""

    cycles = 0

    def service_memory_requests(self, inputs: Any, weights: Any, results: Any) -> None:
        lines = len(results)
        if not len(inputs) == len(weights) == lines:
            raise CostError(f"scalesim demands {len(inputs)}, {len(weights)} and {lines} cycles of one layer")
        self.cycles = lines - 1  # as its own memory counts: the number of the last cycle, from 0


def _prepared(shape: LayerShape, array: SystolicArray) -> Any:
    """The simulator's object for one layer, ready to run."""
    parts = _modules()
    config = parts["scale_config"].scale_config()
    memories = (array.ifmap_kib, array.filter_kib, array.ofmap_kib)
    config.update_from_list(["tvm-split", array.rows, array.cols, *memories, *OFFSETS, array.dataflow, "CALC", [], ""])
    topology = parts["topology_utils"].topologies()
    geometry = [
        shape.height, shape.width, shape.kernel_height, shape.kernel_width, shape.channels, shape.filters,
        shape.stride_height, shape.stride_width,
    ]  # fmt: skip
    dense = [1, 1]
    topology.load_layer_params_from_list("layer", ["layer", *geometry, *dense])
    sim = parts["single_layer_sim"].single_layer_sim()
    sim.set_params(0, config, topology, parts["layout_utils"].layouts(), verbose=False)
    return sim


def _modules() -> Mapping[str, Any]:
    """The simulator's modules; CostError that says how to install it."""
    names = ("scale_config", "topology_utils", "layout_utils", "single_layer_sim")
    try:
        return {name: importlib.import_module(f"scalesim.{name}") for name in names}
    except ImportError as error:
        raise CostError(f"the costs 'scalesim' need the simulator SCALE-Sim ({error}); {INSTALL}") from None


def _check_size(shape: LayerShape, array: SystolicArray) -> None:
    cycles = compute_cycles(replace(shape, groups=1), array)
    needed = cycles * (array.rows + 2 * array.cols) * BYTES_OF_DEMAND
    if needed > MOST_BYTES:
        raise CostError(
            f"SCALE-Sim would need about {needed / 2**30:.0f} GiB for the {cycles} cycles of a layer of {shape}; "
            f"expected at most {MOST_BYTES / 2**30:.0f}: use --costs systolic, which counts the same"
        )


def release() -> str:
    """The simulator's version; CostError that says how to install it."""
    try:
        return version("scalesim")
    except PackageNotFoundError as error:
        raise CostError(f"the costs 'scalesim' need the simulator SCALE-Sim ({error}); {INSTALL}") from None


def _name(shape: LayerShape, array: SystolicArray, memory: bool) -> str:
    """The file's name tells all that the answer depends on."""
    sizes = "-".join(map(str, list(asdict(array).values())[:-1]))  # all but the clock
    layer = "-".join(map(str, asdict(shape).values()))
    return f"scalesim-{release()}/{sizes}/{layer}{'-memory' if memory else ''}.json"


def _write(path: Path, shape: LayerShape, array: SystolicArray, memory: bool) -> None:
    path.write_text(json.dumps(asdict(simulate(shape, array, memory))) + "\n", encoding="utf-8")
