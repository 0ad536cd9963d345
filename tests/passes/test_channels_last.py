"""ChannelsLast: Before and Expected, what must stay, and what a module shows outside.

Weights and inputs are small whole numbers: sums in any order are exact.
"""

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import LAYER, SIDE, layer_calls

NN = relax.op.nn
OIHW = np.arange(36, dtype="float32").reshape(3, 2, 3, 2)[:, :, :, :1] - 5
BIAS = np.arange(3, dtype="float32").reshape(1, 3, 1, 1)


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 5, 4), "float32")) -> R.Tensor((1, 3), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(OIHW), strides=[1, 2], padding=[0, 1, 2, 3])
            b = R.add(c, R.const(BIAS))
            r = R.nn.relu(b)
            p = R.nn.max_pool2d(r, pool_size=[2, 2])
            m = R.mean(p, axis=[2, 3], keepdims=True)
            y = R.reshape(m, (1, 3))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function(private=True)
    def c(x: R.Tensor((1, 5, 4, 2), "float32")) -> R.Tensor((1, 5, 4, 3), "float32"):
        R.func_attr({"Composite": "tvm_split.conv2d_bias_relu", "tvm_split.layer": "c"})
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(np.ascontiguousarray(OIHW.transpose(2, 3, 1, 0))), strides=[1, 2],
                            padding=[0, 1, 2, 3], data_layout="NHWC", kernel_layout="HWIO")  # fmt: skip
            b = R.add(c, R.const(BIAS.reshape(1, 1, 1, 3)))
            out = R.nn.relu(b)
            R.output(out)
        return out

    @R.function(private=True)
    def p(r: R.Tensor((1, 5, 4, 3), "float32")) -> R.Tensor((1, 4, 3, 3), "float32"):
        R.func_attr({"Composite": "tvm_split.max_pool2d", "tvm_split.layer": "p"})
        with R.dataflow():
            out = R.nn.max_pool2d(r, pool_size=[2, 2], layout="NHWC")
            R.output(out)
        return out

    @R.function(private=True)
    def m(p: R.Tensor((1, 4, 3, 3), "float32")) -> R.Tensor((1, 1, 1, 3), "float32"):
        R.func_attr({"Composite": "tvm_split.mean", "tvm_split.layer": "m"})
        with R.dataflow():
            out = R.mean(p, axis=[1, 2], keepdims=True)
            R.output(out)
        return out

    @R.function(private=True)
    def y(m: R.Tensor((1, 3, 1, 1), "float32")) -> R.Tensor((1, 3), "float32"):
        R.func_attr({"Composite": "tvm_split.reshape", "tvm_split.layer": "y"})
        with R.dataflow():
            out = R.reshape(m, (1, 3))
            R.output(out)
        return out

    @R.function
    def main(x: R.Tensor((1, 2, 5, 4), "float32")) -> R.Tensor((1, 3), "float32"):
        cls = Expected
        with R.dataflow():
            x_last = R.permute_dims(x, [0, 2, 3, 1])
            r = cls.c(x_last)
            p = cls.p(r)
            m = cls.m(p)
            m_first = R.reshape(m, (1, 3, 1, 1))
            y = cls.y(m_first)
            R.output(y)
        return y


def whole(shape, seed=0):
    """Whole numbers that are not symmetric in any axis."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype("float32")


def const(*shape, seed=1):
    return relax.const(whole(shape, seed))


def test_before_expected(apply):
    tvm.ir.assert_structural_equal(apply(ChannelsLast(), FuseActivation()(Before)), Expected)


def test_the_same_numbers(run_layers):
    mod = FuseActivation()(Before)
    x = whole((1, 2, 5, 4))
    np.testing.assert_array_equal(run_layers(ChannelsLast()(mod), x), run_layers(mod, x))


def test_attributes_stay_and_every_layer_too(apply, build):
    mod = FuseActivation()(
        build(lambda emit, x: emit(NN.relu(emit(NN.conv2d(x, const(2, 2, 1, 1)), "c"))), (1, 2, 4, 4))
    )
    (gvar,) = [g for g in mod.get_global_vars() if g.name_hint != "main"]
    marked = mod.clone()
    marked.update_func(gvar, mod[gvar].with_attr(SIDE, "edge").with_attr("payload", "p"))
    ((_, callee),) = layer_calls(apply(ChannelsLast(), marked))
    assert {key: str(callee.attrs[key]) for key in (LAYER, SIDE, "payload")} == {
        LAYER: "c", SIDE: "edge", "payload": "p"
    }  # fmt: skip


def elementwise_only(emit, x):
    return emit(NN.softmax(emit(relax.op.concat([emit(NN.relu(x)), x], 1)), 1))


def laid_out_already(emit, x):
    c = emit(NN.conv2d(x, const(1, 1, 5, 4), data_layout="NHWC", kernel_layout="HWIO"))
    return emit(NN.max_pool2d(c, (2, 2), layout="NHWC"))


def weights_computed(emit, x):
    return emit(NN.conv2d(x, emit(relax.op.reshape(x, (2 * 6, 3, 5, 1)))))


@pytest.mark.parametrize("body", [elementwise_only, laid_out_already, weights_computed])
def test_what_must_not_change(apply, build, caplog, body):
    caplog.set_level("INFO", "tvm_split.passes")
    mod = FuseActivation()(build(body, (2, 3, 6, 5)))
    assert apply(ChannelsLast(), mod).same_as(mod)
    assert "ChannelsLast: nothing to do: no layer of 'main'" in caplog.text
    assert ("relax.nn.conv2d does not work on that order" in caplog.text) == (body is weights_computed)


def test_main_is_the_same_from_outside(apply, build, run_layers):
    """Inputs among the results, results that are layers' own, twice, and a tuple's parts."""

    def body(emit, x, z):
        c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
        parts = emit(relax.op.split(c, 2, 1), "s")
        return relax.Tuple([c, z, relax.TupleGetItem(parts, 1), emit(NN.relu(z), "r"), c, x])

    mod = FuseActivation()(build(body, (2, 3, 6, 5), (2, 3, 1, 2)))
    result = apply(ChannelsLast(), mod)
    before, after = mod["main"], result["main"]
    assert [p.name for p in before.params] == [p.name for p in after.params]
    assert tvm_ffi.structural_equal(before.ty, after.ty) and dict(before.attrs) == dict(after.attrs)
    inputs = whole((2, 3, 6, 5)), whole((2, 3, 1, 2))
    for got, want in zip(run_layers(result, *inputs), run_layers(mod, *inputs), strict=True):
        np.testing.assert_array_equal(got, want)
