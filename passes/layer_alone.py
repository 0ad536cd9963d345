"""One layer of a network as a network of its own: to run it with other weights without compiling the others again.

No pass by itself.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.errors import GraphError
from tvm_split.passes.layering import LAYER, layer_calls


def layer_alone(mod: tvm.IRModule, name: str) -> tvm.IRModule:
    """A module of layers with that layer only. Its inputs are what the layer reads, under the tensors' names.

    GraphError: there is no such layer, or it reads a tuple.
    """
    names = extract.tensor_names(mod)
    for binding, callee in layer_calls(mod):
        if str(callee.attrs[LAYER]) != name:
            continue
        read = [extract.resolve(arg, names) or () for arg in binding.value.args]
        if any(len(tensors) != 1 for tensors in read):
            raise GraphError(f"layer '{name}' reads a tuple; only one that reads tensors can be alone")
        params = [relax.Var(tensor, param.ty) for (tensor,), param in zip(read, callee.params, strict=True)]
        builder = relax.BlockBuilder()
        with builder.function("main", params):
            with builder.dataflow():
                function = builder.add_func(callee, binding.value.op.name_hint)
                out = builder.emit_output(relax.Call(function, params))
            builder.emit_func_output(out)
        return builder.get()
    raise GraphError(f"the network has no layer '{name}'")
