"""Tables of 256 results: the same bits as the arithmetic, only where that has a call, for both kinds of 8 bits."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule import RULE, RULES, schedule
from tvm_split.passes.schedule.exponential import expand
from tvm_split.passes.schedule.lookup import Lookup

HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})


def real(value):
    return tirx.const(value, "float32")


def sigmoid(x):
    return tirx.sigmoid(x)


def swish(x):
    return x * tirx.sigmoid(x)


def function(curve, shape=(1, 17, 13, 24), given="uint8", made="uint8"):
    """quantize(curve(dequantize(x)))"""
    x = te.placeholder(int64(*shape), given, "x")
    reals = te.compute(x.shape, lambda *i: (x(*i).astype("float32") - real(9.0)) * real(0.05), "reals")
    curved = te.compute(x.shape, lambda *i: curve(reals(*i)), "curved")
    steps = te.compute(x.shape, lambda *i: te.nearbyint(curved(*i) / real(0.01)) + real(3.0), "steps")
    least, most = (real(float(end(made).value)) for end in (tvm.tirx.min_value, tvm.tirx.max_value))
    return te.create_prim_func(
        [x, te.compute(x.shape, lambda *i: te.max(te.min(steps(*i), most), least).astype(made), "codes")]
    )


def run(func, x, made):
    tensors = [tvm.runtime.tensor(array) for array in (x, np.zeros(x.shape, made))]
    tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), HOST).mod["main"](*tensors)
    return tensors[1].numpy()


@pytest.mark.parametrize("curve", [sigmoid, swish, tirx.tanh, tirx.cos])
@pytest.mark.parametrize("given, made", [("uint8", "uint8"), ("int8", "int8"), ("int8", "uint8")])
def test_every_code_has_the_bits_of_the_arithmetic(curve, given, made):
    shape = (1, 17, 13, 24)  # a whole number of no vector
    func = function(curve, shape, given, made)
    found = schedule("layer", func, HOST, RULES)
    assert str(found.attrs[RULE]) == "Lookup"
    info = np.iinfo(given)
    x = np.resize(np.arange(info.min, info.max + 1).astype(given), shape)
    plain = expand(func)
    assert np.array_equal(run(found, x, made), run(plain, x, made))


def test_large_tensors_are_parallel_and_the_table_is_made_once():
    found = Lookup().apply(function(sigmoid, (1, 64, 64, 32)), HOST, False)
    text = found.mod.script()
    assert text.count("T.parallel") == 1 and text.count("T.sigmoid") == 1
    assert text.index("T.sigmoid") < text.index("T.parallel")


@pytest.mark.parametrize(
    "func",
    [
        function(lambda x: te.max(x, real(0.0))),  # arithmetic alone is faster as vectors
        function(sigmoid, (1, 10)),  # fewer than the table
        function(sigmoid, (1, 64, 64, 8), made="int16"),
    ],
    ids=["arithmetic", "few", "wide"],
)
def test_others_are_left_to_other_rules(func):
    assert Lookup().apply(func, HOST, False) is None


def test_two_tensors_are_no_table():
    x, y = (te.placeholder(int64(1, 64, 64, 8), "uint8", name) for name in "xy")
    both = te.compute(x.shape, lambda *i: tirx.sigmoid((x(*i) + y(*i)).astype("float32")).astype("uint8"))
    assert Lookup().apply(te.create_prim_func([x, y, both]), HOST, False) is None


def test_what_depends_on_the_place_is_no_table():
    x = te.placeholder(int64(4096), "uint8", "x")
    shifted = te.compute(x.shape, lambda i: tirx.sigmoid((x[i] + i).astype("float32")).astype("uint8"))
    assert Lookup().apply(te.create_prim_func([x, shifted]), HOST, False) is None
