"""Rounding by addition: the codes of NumPy's rint for every kind of float and of vector; nothing else is rewritten."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx

from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule import RULES, schedule
from tvm_split.passes.schedule.rounding import NEAREST, round_by_addition

HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})
OTHERS = [tvm.target.Target({"kind": "llvm", "mcpu": name}) for name in ("x86-64", "haswell")]
#: those whose programs this processor can run
NEEDS = {"x86-64": "sse2", "haswell": "avx2"}
RUN = [t for t in OTHERS if tvm.target.codegen.target_has_features(NEEDS[str(t.attrs["mcpu"])], HOST)]
BOARD = tvm.target.Target("raspberry-pi/4b-aarch64")
ELEMENTS = 4096


def real(value):
    return tirx.const(value, "float32")


def function(zero=3.0, least=0.0, most=255.0, dtype="uint8", scale=1.0, rounded=te.nearbyint):
    x = te.placeholder(int64(ELEMENTS), "float32", "x")

    def codes(i):
        value = rounded(x[i] * real(scale)) + real(zero)
        return te.max(te.min(value, real(most)), real(least)).astype(dtype)

    return te.create_prim_func([x, te.compute(x.shape, codes, "codes")])


def run(func, target, x, dtype):
    found = schedule("layer", func, target, RULES)
    library = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
    tensors = [tvm.runtime.tensor(array) for array in (x, np.zeros(x.shape, dtype))]
    library.mod["main"](*tensors)
    return tensors[1].numpy()


def hard(seed, zero):
    """Halves, numbers beside them, very large and very small ones, infinities."""
    random = np.random.default_rng(seed)
    halves = np.arange(-300, 300, dtype="float32") / 2
    beside = [np.nextafter(halves, np.float32(end)) for end in (-np.inf, np.inf)]
    powers = np.float32(2.0) ** np.arange(-149, 128, dtype="float32")
    ends = np.array([np.inf, -np.inf, 4194303.5, -4194304.5, 12582912.0, -12582912.0, 3.4e38, -3.4e38], "float32")
    parts = [halves, *beside, halves - np.float32(zero), powers, -powers, ends]
    fixed = np.concatenate([part.astype("float32") for part in parts])
    rest = random.standard_normal(ELEMENTS - len(fixed)) * 200
    return np.concatenate([fixed, rest.astype("float32")])


@pytest.mark.parametrize("target", [HOST, *RUN], ids=lambda target: str(target.attrs["mcpu"]))
@pytest.mark.parametrize(
    "zero, least, most, dtype",
    [
        (0.0, 0.0, 255.0, "uint8"),
        (7.0, 7.0, 255.0, "uint8"),
        (255.0, 0.0, 200.0, "uint8"),
        (-9.0, -128.0, 127.0, "int8"),
    ],
)
def test_codes_are_those_of_rint(target, zero, least, most, dtype):
    func, x = function(zero, least, most, dtype), hard(1, zero)
    with np.errstate(over="ignore"):
        wanted = np.clip(np.rint(x) + np.float32(zero), least, most).astype(dtype)
    assert np.array_equal(run(func, target, x, dtype), wanted)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(2.0**-20, 1024.0, width=32), st.integers(0, 255))
def test_the_product_before_is_rounded_by_itself(scale, zero):
    """One rounding of product and addition together would show at halves."""
    with np.errstate(over="ignore"):
        x = hard(2, 0.0) / np.float32(scale)
        x = np.resize(x[np.isfinite(x)], ELEMENTS)
        wanted = np.clip(np.rint(x * np.float32(scale)) + np.float32(zero), 0, 255).astype("uint8")
    assert np.array_equal(run(function(float(zero), scale=scale), HOST, x, "uint8"), wanted)


@pytest.mark.parametrize("target", [HOST, *OTHERS, BOARD], ids=["host", "x86-64", "haswell", "board"])
def test_nothing_is_called_and_vectors_are_used(target):
    found = schedule("layer", function(scale=0.3), target, RULES)
    library = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
    (assembly,) = (m.inspect_source("asm") for m in (library.mod, *library.mod.imports) if m.kind == "llvm")
    assert not any("call" in line and "round" in line for line in assembly.splitlines())
    assert any(one in assembly for one in ("\tvaddps\t", "\taddps\t", "\tfadd\tv"))


@pytest.mark.parametrize(
    "func",
    [
        function(dtype="int32"),
        function(zero=0.5),
        function(least=-1.0),
        function(most=256.0),
        function(rounded=te.floor),
        function(zero=1e6),
    ],
    ids=["int32", "no_whole_zero", "below", "above", "floor", "far_zero"],
)
def test_others_stay(func):
    assert round_by_addition(func).same_as(func)


def test_codes_are_rewritten():
    assert NEAREST in round_by_addition(function()).script()
