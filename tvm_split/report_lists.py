"""The tables behind `tvm-split targets | links | planners | passes | zoo`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.table import Table

from tvm_split.report import table
from tvm_split.units import rate, seconds, size

if TYPE_CHECKING:
    from tvm_split.graph import Graph, Tensor
    from tvm_split.plan.problem import Link
    from tvm_split.targets import TargetSpec
    from tvm_split.zoo import Entry

NO_BITS: Mapping[str, int] = MappingProxyType({})


def targets_table(specs: Sequence[TargetSpec]) -> Table:
    rows = [
        (
            spec.name, spec.description, spec.kind, spec.arch, str(spec.cores),
            "unknown" if spec.memory_bytes is None else size(spec.memory_bytes),
            f"{spec.peak_flops_per_s / 1e9:,.0f}",
        )
        for spec in specs
    ]  # fmt: skip
    return table("", ("target", "what it is", "side", "architecture", "cores", "memory", "peak GFLOP/s"), rows, left=4)


#: printed below `targets_table`
PEAKS = (
    "Peaks are computed as cores x clock x operations a cycle. A virtual machine names its base clock, so host may "
    "reach more there: `tvm-split bench` measures it."
)


def links_table(links: Sequence[Link]) -> Table:
    rows = [(link.name, rate(link.up_bytes_per_s), rate(link.down_bytes_per_s), seconds(link.rtt_s), _watts(link.up_w),
             _watts(link.down_w)) for link in links]  # fmt: skip
    return table("", ("link", "up", "down", "round trip", "radio, sending", "radio, receiving"), rows)


def _watts(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} W"


def planners_table() -> Table:
    from tvm_split.plan import PLANNERS

    rows = []
    for name, planner in sorted(PLANNERS.items()):
        module = inspect.getmodule(planner)
        rows.append((name, first_sentence((module and module.__doc__) or planner.__doc__ or "")))
    return table("", ("planner", "how it searches"), rows, left=2)


def passes_table() -> Table:
    from tvm_split.passes import PASSES

    rows = [(name, f"tvm_split.passes.{name.replace('-', '_')}.{PASSES[name]}", pass_summary(name)) for name in PASSES]
    return table("", ("pass", "class", "what it does"), rows, left=3)


def layers_table(graph: Graph, bits: Mapping[str, int] = NO_BITS) -> Table:
    """One row a layer, in order: what --pin and --bits may name, and the bits that --bits gives to it or to what it
    makes; above them a row for each network input that is given any."""
    rows = [
        (name, "input", _made([graph.tensor[name]]), size(graph.tensor[name].size_bytes), "", "", str(bits[name]))
        for name in graph.inputs
        if name in bits
    ]
    for layer in graph.layers:
        made = [graph.tensor[name] for name in layer.outputs]
        sent = sum(tensor.size_bytes for tensor in made)
        given = {bits[name] for name in (layer.name, *layer.outputs) if name in bits}
        chosen = ", ".join(map(str, sorted(given)))
        numbers = (size(sent), size(layer.weight_bytes), f"{layer.flops / 1e6:,.3g}", chosen)
        rows.append((layer.name, layer.op, _made(made), *numbers))
    columns = ("layer", "operators", "output", "bytes", "weights", "MFLOP", "--bits")
    count = len(columns) if bits else len(columns) - 1
    return table(graph.name, columns[:count], [row[:count] for row in rows], left=3)


def _made(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}" for tensor in tensors)


def pass_summary(name: str) -> str:
    """The first sentence of the pass's file, read without importing it: its import would bring in TVM."""
    spec = importlib.util.find_spec(f"tvm_split.passes.{name.replace('-', '_')}")
    if spec is None or spec.origin is None:
        raise ImportError(f"pass '{name}' has no file passes/{name.replace('-', '_')}.py")
    return first_sentence(ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "")


def first_sentence(text: str) -> str:
    """The first paragraph up to its first full stop, on one line."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".")


def zoo_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in entry.inputs.items())
        rows.append(
            (f"zoo:{entry.name}", entry.description, shapes, entry.preprocess or "none", entry.package, entry.licence)
        )
    return table("", ("model", "what it is", "input", "--preprocess", "package", "licence"), rows, left=6)
