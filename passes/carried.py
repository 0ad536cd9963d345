"""Who reads what in `main`, past what carries codes into layers: a view of it for fuse-activation. No pass by itself.

A dequantize, the pad of a convolution of codes, and what widens a float16 or stored weights are *carried*: every layer
that reads them computes them for itself from their codes. So the network that layers are made of has codes where
`main` has what carries them.
"""

from __future__ import annotations

from collections.abc import Collection

from tvm import relax

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.layering import free_vars, is_constant
from tvm_split.passes.stored_weights import is_widening, stored_weights

INTEGERS = ("relax.nn.conv1d", "relax.nn.conv2d", "relax.matmul")


class Network:
    """The bindings of `main`; `done` holds the variables of layers that are made already.

    `readers` maps a variable to the indices of the bindings that read it, carried ones passed over; `escapes` holds
    what the network returns. A carried binding that something else than an operator reads is also `alone`: a layer.
    """

    def __init__(self, function: relax.Function, bindings: list[relax.VarBinding], done: Collection[relax.Var]) -> None:
        self.bindings = bindings
        self.escapes = set(free_vars(function.body.body))
        self._carried = {binding.var: i for i, binding in enumerate(bindings) if _carries(binding.value)}
        self._alone = {i for var, i in self._carried.items() if var in self.escapes}
        for i, binding in enumerate(bindings):
            for var in free_vars(binding.value):
                if var in self._carried and not self._takes(i, var, done):
                    self._alone.add(self._carried[var])
        self.readers: dict[relax.Var, list[int]] = {}
        for i in range(len(bindings)):
            for var in self.reads(i) if self.is_own(i) else ():
                self.readers.setdefault(var, []).append(i)

    def _takes(self, reader: int, var: relax.Var, done: Collection[relax.Var]) -> bool:
        """Whether the reader of a carried tensor can compute it for itself."""
        value = self.bindings[reader].value
        if not isinstance(value, relax.Call) or self.bindings[reader].var in done:
            return False
        pad = operator(self.bindings[self._carried[var]].value) == "relax.nn.pad"
        return not pad or (is_integer_layer(value) and value.args[0].same_as(var))

    def is_own(self, index: int) -> bool:
        """Whether the binding is to be in a layer once, not copied alone."""
        return self.bindings[index].var not in self._carried or index in self._alone

    def copies(self, index: int) -> list[int]:
        """The carried bindings that the binding computes for itself."""
        found = [self._carried[var] for var in free_vars(self.bindings[index].value) if var in self._carried]
        return [i for i in found if self._takes(index, self.bindings[i].var, ())]

    def reads(self, index: int) -> list[relax.Var]:
        """The variables that the binding reads; in place of a carried one, what that reads."""
        value = self.bindings[index].value
        if not isinstance(value, relax.Call):
            return free_vars(value)
        taken = {self.bindings[i].var: self.bindings[i].value for i in self.copies(index)}
        read = [each for var in free_vars(value) for each in (free_vars(taken[var]) if var in taken else [var])]
        return list(dict.fromkeys(read))

    def holds_codes(self, index: int) -> bool:
        """Whether the binding takes or makes codes, or their sums."""
        value = self.bindings[index].value
        if operator(value) == "relax.astype":
            return is_recoding(value)
        carried = any(free_vars(self.bindings[i].value) for i in self.copies(index))
        return operator(value) == "relax.quantize" or is_integer_layer(value) or carried

    def joined(self, members: Collection[int]) -> tuple[relax.VarBinding, ...]:
        """The members with what each computes for itself, in order."""
        return tuple(self.bindings[i] for i in sorted({*members, *(c for i in members for c in self.copies(i))}))


def _carries(value: relax.Expr) -> bool:
    """Whether the call makes a tensor of codes, of which it keeps no more than it is given, or widens one."""
    name = operator(value)
    if stored_weights(value) is not None or is_widening(value):
        return True
    if name not in ("relax.dequantize", "relax.nn.pad") or not isinstance(value.args[0], relax.Var):
        return False
    numbers = value.args[1:] if name == "relax.dequantize" else []
    return str(value.args[0].ty.dtype) == "uint8" and all(is_constant(arg) for arg in numbers)


def is_integer_layer(value: relax.Expr) -> bool:
    return operator(value) in INTEGERS and str(value.ty.dtype) == "int32"


def is_recoding(value: relax.Call) -> bool:
    """Whether the astype begins what makes uint8 codes of int8 ones, or the other way."""
    return str(value.args[0].ty.dtype) in ("int8", "uint8") and str(value.ty.dtype) == "int16"


def same_shape(a: relax.Expr, b: relax.Expr) -> bool:
    shape = static_shape(a)
    return shape is not None and shape == static_shape(b)
