"""Write the cuts worth considering on `main`, for planners outside this project and for people who read the IR.

    Given:   main: a -> b -> c
    Result:  main, with tvm_split.cuts = [{"after": "a", "edge_layers": 1, "crossing": ["a"], "elements": 64}, ...]

A candidate is a prefix of the layers' order, as in Auto-Split (KDD 2021, Fig. 4): the tensors that cross are all those
that a later layer reads, skip connections included. `max_elements` drops candidates that send more elements than that;
the default is what the network's inputs have (eq. 6: T_n <= T_0 at equal width). Nothing is computed differently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tvm

from tvm_split import extract
from tvm_split.graph import Graph

CUTS = "tvm_split.cuts"


@tvm.transform.module_pass(opt_level=0, name="AnnotateCuts")
@dataclass
class AnnotateCuts:
    """Set `tvm_split.cuts` (JSON text) on `main`. `max_elements`: None compares with the inputs; 0 keeps all."""

    max_elements: int | None = None

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        network = extract.graph(mod)
        limit = self.max_elements
        if limit is None:
            limit = sum(network.tensor[name].elements for name in network.inputs)
        out = mod.clone()
        cuts = [cut for cut in prefixes(network) if not limit or cut["elements"] <= limit]
        out["main"] = mod["main"].with_attr(CUTS, json.dumps(cuts))
        return out


def prefixes(network: Graph) -> list[dict[str, Any]]:
    """Every proper prefix with the tensors that cross it. O(layers + reads + total crossings)."""
    last = {name: network.position(readers[-1]) for name, readers in network.readers.items() if readers}
    live = {name: None for name in network.inputs if name in last}
    cuts: list[dict[str, Any]] = []
    for i, layer in enumerate(network.layers[:-1]):
        live.update(dict.fromkeys(name for name in layer.outputs if name in last))
        live = {name: None for name in live if last[name] > i}
        cuts.append({
            "after": layer.name, "edge_layers": i + 1, "crossing": list(live),
            "elements": sum(network.tensor[name].elements for name in live),
        })  # fmt: skip
    return cuts
