"""Which tensors are one set of codes: what only moves or selects elements hands on the quantiser of what it reads.

No pass by itself. A pool, a reshape or a concatenation between two quantisers would quantise again what is quantised;
with one quantiser for all that it reads and makes it works on codes (qdq_moves.py).

    Given:   p = max_pool2d(a);  c = concat(p, b)
    Result:  {a, p, b, c}
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.bindings import operator
from tvm_split.passes.layering import layer_calls
from tvm_split.passes.qdq_moves import moves


def same_codes(mod: tvm.IRModule) -> list[frozenset[str]]:
    """Sets of at least two float32 tensors of a module of layers, in order of their first; no two share a tensor."""
    names = extract.tensor_names(mod)
    types = extract.tensor_types(names)
    group: dict[str, set[str]] = {}
    for binding, callee in layer_calls(mod):
        if not only_moves(callee):
            continue
        read = [name for arg in binding.value.args for name in extract.resolve(arg, names) or ()]
        linked = [name for name in (*read, *names[binding.var]) if str(types[name].dtype) == "float32"]
        merged: set[str] = set().union(linked, *(group.get(name, ()) for name in linked))
        group.update(dict.fromkeys(merged, merged))
    unique = {id(found): frozenset(found) for name in types if (found := group.get(name))}
    return [found for found in unique.values() if len(found) > 1]


def only_moves(function: relax.Function) -> bool:
    """Whether the layer only moves or selects elements of what it reads, or joins them."""
    values = [item.value for block in function.body.blocks for item in block.bindings]
    calls = [value for value in values if isinstance(value, relax.Call)]
    return bool(calls) and all(operator(call) == "relax.concat" or moves(call) for call in calls)
