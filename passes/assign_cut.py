"""Say of each layer on which side it runs.

    Given:   layers a -> b -> c
    Result:  a: tvm_split.side = "edge";  b, c: tvm_split.side = "cloud"       (for edge_layers = {"a"})

Deciding is apart from doing: this only writes the attribute; quantize-cut, pack-cut and partition read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import tvm

from tvm_split import extract
from tvm_split.passes.layering import LAYER, SIDE, layer_calls


@tvm.transform.module_pass(opt_level=0, name="AssignCut")
@dataclass
class AssignCut:
    """Put the layers named on the edge and all others in the cloud. GraphError when that is no downward-closed set."""

    edge_layers: Iterable[str]

    def __post_init__(self) -> None:
        self.edge_layers = frozenset(self.edge_layers)  # a generator would serve one module only

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        chosen = extract.graph(mod).check_cut(self.edge_layers)
        out = mod.clone()
        for binding, callee in layer_calls(mod):
            side = "edge" if str(callee.attrs[LAYER]) in chosen else "cloud"
            out.update_func(binding.value.op, callee.with_attr(SIDE, side))
        return out
