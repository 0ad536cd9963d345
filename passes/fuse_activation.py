"""Make layers: a convolution or matmul with its bias, residual add and activation; or one other operator.

    Given:   c = conv2d(x, w);  b = add(c, bias);  r = clip(b, 0, 6);  y = max_pool2d(r)
    Result:  r = conv2d_bias_relu6(x);             y = max_pool2d(x)        (two composite functions)

Every operator of `main` ends in exactly one composite function, which holds its weights as constants. Only the last
value of a group is read outside it, so no group can depend on itself. A residual add joins the later of its two
producers. Activations spelled as several operators (x * sigmoid(x), x * clip(x + 3, 0, 6) / 6, GELU by erf) stay
together, whatever they follow. The arithmetic does not change.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_split.passes.bindings import operator, same_type, scalar
from tvm_split.passes.idioms import LONGEST, idiom
from tvm_split.passes.layering import Group, canonical, free_vars, is_constant, layer_calls, main_bindings, outline

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
MAX_EXTERNAL = 2


def word_of(value: relax.Expr) -> str:
    """The operator's short name: conv2d, add; the name of the function for a call to one, a PrimFunc or another."""
    if isinstance(value, relax.Call):
        if isinstance(value.op, tvm.ir.Op):
            if value.op.name == "relax.call_tir":
                return str(value.args[0].name_hint).rstrip("0123456789")
            return str(value.op.name).removeprefix("relax.").removeprefix("nn.").replace(".", "_")
        if isinstance(value.op, relax.ExternFunc):
            return str(value.op.global_symbol)
        if isinstance(value.op, relax.GlobalVar):
            return str(value.op.name_hint)
    return type(value).__name__.lower()


def _is_relu6(value: relax.Call) -> bool:
    return operator(value) == "relax.clip" and [scalar(arg) for arg in value.args[1:]] == [0.0, 6.0]


def kind_of(bindings: tuple[relax.VarBinding, ...]) -> str:
    """A layer's kind, e.g. conv2d_bias_add_relu6; at most six parts, so that names stay readable.

    An activation of several operators has one name (idioms.py); what only resembles one keeps its operators' names, so
    a squeeze-excite gate is a sigmoid_multiply.
    """
    inner = {binding.var for binding in bindings}
    words = []
    for i, binding in enumerate(bindings):
        value = binding.value
        word = word_of(value)
        if word == "add" and i and any(is_constant(arg) and arg.value.numpy().size > 1 for arg in value.args):
            word = "bias"
        elif word == "clip" and _is_relu6(value):
            word = "relu6"
        elif word == "leakyrelu":
            word = "leaky_relu"
        elif word == "add" and i and all(isinstance(arg, relax.Var) for arg in value.args):
            word = "residual" if any(arg not in inner for arg in value.args) else "add"
        words.append(word)
    i = 0
    while i < len(words):
        for length in range(min(LONGEST, len(words) - i), 1, -1):
            name = idiom(bindings[i : i + length])
            if name:
                words[i : i + length] = [name]
                bindings = (*bindings[:i], *bindings[i + length - 1 :])
                break
        i += 1
    return "_".join(words if len(words) <= 6 else [*words[:5], "etc"])


def _grow(
    start: int, bindings: list[relax.VarBinding], readers: dict[relax.Var, list[int]], escapes: set[relax.Var],
    grouped: set[int],
) -> tuple[int, ...]:  # fmt: skip
    """Indices of the largest group that begins at `start`, has one result, and follows the rules of the docstring."""
    anchor = bindings[start].var
    anchored = operator(bindings[start].value) in ANCHORS
    members, best = [start], [start]
    external = set(free_vars(bindings[start].value))
    frontier = list(readers.get(anchor, ()))
    while frontier:
        index = min(frontier)
        frontier = [i for i in frontier if i != index]
        if index in members or index in grouped:
            continue
        binding = bindings[index]
        if operator(binding.value) not in ELEMENTWISE or not same_type(binding.var, anchor):
            continue
        inside = {bindings[i].var for i in members}
        outside = [v for v in free_vars(binding.value) if v not in inside]
        if anchored:
            added = outside
            # one residual: an add of a tensor of the same shape that is no part of the group
            if added and (operator(binding.value) != "relax.add" or not all(same_type(v, anchor) for v in added)):
                continue
            if added and any(_residual(bindings[i], inside) for i in members):
                continue
        elif len(external.union(outside)) > MAX_EXTERNAL:
            continue
        members.append(index)
        external.update(outside)
        frontier.extend(readers.get(binding.var, ()))
        inside.add(binding.var)
        leaving = [v for v in inside if v in escapes or any(r not in members for r in readers.get(v, ()))]
        if leaving == [binding.var]:
            best = list(members)
    return tuple(sorted(best))


def _residual(binding: relax.VarBinding, inside: set[relax.Var]) -> bool:
    return operator(binding.value) == "relax.add" and any(v not in inside for v in free_vars(binding.value))


@tvm.transform.module_pass(opt_level=0, name="FuseActivation")
class FuseActivation:
    """Group `main` into layers. A module that has layers already keeps them; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        mod = canonical(mod)
        function, bindings = main_bindings(mod)
        done = {binding.var for binding, _ in layer_calls(mod)}
        readers: dict[relax.Var, list[int]] = {}
        for i, binding in enumerate(bindings):
            for var in free_vars(binding.value):
                readers.setdefault(var, []).append(i)
        escapes = set(free_vars(function.body.body))
        grouped: set[int] = {i for i, binding in enumerate(bindings) if binding.var in done}
        chosen: list[tuple[int, tuple[int, ...]]] = []
        convolutions = [i for i in reversed(range(len(bindings))) if operator(bindings[i].value) in ANCHORS]
        others = [i for i in range(len(bindings)) if operator(bindings[i].value) in ELEMENTWISE]
        for start in (*convolutions, *others):
            if start in grouped:
                continue
            indices = _grow(start, bindings, readers, escapes, grouped)
            grouped.update(indices)
            chosen.append((start, indices))
        for i, binding in enumerate(bindings):
            if i not in grouped and isinstance(binding.value, relax.Call):
                chosen.append((i, (i,)))
        groups = []
        for start, indices in sorted(chosen, key=lambda item: item[1][-1]):
            members = tuple(bindings[i] for i in indices)
            groups.append(Group(bindings[start].var.name, kind_of(members), members))
        return outline(mod, groups)
