"""Functions of one tensor of 8-bit codes that give 8-bit codes, inside a layer: a table of all 256 results.

    Given:   d = dequantize(x uint8, sx, zx);  q = quantize(sigmoid(d), 1 / 256, 0)
             y = quantize(d * dequantize(q, 1 / 256, 0), sy, zy)
    Result:  y = take(const uint8 (256,), astype(x, "int32"))

It stands after the layers are made: a layer has the same tables wherever it runs. A table holds as long a chain as
there is, from the first tensor of codes on, and is made where the chain has a function of the mathematics library or
two roundings, which cost more than a look-up.

Its codes are those of IEEE float32, one operation after the other, with functions of the library rounded from double
precision: the same on every machine. The kernels' own arithmetic differs from that by fused products and by two units
in the last place of such functions, so a code may differ by one where the value lies as close to the middle of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, constant, operator, rewrite, static_shape

ENTRIES = 256
#: the code of entry 0
LEAST = {"uint8": 0, "int8": -128}
#: what a call computes of arrays; None of numbers that mean nothing to it
Function = Callable[..., np.ndarray | None]


def _plain(function: Callable[..., np.ndarray]) -> Function:
    return lambda _call, *args: function(*args)


def _library(function: Callable[[float], float]) -> Function:
    return lambda _call, x: _rounded(function, x)


def _rounded(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.vectorize(function, otypes=["float64"])(x.astype("float64")).astype("float32")
    return made


def _exp(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.exp(x.astype("float64")).astype("float32")
    return made


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + _exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    half = np.float32(0.5)
    made: np.ndarray = x * (half + _rounded(math.erf, x * np.float32(math.sqrt(0.5))) * half)
    return made


def _quantize(call: relax.Call, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray | None:
    info = np.iinfo(str(call.attrs.out_dtype))
    codes = np.clip(np.rint(x / scale) + zero.astype("float32"), info.min, info.max)
    return None if np.isnan(codes).any() else codes.astype(info.dtype)


def _dequantize(_call: relax.Call, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    made: np.ndarray = (x.astype("int32") - zero.astype("int32")).astype("float32") * scale
    return made


def _astype(call: relax.Call, x: np.ndarray) -> np.ndarray | None:
    """None where a number is out of range: what becomes of it is the processor's."""
    dtype = np.dtype(str(call.attrs.dtype))
    if dtype.kind == "f":
        return x.astype(dtype)
    inside = dtype.kind in "iu" and bool(np.all((x >= np.iinfo(dtype).min) & (x <= np.iinfo(dtype).max)))
    return x.astype(dtype) if inside else None


def _leaky(call: relax.Call, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x * np.float32(call.attrs.alpha))


def _clip(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.maximum(np.minimum(x, high.astype(x.dtype)), low.astype(x.dtype))
    return made


LIBRARY: dict[str, Function] = {
    "relax.sigmoid": _plain(_sigmoid), "relax.tanh": _library(math.tanh), "relax.erf": _library(math.erf),
    "relax.exp": _plain(_exp), "relax.nn.silu": _plain(lambda x: x * _sigmoid(x)), "relax.nn.gelu": _plain(_gelu),
}  # fmt: skip
ARITHMETIC: dict[str, Function] = {
    "relax.quantize": _quantize, "relax.dequantize": _dequantize, "relax.astype": _astype,
    "relax.clip": _plain(_clip), "relax.nn.leakyrelu": _leaky, "relax.nn.relu": _plain(lambda x: np.maximum(x, 0)),
    "relax.nn.relu6": _plain(lambda x: np.minimum(np.maximum(x, 0), 6)), "relax.round": _plain(np.rint),
    "relax.add": _plain(np.add), "relax.subtract": _plain(np.subtract), "relax.multiply": _plain(np.multiply),
    "relax.divide": _plain(np.divide), "relax.maximum": _plain(np.maximum), "relax.minimum": _plain(np.minimum),
    "relax.negative": _plain(np.negative), "relax.abs": _plain(np.abs), "relax.sqrt": _plain(np.sqrt),
}  # fmt: skip
FUNCTIONS = LIBRARY | ARITHMETIC


@dataclass(frozen=True)
class _Chain:
    """A tensor as a function of the codes of `source`: its number for each code, in their order."""

    source: relax.Var
    numbers: np.ndarray
    library: int = 0
    roundings: int = 0

    @property
    def pays(self) -> bool:
        return self.library > 0 or self.roundings > 1


@tvm.transform.module_pass(opt_level=0, name="TabulateCodes")
class TabulateCodes:
    """Tabulate; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        chains: dict[relax.Expr, _Chain] = {}

        def visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
            chain = _chain(chains, binding)
            if chain is None:
                return None
            chains[binding.var] = chain
            if chain.numbers.dtype.name not in LEAST or not chain.pays:
                return None
            name, least = binding.var.name, LEAST[str(chain.source.ty.dtype)]
            entry = scope.emit(relax.op.astype(chain.source, "int32"), f"{name}_code")
            if least:
                entry = scope.emit(relax.op.subtract(entry, relax.const(least, "int32")), f"{name}_entry")
            return relax.op.take(relax.const(chain.numbers), entry, axis=0, mode="clip")

        return rewrite(mod, "TabulateCodes", visit, "function of 8-bit codes that costs more than a look-up")


def _chain(chains: dict[relax.Expr, _Chain], binding: relax.VarBinding) -> _Chain | None:
    """What the binding computes as a function of one tensor of codes; None when it is none."""
    call, name = binding.value, operator(binding.value)
    if name not in FUNCTIONS or not isinstance(binding.var.ty, relax.TensorType):
        return None
    args: list[np.ndarray] = []
    chained: list[_Chain] = []
    for arg in call.args:
        number = _number(arg)
        if number is None:
            chain = chains.get(arg) or _codes(arg)
            if chain is None or (chained and chain.source != chained[0].source):
                return None
            chained.append(chain)
            number = chain.numbers
        args.append(number)
    if not chained or static_shape(binding.var) != static_shape(chained[0].source):
        return None
    with np.errstate(all="ignore"):
        numbers = FUNCTIONS[name](call, *args)
    if numbers is None or numbers.shape != (ENTRIES,) or numbers.dtype.name != str(binding.var.ty.dtype):
        return None
    library = sum(chain.library for chain in chained) + (name in LIBRARY)
    roundings = sum(chain.roundings for chain in chained) + (name == "relax.quantize")
    return _Chain(chained[0].source, numbers, library, roundings)


def _codes(expr: relax.Expr) -> _Chain | None:
    """A tensor of codes as a function of itself."""
    dtype = str(expr.ty.dtype) if isinstance(expr, relax.Var) and isinstance(expr.ty, relax.TensorType) else ""
    if dtype not in LEAST or static_shape(expr) is None:
        return None
    return _Chain(expr, (np.arange(ENTRIES) + LEAST[dtype]).astype(dtype))


def _number(expr: relax.Expr) -> np.ndarray | None:
    """The one number that a constant, or a number among an operator's arguments, holds."""
    if isinstance(expr, tvm.tirx.IntImm | tvm.tirx.FloatImm):
        return np.asarray(expr.value)
    array = constant(expr)
    return array.reshape(()) if array is not None and array.size == 1 else None
