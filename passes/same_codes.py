"""Which tensors are one set of codes: what only moves or selects elements hands on the quantiser of what it reads.

No pass by itself. A pool, a reshape or a concatenation between two quantisers would quantise again what is quantised;
with one quantiser for all that it reads and makes it works on codes (qdq_moves.py).

    Given:   p = max_pool2d(a);  c = concat(p, b)
    Result:  links {"p": {a, p}, "c": {p, b, c}};  together {a, p, b, c}
"""

from __future__ import annotations

from collections.abc import Iterable

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.bindings import operator
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.qdq_moves import moves


def same_codes(mod: tvm.IRModule) -> dict[str, frozenset[str]]:
    """For each layer that only moves elements, the float32 tensors that it reads and makes, at least two."""
    names = extract.tensor_names(mod)
    types = extract.tensor_types(names)
    found = {}
    for binding, callee in layer_calls(mod):
        if only_moves(callee):
            read = [name for arg in binding.value.args for name in extract.resolve(arg, names) or ()]
            linked = frozenset(n for n in (*read, *names[binding.var]) if str(types[n].dtype) == "float32")
            if len(linked) > 1:
                found[str(callee.attrs[LAYER])] = linked
    return found


def together(links: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """The sets, those that share a tensor joined to one."""
    group: dict[str, set[str]] = {}
    for linked in links:
        merged: set[str] = set().union(linked, *(group.get(name, ()) for name in linked))
        group.update(dict.fromkeys(merged, merged))
    return [frozenset(found) for found in {id(each): each for each in group.values()}.values()]


def only_moves(function: relax.Function) -> bool:
    """Whether the layer only moves or selects elements of what it reads, or joins them."""
    values = [item.value for block in function.body.blocks for item in block.bindings]
    calls = [value for value in values if isinstance(value, relax.Call)]
    return bool(calls) and all(operator(call) == "relax.concat" or moves(call) for call in calls)
