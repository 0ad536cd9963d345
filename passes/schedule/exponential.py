"""Functions of the mathematics library as arithmetic, of which LLVM makes vectors; it calls the library lane by lane.

    Given:   x * sigmoid(x);                     y = pow(t, 0.75)
    Result:  x * (1 / (1 + exp_f32(-x)));        y = sqrt(t) * sqrt(sqrt(t))

exp_f32(x) is 2^n * p(r) with n the integer nearest to x / ln 2, r = x - n ln 2 and p a polynomial of degree 7 (Cephes,
expf). p is within 2^-26 of exp on |r| <= ln 2 / 2; the roundings of its last three steps and of r, which is exact but
for n * 2.1e-4, add less than 2^-23: the result is within 2 units in the last place, above 1.2e-38. Results below that
lose digits as float32 does; infinities, overflow and NaN are those of exp. The powers are within 2 units, too.

erf(x) is x + x p(x^2) below 1 and 1 - exp(q(x)) from there on, p and q of degree 6 and within 2e-9 (minimax, by
reweighted least squares): within 2 units in the last place.
A kernel that uses it gives the same bits on every processor with fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call

EXP, TANH, ERF = "tvm_split.exp_f32", "tvm_split.tanh_f32", "tvm_split.erf_f32"
_PURE = 1
LOG2_E = 1.44269504088896341
#: ln 2 as a number of 10 bits, so that its product with n is exact, and what is left
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
EXP_TERMS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
#: below TANH_NEAR, (tanh(x) - x) / x^3 in x^2
TANH_NEAR = 0.625
TANH_TERMS = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
#: below ERF_NEAR, erf(x) / x - 1 in x^2; above, the logarithm of 1 - erf(x) in x; from ERF_ONE on, erf(x) rounds to 1
ERF_NEAR, ERF_ONE = 1.0, 4.0
ERF_TERMS = (7.88911923927e-5, -8.02084119208e-4, 5.18953532949e-3, -2.68544445868e-2, 1.12836001761e-1,
             -3.76126271360e-1, 1.28379165914e-1)  # fmt: skip
ERFC_TERMS = (1.85574968032e-4, -2.93961644965e-3, 2.18053539349e-2, -1.03037441170e-1, -6.38225596032e-1,
              -1.12704008370, -3.53708035600e-4)  # fmt: skip
#: beyond these exp is 0 and infinity
LEAST, MOST = -104.0, 89.0


def expand(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with those of float32 rewritten: exp, sigmoid, tanh, erf, three powers; itself when it has none."""
    body = tvm_ffi.structural_map(func.body, [(Call, _rewrite)])
    return func if body.same_as(func.body) else func.with_body(body)


def _rewrite(call: Call) -> tirx.Expr:
    name = getattr(call.op, "name", "")
    if name in ("tirx.exp", "tirx.sigmoid", "tirx.tanh", "tirx.erf", "tirx.pow") and str(call.ty) == "float32":
        x = call.args[0]
        if name == "tirx.exp":
            return _exp(x)
        if name in ("tirx.tanh", "tirx.erf"):
            return tirx.call_intrin("float32", TANH if name == "tirx.tanh" else ERF, x)
        one = tirx.const(1.0, "float32")
        if name == "tirx.sigmoid":
            return one / (one + _exp(tirx.const(0.0, "float32") - x))
        power = _power(x, call.args[1])
        return call if power is None else power
    return call


def _exp(x: tirx.Expr) -> tirx.Expr:
    return tirx.call_intrin("float32", EXP, x)


def _power(x: tirx.Expr, exponent: tirx.Expr) -> tirx.Expr | None:
    """Of -0 and of -infinity the roots differ from pow, which gives 0 and infinity; sqrt gives -0 and NaN."""
    value = float(exponent.value) if isinstance(exponent, tirx.FloatImm) else None
    if value == 2.0:
        return x * x
    root = tirx.sqrt(x)
    return root if value == 0.5 else root * tirx.sqrt(root) if value == 0.75 else None


def _lower_exp(call: Call) -> tirx.Expr:
    """The call as arithmetic. It is the last rewrite but code generation, so variables are bound once each."""
    (x,) = call.args
    number, whole = _constants(call)
    whole_ty = whole(0).ty

    def power_of_two(n: tirx.Expr) -> tirx.Expr:
        return tirx.call_intrin(call.ty, "tirx.reinterpret", (n + whole(127)) * whole(1 << 23))

    given, n, r = (tirx.Var(name, call.ty) for name in ("x", "n", "r"))
    half = tirx.Var("half", whole_ty)
    inside = tirx.Min(tirx.Max(given, number(LEAST)), number(MOST))
    nearest = tirx.floor(inside * number(LOG2_E) + number(0.5))
    rest = inside - n * number(LN2_HIGH) - n * number(LN2_LOW)
    value = _polynomial(number, EXP_TERMS, r) * (r * r) + r + number(1.0)
    # 2^n in two factors: neither of them overflows where the result does not, nor loses digits that the result has
    scaled = value * power_of_two(half) * power_of_two(tirx.Cast(whole_ty, n) - half)
    result = tirx.Select(tirx.EQ(given, given), scaled, given)
    halved = tirx.Cast(whole_ty, tirx.floor(n * number(0.5)))
    return tirx.Let(given, x, tirx.Let(n, nearest, tirx.Let(r, rest, tirx.Let(half, halved, result))))


def _lower_tanh(call: Call) -> tirx.Expr:
    """1 - 2 / (exp(2 |x|) + 1) with x's sign; near 0, where that cancels, an odd polynomial."""
    (x,) = call.args
    number, _ = _constants(call)
    given, square = tirx.Var("x", call.ty), tirx.Var("square", call.ty)
    size = tirx.Max(given, number(0.0) - given)
    exp = tirx.call_intrin(call.ty, EXP, size + size)
    far = number(1.0) - number(2.0) / (exp + number(1.0))
    near = _polynomial(number, TANH_TERMS, square) * square * given + given
    signed = tirx.Select(tirx.LT(given, number(0.0)), number(0.0) - far, far)
    result = tirx.Select(tirx.LT(size, number(TANH_NEAR)), near, signed)
    return tirx.Let(given, x, tirx.Let(square, given * given, result))


def _lower_erf(call: Call) -> tirx.Expr:
    (x,) = call.args
    number, _ = _constants(call)
    given, size, square = (tirx.Var(name, call.ty) for name in ("x", "size", "square"))
    near = given + given * _polynomial(number, ERF_TERMS, square)
    far = number(1.0) - tirx.call_intrin(call.ty, EXP, _polynomial(number, ERFC_TERMS, size))
    signed = tirx.Select(tirx.LT(given, number(0.0)), number(0.0) - far, far)
    result = tirx.Select(tirx.LT(size, number(ERF_NEAR)), near, signed)
    result = tirx.Select(tirx.EQ(given, given), result, given)
    positive = tirx.Min(tirx.Max(given, number(0.0) - given), number(ERF_ONE))
    return tirx.Let(given, x, tirx.Let(size, positive, tirx.Let(square, size * size, result)))


def _constants(call: Call) -> tuple[Callable[[float], tirx.Expr], Callable[[int], tirx.Expr]]:
    """Makers of float32 and int32 constants with as many lanes as the call has."""
    lanes = tvm.DataType(str(call.ty)).lanes

    def maker(dtype: str) -> Callable[[float], tirx.Expr]:
        return lambda value: tirx.const(value, dtype) if lanes == 1 else tirx.Broadcast(tirx.const(value, dtype), lanes)

    return maker("float32"), maker("int32")


def _polynomial(number: Callable[[float], tirx.Expr], terms: Sequence[float], x: tirx.Expr) -> tirx.Expr:
    value = number(terms[0])
    for term in terms[1:]:
        value = value * x + number(term)
    return value


for _name, _rule in ((EXP, _lower_exp), (TANH, _lower_tanh), (ERF, _lower_erf)):
    tvm.ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    tvm.ir.register_op_attr(_name, "TVectorizable", True)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name, 20)
    tirx.op.register_intrin_lowering(_name, "default", f=_rule, level=99)
