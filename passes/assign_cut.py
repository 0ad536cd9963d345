"""Say of each layer on which side it runs.

    Given:   layers a -> b -> c
    Result:  a: tvm_split.side = "edge";  b, c: tvm_split.side = "cloud"       (for edge_layers = {"a"})
             main: tvm_split.result_at = "cloud"                               (for result_at = "cloud" only)

Deciding is apart from doing: this only writes attributes; quantize-cut, pack-cut and partition read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import tvm

from tvm_split import extract
from tvm_split.errors import GraphError
from tvm_split.passes.layering import LAYER, RESULT_AT, SIDE, layer_calls, result_at


@tvm.transform.module_pass(opt_level=0, name="AssignCut")
@dataclass
class AssignCut:
    """Put the layers named on the edge and all others in the cloud, and want the network's outputs at `result_at`.

    At the edge, outputs made there stay there. At the cloud, they cross as well, at full width. GraphError when the
    layers are no downward-closed set, or `result_at` is neither "edge" nor "cloud".
    """

    edge_layers: Iterable[str]
    result_at: str = "edge"

    def __post_init__(self) -> None:
        if self.result_at not in ("edge", "cloud"):
            raise GraphError(f"result_at is '{self.result_at}'; the outputs are wanted at 'edge' or at 'cloud'")
        self.edge_layers = frozenset(self.edge_layers)  # a generator would serve one module only

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        chosen = extract.graph(mod).check_cut(self.edge_layers)
        out = mod.clone()
        for binding, callee in layer_calls(mod):
            side = "edge" if str(callee.attrs[LAYER]) in chosen else "cloud"
            out.update_func(binding.value.op, callee.with_attr(SIDE, side))
        if self.result_at != result_at(mod):
            main = mod["main"]
            cloud = self.result_at == "cloud"
            out["main"] = main.with_attr(RESULT_AT, "cloud") if cloud else main.without_attr(RESULT_AT)
        return out
