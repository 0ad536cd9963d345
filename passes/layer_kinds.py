"""What a layer is called: conv2d_bias_add_relu6, conv2d_bias_quantize. No pass by itself."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax

from tvm_split.passes.bindings import operator, scalar
from tvm_split.passes.idioms import LONGEST, LONGEST_INTEGER, idiom, integer_idiom
from tvm_split.passes.layering import free_vars, is_constant
from tvm_split.passes.stored_weights import is_narrowing, is_widening, stored_weights

MOST_WORDS = 6


def kind_of(bindings: Sequence[relax.VarBinding]) -> str:
    """A layer's kind, e.g. conv2d_bias_add_relu6; at most six parts, so that names stay readable.

    An activation of several operators has one name (idioms.py); what only resembles one keeps its operators' names, so
    a squeeze-excite gate is a sigmoid_multiply. What brings a tensor in, a dequantize of codes from outside or the pad
    of a convolution of codes, has no name of its own, nor has a dequantize between two operators.
    """
    named, inner = _named(bindings)
    words = [_word(i, binding.value, inner) for i, binding in enumerate(named)]
    i = 0
    while i < len(words):
        for length in range(min(LONGEST_INTEGER, len(words) - i), 1, -1):
            run = named[i : i + length]
            name = integer_idiom(run) or (idiom(run) if length <= LONGEST else None)
            if name:
                words[i : i + length] = [name]
                named = [*named[:i], *named[i + length - 1 :]]
                break
        i += 1
    return "_".join(words if len(words) <= MOST_WORDS else [*words[: MOST_WORDS - 1], "etc"])


def _named(bindings: Sequence[relax.VarBinding]) -> tuple[list[relax.VarBinding], set[relax.Var]]:
    """The bindings that have a name, and the variables that hold what the layer computes."""
    named: list[relax.VarBinding] = []
    inner: set[relax.Var] = set()
    for i, binding in enumerate(bindings):
        name, later = operator(binding.value), bindings[i + 1 :]
        read = free_vars(binding.value)
        outside = not inner.intersection(read)
        pads = name == "relax.nn.pad" and any(operator(each.value).startswith("relax.nn.conv") for each in later)
        if later and (pads or name == "relax.dequantize" or _widens(binding.value)):
            if not outside:
                inner.add(binding.var)
            continue
        named.append(binding)
        inner.add(binding.var)
    return named, inner


def _widens(value: relax.Expr) -> bool:
    return is_widening(value) or stored_weights(value) is not None


def _word(i: int, value: relax.Expr, inner: set[relax.Var]) -> str:
    word = "half" if is_narrowing(value) else word_of(value)
    if word == "add" and i and any(is_constant(arg) and arg.value.numpy().size > 1 for arg in value.args):
        return "bias"
    if word == "clip" and [scalar(arg) for arg in value.args[1:]] == [0.0, 6.0]:
        return "relu6"
    if word == "leakyrelu":
        return "leaky_relu"
    if word == "add" and i and all(isinstance(arg, relax.Var) for arg in value.args):
        return "residual" if any(arg not in inner for arg in value.args) else "add"
    return word


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
