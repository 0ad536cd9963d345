"""ChannelsLast: Before and Expected, every operator of its table, what must stay, halves, and networks of the zoo.

Weights and inputs are small whole numbers where sums may run in another order: then every sum is exact.
"""

from collections import Counter

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, frontend, pipeline
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.axis_order import as_is, permuted, reshaped
from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import LAYER, SIDE, layer_calls, main_bindings
from tvm_split.passes.partition import Partition, side_outputs
from tvm_split.passes.quantize_cut import Quantizer

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


def conversions(mod):
    """Operators in `main` that are no layer, by name."""
    values = [binding.value for binding in main_bindings(mod)[1]]
    return Counter(str(v.op.name) for v in values if isinstance(v, relax.Call) and isinstance(v.op, tvm.ir.Op))


def permutes(mod):
    return conversions(mod)["relax.permute_dims"]


def layers(body, *shapes, build):
    return FuseActivation()(build(body, *shapes))


def test_before_expected(apply):
    tvm.ir.assert_structural_equal(apply(ChannelsLast(), FuseActivation()(Before)), Expected)


def test_the_same_numbers(run_layers):
    mod = FuseActivation()(Before)
    x = whole((1, 2, 5, 4))
    np.testing.assert_array_equal(run_layers(ChannelsLast()(mod), x), run_layers(mod, x))


def test_attributes_stay_and_every_layer_too(apply, build):
    mod = layers(lambda emit, x: emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, const(2, 2, 1, 1)), "c"))),
                 (1, 2, 4, 4), build=build)  # fmt: skip
    (gvar,) = [g for g in mod.get_global_vars() if g.name_hint != "main"]
    marked = mod.clone()
    marked.update_func(gvar, mod[gvar].with_attr(SIDE, "edge").with_attr("payload", "p"))
    ((_, callee),) = layer_calls(apply(ChannelsLast(), marked))
    assert {key: str(callee.attrs[key]) for key in (LAYER, SIDE, "payload")} == {
        LAYER: "c", SIDE: "edge", "payload": "p"
    }  # fmt: skip


NN, IMAGE = relax.op.nn, relax.op.image
POSITIVE = relax.const(np.float32([1, 2, 3, 4]))
#: what follows a convolution on NCHW; the layer must be on NHWC, so that only what goes in and out is converted
FOLLOWERS = {
    "conv": lambda x: NN.conv2d(x, const(3, 4, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2)),
    "conv1x1": lambda x: NN.conv2d(x, const(5, 4, 1, 1)),
    "depthwise": lambda x: NN.conv2d(x, const(4, 1, 3, 3), padding=1, groups=4),
    "depthwise, two a channel": lambda x: NN.conv2d(x, const(8, 1, 3, 3), padding=1, groups=4, strides=2),
    "grouped": lambda x: NN.conv2d(x, const(6, 2, 3, 3), padding=1, groups=2, dilation=2),
    "max_pool": lambda x: NN.max_pool2d(x, (3, 2), strides=(2, 1), padding=(1, 0, 1, 1), dilation=(1, 2)),
    "max_pool, ceil": lambda x: NN.max_pool2d(x, (3, 2), strides=(2, 2), ceil_mode=True),
    "avg_pool": lambda x: NN.avg_pool2d(x, (2, 2), padding=1, count_include_pad=False),
    "avg_pool, padding counts": lambda x: NN.avg_pool2d(x, (2, 4), padding=1, count_include_pad=True),
    "adaptive": lambda x: NN.adaptive_avg_pool2d(x, (3, 1)),
    "global": lambda x: NN.adaptive_avg_pool2d(x, (1, 1)),
    "resize, nearest": lambda x: IMAGE.resize2d(x, (12, 10), method="nearest_neighbor", rounding_method="floor",
                                                coordinate_transformation_mode="asymmetric"),
    "resize, linear": lambda x: IMAGE.resize2d(x, (9, 7), method="linear"),
    "relu": NN.relu,
    "clip": lambda x: relax.op.clip(x, 0, 6),
    "silu": NN.silu,
    "leakyrelu": lambda x: NN.leakyrelu(x, 0.25),
    "prelu": lambda x: NN.prelu(x, const(4), 1),
    "scalar": lambda x: relax.op.multiply(relax.const(np.float32(0.5)), x),
    "one number of rank 4": lambda x: relax.op.add(x, const(1, 1, 1, 1)),
    "a channel": lambda x: relax.op.multiply(x, const(1, 4, 1, 1)),
    "a channel, rank 3": lambda x: relax.op.subtract(x, const(4, 1, 1)),
    "a row": lambda x: relax.op.subtract(x, const(6, 1)),
    "a column": lambda x: relax.op.subtract(const(5), x),
    "a picture": lambda x: relax.op.add(x, const(1, 4, 6, 5)),
    "where": lambda x: relax.op.where(relax.const(whole((1, 4, 1, 1)) > 0), x, const(1, 1, 6, 5)),
    "astype": lambda x: relax.op.astype(x, "float16"),
    "softmax": lambda x: NN.softmax(x, 1),
    "softmax, last axis": lambda x: NN.softmax(x),
    "log_softmax": lambda x: NN.log_softmax(x, -3),
    "mean of pictures": lambda x: relax.op.mean(x, [2, 3], keepdims=True),
    "mean of pictures, rank 2": lambda x: relax.op.mean(x, [-1, -2]),
    "mean of channels": lambda x: relax.op.mean(x, 1, keepdims=True),
    "max of channels": lambda x: relax.op.max(x, 1),
    "sum of rows": lambda x: relax.op.sum(x, [2]),
    "min of all": lambda x: relax.op.min(x),
    "argmax": lambda x: relax.op.argmax(x, 1),
    "concat": lambda x: relax.op.concat([x, const(2, 3, 6, 5), x], 1),
    "concat, last axis": lambda x: relax.op.concat([x, x], -1),
    "slice": lambda x: relax.op.strided_slice(x, [1, -1], [1, 0], [4, 5], [2, 1]),
    "pad": lambda x: NN.pad(x, [0, 0, 0, 1, 2, 3, 4, 5], pad_value=1.0),
    "reflect": lambda x: NN.pad(x, [0, 0, 0, 0, 1, 2, 3, 1], "reflect"),
    "batch_norm": lambda x: relax.TupleGetItem(relax.BlockBuilder().normalize(NN.batch_norm(x, *[POSITIVE] * 4, 1)), 0),
    "instance_norm": lambda x: NN.instance_norm(x, const(4), const(4), 1, [2, 3]),
    "group_norm": lambda x: NN.group_norm(x, const(4), const(4), 2, 1, [2, 3]),
    "layer_norm": lambda x: NN.layer_norm(x, const(4), const(4), [1]),
    "quantize, a scale for each channel": lambda x: relax.op.quantize(
        x, POSITIVE, relax.const(np.arange(4, dtype="int8")), axis=1, out_dtype="int8"
    ),
    "quantize, one scale": lambda x: relax.op.quantize(
        x, relax.const(np.float32(3)), relax.const(np.int8(-2)), out_dtype="int8"
    ),
    "pixels in a row": lambda x: relax.op.reshape(x, (2, 4, 30)),
    "channels in groups": lambda x: relax.op.reshape(x, (2, 2, 2, 6, 5)),
    "another axis": lambda x: relax.op.expand_dims(x, 2),
}  # fmt: skip
ROUNDS = {"instance_norm", "group_norm", "layer_norm"}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_operators(apply, build, run_layers, name):
    """The operator's layer reads what the convolution wrote, and gives the same numbers."""

    def body(emit, x):
        y = FOLLOWERS[name](emit(relax.op.nn.conv2d(x, const(4, 3, 1, 1)), "c"))
        if isinstance(y, relax.TupleGetItem):
            y = relax.TupleGetItem(emit(y.tuple_value, "y"), y.index)
        return emit(y, "y")

    mod = layers(body, (2, 3, 6, 5), build=build)
    result = apply(ChannelsLast(), mod)
    functions = {str(callee.attrs[LAYER]): callee for _, callee in layer_calls(result)}
    reader = functions.get("y", functions["c"])  # what is fused with the convolution is in its layer
    assert {tuple(int(e) for e in p.ty.shape.values) for p in reader.params} <= {(2, 6, 5, 4), (2, 6, 5, 3)}
    assert permutes(result) <= 2
    x = whole((2, 3, 6, 5), 7)
    (want,), (got,) = run_layers(mod, x), run_layers(result, x)
    assert want.shape == got.shape and want.dtype == got.dtype
    assert not want.ndim or np.ptp(want.astype("float32")) > 0, "all equal: the test would miss a wrong order"
    if name in ROUNDS:  # sums of at most 60 terms that no longer are whole numbers, and a root: |y| < 16
        np.testing.assert_allclose(got, want, rtol=0, atol=(60 + 8) * 2.0**-23 * 16)
    else:
        np.testing.assert_array_equal(got, want)


def test_conv1d(apply, build, run_layers):
    def body(emit, x):
        y = emit(relax.op.nn.relu(emit(NN.conv1d(x, const(6, 3, 3), strides=2, padding=(1, 2)), "a")))
        y = emit(NN.conv1d(y, const(6, 1, 3), groups=6, dilation=2), "b")
        y = emit(NN.max_pool1d(y, 2, strides=2, padding=1), "p")
        return emit(relax.op.mean(emit(NN.avg_pool1d(y, 2), "q"), 2), "m")

    mod = layers(body, (2, 3, 24), build=build)
    result = apply(ChannelsLast(), mod)
    assert conversions(result) == {"relax.permute_dims": 1}
    x = whole((2, 3, 24))
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))


def squeeze_excite(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 3, 3)), "c")
    s = emit(relax.op.mean(c, [2, 3], keepdims=True), "s")
    d = emit(NN.relu(emit(NN.conv2d(s, const(2, 4, 1, 1)), "d")))
    e = emit(relax.op.clip(emit(NN.conv2d(d, const(4, 2, 1, 1)), "e"), 0, 1))
    return emit(NN.conv2d(emit(relax.op.multiply(c, e), "y"), const(2, 4, 3, 3)), "z")


def local_response(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
    wide = emit(relax.op.expand_dims(emit(relax.op.multiply(c, c), "s"), 1), "w")
    near = emit(relax.op.squeeze(emit(NN.avg_pool3d(wide, (4, 1, 1), padding=(2, 0, 0, 1, 0, 0)), "p"), 1), "n")
    return emit(relax.op.add(c, near), "y")


def detection_head(emit, x):
    parts = [emit(NN.conv2d(x, const(4, 3, 1, 1, seed=s)), f"c{s}") for s in range(2)]
    rows = [emit(relax.op.reshape(part, (2, 4, 30)), "r") for part in parts]
    return emit(relax.op.permute_dims(emit(relax.op.concat(rows, 2), "j"), [0, 2, 1]), "y")


def split_and_swap(emit, x):
    parts = emit(relax.op.split(emit(NN.conv2d(x, const(4, 3, 1, 1)), "c"), [1], 1), "s")
    a, b = emit(relax.TupleGetItem(parts, 0)), emit(relax.TupleGetItem(parts, 1))
    return emit(NN.max_pool2d(emit(relax.op.concat([b, a], 1), "j"), (2, 2)), "y")


def tflite(emit, x):
    x = emit(relax.op.permute_dims(x, [0, 3, 1, 2]), "t")
    x = emit(relax.op.subtract(x, const(1, 3, 1, 1)), "n")
    return emit(relax.op.permute_dims(emit(NN.conv2d(x, const(4, 3, 1, 1)), "c"), [0, 2, 3, 1]), "y")


def channel_mixer(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
    t = emit(relax.op.permute_dims(c, [0, 2, 3, 1]), "t")
    m = emit(relax.op.permute_dims(emit(relax.op.matmul(t, const(4, 4)), "m"), [0, 3, 1, 2]), "b")
    return emit(NN.avg_pool2d(emit(relax.op.add(c, m), "a"), (2, 2)), "y")


def read_twice(emit, x):
    a, b = (emit(NN.conv2d(x, const(4, 3, 1, 1, seed=s)), f"c{s}") for s in range(2))
    return emit(relax.op.reshape(emit(relax.op.add(a, b), "s"), (2, 120)), "y")


@pytest.mark.parametrize(
    "body, expected",
    [(squeeze_excite, 2), (local_response, 2), (detection_head, 1), (split_and_swap, 2), (channel_mixer, 2),
     (read_twice, 2), (tflite, 0)],
)  # fmt: skip
def test_conversions(apply, build, run_layers, body, expected):
    """As few as there can be, each tensor's once, and the same numbers."""
    shape = (2, 6, 5, 3) if body is tflite else (2, 3, 6, 5)
    mod = layers(body, shape, build=build)
    result = apply(ChannelsLast(), mod)
    assert permutes(result) == expected
    x = whole(shape, 5)
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))


def test_a_tensor_is_converted_once(apply, build):
    """Two convolutions and the result read x as NHWC; two matmuls read it as it is."""

    def body(emit, x):
        c = emit(NN.conv2d(x, const(3, 3, 1, 1)), "c")
        d = emit(NN.conv2d(x, const(3, 3, 1, 1)), "d")
        s = emit(relax.op.add(emit(NN.relu(c), "r"), emit(NN.max_pool2d(d, (1, 1)), "p")), "s")
        return emit(relax.op.add(emit(relax.op.matmul(s, const(5, 5)), "m"), emit(relax.op.matmul(s, s), "n")), "y")

    assert permutes(apply(ChannelsLast(), layers(body, (1, 3, 5, 5), build=build))) == 2


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
    mod = layers(body, (2, 3, 6, 5), build=build)
    assert apply(ChannelsLast(), mod).same_as(mod)
    assert "ChannelsLast: nothing to do: no layer of 'main'" in caplog.text
    assert ("relax.nn.conv2d does not work on that order" in caplog.text) == (body is weights_computed)


@pytest.mark.parametrize("groups, conversions", [(1, 2), (4, 4)])
def test_transposed_convolutions_stay_only_where_vectors_do_not_fit_their_groups(
    apply, build, run_layers, groups, conversions, caplog
):
    caplog.set_level("INFO", "tvm_split.passes")

    def body(emit, x):
        c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
        t = emit(NN.conv2d_transpose(c, const(4, 2, 2, 2), strides=2, groups=groups), "t")
        return emit(NN.max_pool2d(t, (2, 2)), "y")

    mod = layers(body, (2, 3, 6, 5), build=build)
    result = apply(ChannelsLast(), mod)
    assert permutes(result) == conversions
    assert ("relax.nn.conv2d_transpose does not work" in caplog.text) == (groups == 4)
    x = whole((2, 3, 6, 5))
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))


def test_main_is_the_same_from_outside(apply, build, run_layers):
    """Inputs among the results, results that are layers' own, twice, and a tuple's parts."""

    def body(emit, x, z):
        c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
        parts = emit(relax.op.split(c, 2, 1), "s")
        return relax.Tuple([c, z, relax.TupleGetItem(parts, 1), emit(NN.relu(z), "r"), c, x])

    mod = layers(body, (2, 3, 6, 5), (2, 3, 1, 2), build=build)
    result = apply(ChannelsLast(), mod)
    before, after = mod["main"], result["main"]
    assert [p.name for p in before.params] == [p.name for p in after.params]
    assert tvm_ffi.structural_equal(before.ty, after.ty) and dict(before.attrs) == dict(after.attrs)
    inputs = whole((2, 3, 6, 5)), whole((2, 3, 1, 2))
    for got, want in zip(run_layers(result, *inputs), run_layers(mod, *inputs), strict=True):
        np.testing.assert_array_equal(got, want)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_reshapes_keep_an_order_where_they_say(data):
    """Against NumPy: the memory of one, reshaped, is the memory of the other."""
    parts = data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))

    def joined():
        found = [1]
        for part in parts:
            if data.draw(st.booleans()):
                found.append(1)
            found[-1] *= part
        return tuple(found)

    shape, target = joined(), joined()
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    made = reshaped(shape, order, target)
    tensor = np.arange(np.prod(parts)).reshape(shape)
    if order == as_is(len(shape)):
        assert made is not None
    if made is not None:
        memory = tensor.transpose(order).reshape(permuted(target, made))
        np.testing.assert_array_equal(memory, tensor.reshape(target).transpose(made))


def network(seed, size, weights):
    """Layers of every sort over two inputs, and three results."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType((1, 4, 5, 3), "float32")) for i in range(2)]
    with builder.function("main", params):
        with builder.dataflow():
            made, emit = list(params), builder.emit
            for _ in range(size):
                a, b = (made[i] for i in rng.integers(0, len(made), 2))
                kind = rng.integers(0, 7)
                if kind < 2:
                    c = emit(NN.conv2d(a, relax.const(weights(rng, (4, 4, 3, 3))), padding=1))
                    made.append(emit(relax.op.add(c, b) if kind else NN.relu(c)))
                elif kind == 2:
                    made.append(emit(NN.max_pool2d(a, (3, 3), padding=1)))
                elif kind == 3:
                    made.append(emit(relax.op.maximum(a, b)))
                elif kind == 4:
                    made.append(emit(relax.op.add(a, emit(relax.op.sum(b, [2, 3], keepdims=True)))))
                elif kind == 5:
                    turned = emit(relax.op.permute_dims(a, [0, 1, 3, 2]))
                    made.append(emit(relax.op.reshape(turned, (1, 4, 5, 3))))
                else:
                    parts = emit(relax.op.split(a, 2, 1))
                    made.append(emit(relax.op.concat([relax.TupleGetItem(parts, i) for i in (1, 0)], 1)))
            out = builder.emit_output(relax.Tuple([made[-1], *(made[i] for i in rng.integers(0, len(made), 2))]))
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_random_networks(apply, run_layers, seed, size):
    """Four layers that each sum 36 terms, an addend and weights of 1: below 4 * 37^4 < 2^24, so exact."""
    mod = network(seed, size, lambda rng, shape: rng.integers(-1, 2, shape).astype("float32"))
    inputs = [whole((1, 4, 5, 3), seed + i) for i in range(2)]
    for got, want in zip(run_layers(apply(ChannelsLast(), mod), *inputs), run_layers(mod, *inputs), strict=True):
        np.testing.assert_array_equal(got, want)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.data())
def test_halves_are_the_whole_bit_for_bit(apply, run_layers, seed, size, data):
    mod = network(seed, size, lambda rng, shape: rng.standard_normal(shape).astype("float32"))
    graph = extract.graph(mod)
    edge_layers = graph.closure(data.draw(st.sets(st.sampled_from([layer.name for layer in graph.layers]))))
    marked = AssignCut(edge_layers, data.draw(st.sampled_from(["edge", "cloud"])))(mod)
    inputs = [np.random.default_rng(seed + i).standard_normal((1, 4, 5, 3)).astype("float32") for i in range(2)]
    crossing, at_edge, at_cloud = side_outputs(marked)
    edge, cloud = (apply(ChannelsLast(), Partition(side)(marked)) for side in ("edge", "cloud"))
    returned = dict.fromkeys((*crossing, *at_edge))
    made = dict(zip(returned, run_layers(edge, *inputs), strict=True)) if returned else {}
    if at_cloud:
        made |= zip(at_cloud, run_layers(cloud, *(made[name] for name in crossing)), strict=True)
    for name, want in zip(graph.outputs, run_layers(apply(ChannelsLast(), mod), *inputs), strict=True):
        np.testing.assert_array_equal(made[name], want)


def test_quantised_halves(apply, build, run_layers):
    """The cut's own layers are no operators of Relax: they stay, and get what they had."""
    mod = layers(squeeze_excite, (2, 3, 6, 5), build=build)
    marked = pipeline.at_cut(["c"], {"c": Quantizer(8, 1.0, 128)})(mod)
    halves = pipeline.halves(marked)
    x = whole((2, 3, 6, 5))
    wanted = _through(halves, run_layers, x)
    rewritten = [apply(ChannelsLast(), half) for half in halves]
    assert all(permutes(half) == 2 for half in rewritten)
    np.testing.assert_array_equal(_through(rewritten, run_layers, x), wanted)


def _through(halves, run_layers, x):
    edge, cloud = halves
    return run_layers(cloud, *run_layers(edge, x))


#: network of the zoo -> permute_dims there may be at most: one for each input
ZOO = {"efficientnet-lite0": 1, "yolox": 1, "ppocr-rec": 1, "plate-detector": 1, "magika": 0, "googlenet": 1,
       "ppocr-det": 2}  # fmt: skip
RUN = {"efficientnet-lite0", "magika"}


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo(apply, run_layers, name):
    mod = pipeline.layers()(frontend.load(f"zoo:{name}"))
    result = apply(ChannelsLast(), mod)
    assert permutes(result) <= ZOO[name]
    for _, callee in layer_calls(result):
        for binding in callee.body.blocks[0].bindings:
            if isinstance(binding.value, relax.Call) and binding.value.op.name == "relax.nn.conv2d":
                assert str(binding.value.attrs.data_layout) == "NHWC"
    if name in RUN:
        (param,) = mod["main"].params
        shape = [int(extent) for extent in param.ty.shape.values]
        x = np.random.default_rng(0).integers(0, 255, shape).astype(str(param.ty.dtype))
        if param.ty.dtype == "float32":
            x /= 255
        for got, want in zip(run_layers(result, x), run_layers(mod, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
