"""Make layers: a convolution or matmul with its bias, residual add and activation; or one other operator.

    Given:   c = conv2d(x, w);  b = add(c, bias);  r = clip(b, 0, 6);  y = max_pool2d(r)
    Result:  r = conv2d_bias_relu6(x);             y = max_pool2d(x)        (two composite functions)

Every operator of `main` ends in exactly one composite function, which holds its weights as constants. Only the last
value of a group is read outside it, so no group can depend on itself. A residual add joins the later of its two
producers. Activations spelled as several operators (x * sigmoid(x), x * clip(x + 3, 0, 6) / 6, GELU by erf) stay
together, whatever they follow. The arithmetic does not change.

Layers of a quantised network (after lower-qdq) take codes and make codes:

    Given:   c = conv2d(nn.pad(q), w) int32 ... -> p uint8;  d = dequantize(p);  e = dequantize(q)
             a = add(d, e);  r = quantize(a) uint8;  y = quantize(mean(dequantize(r)))
    Result:  r = conv2d_quantize_residual_quantize(q);  y = mean_quantize(r)

What carries codes into a layer (dequantize; the pad of a convolution of codes) is copied into every layer that reads
it; a quantize joins what it follows, as what makes a float16 does; and no layer ends in a wider tensor than the one
that it ended in before.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_split.passes.bindings import operator, same_type
from tvm_split.passes.carried import Network, is_recoding, same_shape
from tvm_split.passes.layer_kinds import kind_of
from tvm_split.passes.layering import Group, canonical, layer_calls, main_bindings, outline
from tvm_split.passes.stored_weights import is_narrowing

ANCHORS = {
    "relax.nn.conv1d": "conv1d", "relax.nn.conv2d": "conv2d", "relax.nn.conv3d": "conv3d",
    "relax.nn.conv1d_transpose": "conv1d_transpose", "relax.nn.conv2d_transpose": "conv2d_transpose",
    "relax.nn.conv3d_transpose": "conv3d_transpose", "relax.matmul": "matmul",
}  # fmt: skip

#: operators that compute each output element from the same element of their inputs
ELEMENTWISE = {
    f"relax.{name}"
    for name in (
        "add subtract multiply divide minimum maximum power floor_divide clip abs exp log sqrt rsqrt erf tanh sigmoid "
        "negative square sin cos floor ceil round sign where nn.relu nn.relu6 nn.leakyrelu nn.prelu nn.gelu "
        "nn.gelu_tanh nn.silu nn.softplus nn.selu"
    ).split()
}  # fmt: skip
#: elementwise operators to another dtype: they join layers that hold codes or their sums
CONVERSIONS = {"relax.quantize", "relax.dequantize", "relax.astype"}
MAX_EXTERNAL = 2


def _grow(start: int, network: Network, grouped: set[int]) -> tuple[int, ...]:
    """Indices of the largest group that begins at `start`, has one result, and follows the rules of the docstring."""
    bindings, readers = network.bindings, network.readers
    anchor = bindings[start].var
    anchored = operator(bindings[start].value) in ANCHORS
    members, best = [start], [start]
    external = set(network.reads(start))
    frontier = list(readers.get(anchor, ()))
    while frontier:
        index = min(frontier)
        frontier = [i for i in frontier if i != index]
        if index in members or index in grouped:
            continue
        if not _joins(index, start, members, network):
            continue
        var = bindings[index].var
        inside = {bindings[i].var for i in members}
        outside = [v for v in network.reads(index) if v not in inside]
        if anchored:
            # one residual: an add of a tensor of the same shape that is no part of the group
            if outside and (not _adds_alike(bindings[index])):
                continue
            if outside and any(_residual(i, inside, network) for i in members):
                continue
        elif len(external.union(outside)) > MAX_EXTERNAL:
            continue
        members.append(index)
        external.update(outside)
        frontier.extend(readers.get(var, ()))
        inside.add(var)
        leaving = [v for v in inside if v in network.escapes or any(r not in members for r in readers.get(v, ()))]
        if leaving == [var] and _bits(var) <= _bits(bindings[best[-1]].var):
            best = list(members)
    return tuple(sorted(best))


def _joins(index: int, start: int, members: list[int], network: Network) -> bool:
    """Whether what the binding computes may stand in one layer with the members."""
    binding, anchor = network.bindings[index], network.bindings[start].var
    name, codes = operator(binding.value), any(network.holds_codes(i) for i in members)
    if name == "relax.quantize" or is_narrowing(binding.value) or (codes and name in ELEMENTWISE.union(CONVERSIONS)):
        return same_shape(binding.var, anchor)
    return name in ELEMENTWISE and same_type(binding.var, anchor)


def _adds_alike(binding: relax.VarBinding) -> bool:
    """Whether it adds two tensors of its own type."""
    args = binding.value.args
    return operator(binding.value) == "relax.add" and all(same_type(arg, binding.var) for arg in args)


def _residual(index: int, inside: set[relax.Var], network: Network) -> bool:
    is_add = operator(network.bindings[index].value) == "relax.add"
    return is_add and any(v not in inside for v in network.reads(index))


def _bits(var: relax.Var) -> int:
    return int(str(var.ty.dtype).lstrip("abcdefghijklmnopqrstuvwxyz") or 8)


def _with_quantize(index: int, network: Network) -> tuple[int, ...]:
    """The operator and the quantize, or the clip and what makes float16, that alone read its result."""
    reader = _only_reader(index, network)
    if reader is None:
        return (index,)
    if operator(network.bindings[reader].value) == "relax.quantize":
        return index, reader
    after = _only_reader(reader, network) if operator(network.bindings[reader].value) == "relax.clip" else None
    return (index, reader, after) if after is not None and is_narrowing(network.bindings[after].value) else (index,)


def _only_reader(index: int, network: Network) -> int | None:
    var = network.bindings[index].var
    readers = network.readers.get(var, [])
    return readers[0] if len(readers) == 1 and var not in network.escapes else None


@tvm.transform.module_pass(opt_level=0, name="FuseActivation")
class FuseActivation:
    """Group `main` into layers. A module that has layers already keeps them; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        mod = canonical(mod)
        function, bindings = main_bindings(mod)
        done = {binding.var for binding, _ in layer_calls(mod)}
        network = Network(function, bindings, done)
        own = [i for i, binding in enumerate(bindings) if binding.var not in done and network.is_own(i)]
        own = [i for i in own if isinstance(bindings[i].value, relax.Call)]
        groups: dict[int, tuple[int, ...]] = {}  # by where they start
        grouped: set[int] = {i for i, binding in enumerate(bindings) if binding.var in done}

        def add(start: int, indices: tuple[int, ...]) -> None:
            groups[start] = indices
            grouped.update(indices)

        for start in (i for i in reversed(own) if operator(bindings[i].value) in ANCHORS):
            add(start, _grow(start, network, grouped))
        for start in own:  # before what is elementwise, which would begin with the quantize after it
            if operator(bindings[start].value) not in {*ANCHORS, *ELEMENTWISE, *CONVERSIONS}:
                add(start, _with_quantize(start, network))
        for start in own:  # a cast from another dtype, likewise: what it makes would be a float tensor of its own
            if start not in grouped and operator(bindings[start].value) == "relax.astype":
                indices = _with_quantize(start, network)
                if len(indices) > 1 and not grouped.intersection(indices):
                    add(start, indices)
        for start in own:
            if start not in grouped and _starts(bindings[start].value):
                add(start, _grow(start, network, grouped))
        for start in own:
            if start not in grouped:
                add(start, (start,))
        made = []
        for start, indices in sorted(groups.items(), key=lambda item: item[1][-1]):
            members = network.joined(indices)
            made.append(Group(bindings[start].var.name, kind_of(members), members))
        return outline(mod, made)


def _starts(value: relax.Call) -> bool:
    """Whether a layer without a convolution or product may begin with the call and grow."""
    name = operator(value)
    return (
        name in ELEMENTWISE
        or name in ("relax.quantize", "relax.dequantize")
        or (name == "relax.astype" and is_recoding(value))
    )
