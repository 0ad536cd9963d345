"""exp, tanh and sigmoid as arithmetic, and the powers: how far from the exact values, and at the ends."""

import math

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from tvm_split.passes.schedule.exponential import expand

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
COUNT = 1 << 18


def compute(function, values):
    x = te.placeholder((COUNT,), "float32", "x")
    func = te.create_prim_func([x, te.compute((COUNT,), lambda i: function(x[i]))])
    rewritten = expand(func)
    assert not rewritten.same_as(func)
    tensors = [tvm.runtime.tensor(np.resize(values, COUNT).astype("float32")) for _ in range(2)]
    tvm.compile(rewritten, TARGET).mod["main"](*tensors)
    return tensors[1].numpy()[: len(values)]


def units(found, exact):
    return np.abs(found - exact) / np.spacing(np.abs(exact).astype("float32"))


def power(exponent):
    return lambda x: tirx.pow(x, tirx.const(exponent, "float32"))


@pytest.mark.parametrize(
    "function, exact, low, high, worst",
    [
        (tirx.exp, np.exp, -87.3, 88.7, 2),
        (tirx.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -80, 80, 4),
        (tirx.tanh, np.tanh, -10, 10, 4),
        (tirx.tanh, np.tanh, -0.01, 0.01, 4),
        (tirx.erf, np.vectorize(math.erf), -6, 6, 2),
        (tirx.erf, np.vectorize(math.erf), -1e-3, 1e-3, 2),
        (power(2.0), np.square, -100, 100, 1),
        (power(0.5), np.sqrt, 0, 100, 1),
        (power(0.75), lambda x: x**0.75, 0, 1e6, 3),
    ],
)
def test_units_in_the_last_place(function, exact, low, high, worst):
    x = np.linspace(low, high, COUNT).astype("float32")
    assert units(compute(function, x), exact(x.astype("float64"))).max() <= worst


def test_every_exponent_and_many_mantissas():
    x = np.arange(0, 1 << 32, (1 << 32) // COUNT, dtype=np.uint64).astype(np.uint32).view("float32")
    x = x[np.abs(x) < 87.3]
    assert units(compute(tirx.exp, x), np.exp(x.astype("float64"))).max() <= 2


def test_ends():
    x = np.array([np.inf, -np.inf, 89.0, -104.0, 0.0, -0.0, -100.0], "float32")
    assert compute(tirx.exp, x).tolist()[:6] == [np.inf, 0.0, np.inf, 0.0, 1.0, 1.0]
    assert compute(tirx.exp, x)[6] == pytest.approx(np.exp(-100.0), abs=2.0**-149)
    assert compute(tirx.sigmoid, x).tolist()[:2] == [1.0, 0.0]
    assert compute(tirx.tanh, x).tolist()[:2] == [1.0, -1.0]
    assert compute(tirx.erf, x).tolist()[:6] == [1.0, -1.0, 1.0, -1.0, 0.0, 0.0]
    for function in (tirx.exp, tirx.tanh, tirx.sigmoid, tirx.erf):
        assert np.isnan(compute(function, np.array([np.nan], "float32"))).all()


def test_other_functions_stay():
    x = te.placeholder((4,), "float32", "x")
    for function in (tirx.sqrt, tirx.log, power(0.3)):
        func = te.create_prim_func([x, te.compute((4,), lambda i: function(x[i]))])  # noqa: B023
        assert expand(func).same_as(func)
    y = te.placeholder((4,), "float64", "y")
    func = te.create_prim_func([y, te.compute((4,), lambda i: tirx.exp(y[i]))])
    assert expand(func).same_as(func)
