"""FuseActivation: Before and Expected, the kinds that it names, and the graphs that it must not fuse."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import COMPOSITE, LAYER, layer_calls

SHAPE = (1, 4, 5, 5)


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 1, 1), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(np.ones((2, 2, 1, 1), "float32")))
            b = R.add(c, R.const(np.ones((1, 2, 1, 1), "float32")))
            r = R.clip(b, 0, 6)
            y = R.nn.max_pool2d(r, pool_size=[3, 3])
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function(private=True)
    def c(x: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 3, 3), "float32"):
        R.func_attr({"Composite": "tvm_split.conv2d_bias_relu6", "tvm_split.layer": "c"})
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(np.ones((2, 2, 1, 1), "float32")))
            b = R.add(c, R.const(np.ones((1, 2, 1, 1), "float32")))
            out = R.clip(b, 0, 6)
            R.output(out)
        return out

    @R.function(private=True)
    def y(r: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 1, 1), "float32"):
        R.func_attr({"Composite": "tvm_split.max_pool2d", "tvm_split.layer": "y"})
        with R.dataflow():
            out = R.nn.max_pool2d(r, pool_size=[3, 3])
            R.output(out)
        return out

    @R.function
    def main(x: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 1, 1), "float32"):
        cls = Expected
        with R.dataflow():
            r = cls.c(x)
            y = cls.y(r)
            R.output(y)
        return y


def weights(*shape, seed=0):
    return relax.const(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def conv(emit, x, name="c"):
    return emit(relax.op.nn.conv2d(x, weights(4, 4, 1, 1)), name)


def number(value):
    return relax.const(np.float32(value))


@pytest.fixture
def layers_of(apply_once, build):
    """{name: kind} of the layers of `body(emit, x, ...)`."""

    def kinds(body, inputs=1):
        calls = layer_calls(apply_once(FuseActivation(), build(body, *[SHAPE] * inputs)))
        found = {str(f.attrs[LAYER]): str(f.attrs[COMPOSITE]).removeprefix("tvm_split.") for _, f in calls}
        assert len(found) == len(calls), "names differ"
        return found

    return kinds


def test_before_and_expected(apply_once):
    fused = apply_once(FuseActivation(), Before)
    tvm.ir.assert_structural_equal(fused, Expected)
    assert [gvar.name_hint for gvar in fused.get_global_vars()] == ["c", "main", "y"]


def test_layers_already_made_stay():
    fused = FuseActivation()(Before)
    tvm.ir.assert_structural_equal(FuseActivation()(fused), fused)


def test_the_same_numbers(run, run_layers):
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 3)).astype("float32")
    (fused,) = run_layers(FuseActivation()(Before), x)
    np.testing.assert_allclose(run(Before, x), fused, rtol=4 * 2.0**-24 * 3)


def silu(emit, x):
    return emit(relax.op.multiply(x, emit(relax.op.sigmoid(x), "s")), "r")


def hard_swish(emit, x):
    clipped = emit(relax.op.clip(emit(relax.op.add(x, number(3)), "a"), 0, 6), "k")
    return emit(relax.op.divide(emit(relax.op.multiply(x, clipped), "m"), number(6)), "r")


def gelu(emit, x):
    erf = emit(relax.op.erf(emit(relax.op.divide(x, number(2**0.5)), "d")), "e")
    product = emit(relax.op.multiply(x, emit(relax.op.add(erf, number(1)), "p")), "m")
    return emit(relax.op.multiply(product, number(0.5)), "r")


def hard_sigmoid(emit, x):
    line = emit(relax.op.add(emit(relax.op.multiply(x, number(1 / 6)), "m"), number(0.5)), "a")
    return emit(relax.op.clip(line, 0, 1), "r")


def hard_swish_of_hard_sigmoid(emit, x):
    return emit(relax.op.multiply(hard_sigmoid(emit, x), x), "y")


def hard_swish_by_a_factor(emit, x):
    clipped = emit(relax.op.nn.relu6(emit(relax.op.add(number(3), x), "a")), "k")
    return emit(relax.op.multiply(emit(relax.op.multiply(clipped, number(1 / 6)), "m"), x), "r")


def gelu_by_a_factor(emit, x):
    erf = emit(relax.op.erf(emit(relax.op.multiply(x, number(0.5**0.5)), "d")), "e")
    half = emit(relax.op.multiply(emit(relax.op.add(number(1), erf), "p"), number(0.5)), "m")
    return emit(relax.op.multiply(half, x), "r")


def other_hard_swish(emit, x):
    clipped = emit(relax.op.clip(emit(relax.op.add(x, number(2)), "a"), 0, 6), "k")
    return emit(relax.op.divide(emit(relax.op.multiply(x, clipped), "m"), number(6)), "r")


def other_gelu(emit, x):
    erf = emit(relax.op.erf(emit(relax.op.divide(x, number(2)), "d")), "e")
    product = emit(relax.op.multiply(x, emit(relax.op.add(erf, number(1)), "p")), "m")
    return emit(relax.op.multiply(product, number(0.5)), "r")


#: other spellings of an activation, and what only resembles one
SPELLINGS = {
    hard_sigmoid: "hard_sigmoid",
    hard_swish_of_hard_sigmoid: "hard_swish",
    hard_swish_by_a_factor: "hard_swish",
    gelu_by_a_factor: "gelu",
    other_hard_swish: "add_relu6_multiply_divide",
    other_gelu: "divide_erf_add_multiply_multiply",
    lambda emit, x: silu(emit, silu(emit, x)): "silu_silu",
}


@pytest.mark.parametrize(("make", "kind"), SPELLINGS.items())
def test_an_activation_is_told_by_what_it_computes(layers_of, make, kind):
    assert list(layers_of(lambda emit, x: make(emit, emit(relax.op.nn.max_pool2d(x), "p0"))).values())[1:] == [kind]


def test_a_gate_is_no_silu(layers_of):
    """x * sigmoid(y): squeeze-excite, and every other gate."""

    def body(emit, x, y):
        return emit(relax.op.multiply(x, emit(relax.op.sigmoid(y), "s")), "g")

    assert list(layers_of(body, inputs=2).values()) == ["sigmoid_multiply"]


def test_a_gate_that_reads_its_own_group_is_no_silu(layers_of):
    """c -> tanh(c) * sigmoid(c), as in WaveNet."""

    def body(emit, x):
        c = conv(emit, x)
        t = emit(relax.op.tanh(c), "t")
        return emit(relax.op.multiply(t, emit(relax.op.sigmoid(c), "s")), "g")

    assert layers_of(body) == {"c": "conv2d_tanh_sigmoid_multiply"}


ACTIVATIONS = {
    "relu": lambda emit, x: emit(relax.op.nn.relu(x), "r"),
    "relu6": lambda emit, x: emit(relax.op.clip(x, 0, 6), "r"),
    "clip": lambda emit, x: emit(relax.op.clip(x, -1, 1), "r"),
    "leaky_relu": lambda emit, x: emit(relax.op.nn.leakyrelu(x, 0.1), "r"),
    "sigmoid": lambda emit, x: emit(relax.op.sigmoid(x), "r"),
    "silu": silu,
    "hard_swish": hard_swish,
    "gelu": gelu,
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_joins_its_convolution(layers_of, kind):
    assert layers_of(lambda emit, x: ACTIVATIONS[kind](emit, conv(emit, x))) == {"c": f"conv2d_{kind}"}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_stays_together_after_a_pool(layers_of, kind):
    def body(emit, x):
        return ACTIVATIONS[kind](emit, emit(relax.op.nn.max_pool2d(x), "p0"))

    assert list(layers_of(body).values()) == ["max_pool2d", kind]


def test_activation_joins_after_the_bias(layers_of):
    def body(emit, x):
        return silu(emit, emit(relax.op.add(conv(emit, x), weights(1, 4, 1, 1)), "b"))

    assert layers_of(body) == {"c": "conv2d_bias_silu"}


def test_residual_joins_the_later_producer(layers_of):
    def body(emit, x):
        first = emit(relax.op.nn.relu(conv(emit, x, "c1")), "r1")
        second = conv(emit, first, "c2")
        return emit(relax.op.nn.relu(emit(relax.op.add(first, second), "a")), "r2")

    assert layers_of(body) == {"c1": "conv2d_relu", "c2": "conv2d_residual_relu"}


def test_two_convolutions_into_one_add(layers_of):
    def body(emit, x):
        return emit(relax.op.add(conv(emit, x, "left"), conv(emit, x, "right")), "a")

    assert layers_of(body) == {"left": "conv2d", "right": "conv2d_residual"}


def test_one_residual_a_layer(layers_of):
    def body(emit, x, y):
        return emit(relax.op.add(emit(relax.op.add(conv(emit, x), x), "a"), y), "b")

    assert layers_of(body, inputs=2) == {"c": "conv2d_residual", "gv": "add"}


def test_an_intermediate_that_a_pool_reads_too_is_not_hidden(layers_of):
    def body(emit, x):
        c = conv(emit, x)
        pooled = emit(relax.op.nn.max_pool2d(c), "p")
        return emit(relax.op.concat([emit(relax.op.nn.relu(c), "r"), pooled], axis=1), "y")

    assert layers_of(body) == {"c": "conv2d", "p": "max_pool2d", "r": "relu", "gv": "concat"}


def test_an_intermediate_that_is_an_output_is_not_hidden(layers_of):
    def body(emit, x):
        c = conv(emit, x)
        return emit(relax.Tuple([c, emit(relax.op.nn.relu(c), "r")]), "y")

    assert layers_of(body) == {"c": "conv2d", "r": "relu"}


def test_a_layer_never_depends_on_itself(layers_of):
    """c reaches the add both straight and around a pool: the add must stay out of c's layer."""

    def body(emit, x):
        c = conv(emit, x)
        around = emit(relax.op.nn.max_pool2d(c, pool_size=(3, 3), padding=(1, 1)), "p")
        return emit(relax.op.add(c, around), "a")

    assert layers_of(body) == {"c": "conv2d", "p": "max_pool2d", "gv": "add"}


def test_a_broadcast_that_grows_the_tensor_is_not_joined(layers_of):
    def body(emit, x):
        return emit(relax.op.add(conv(emit, x), weights(3, 4, 5, 5)), "a")

    assert layers_of(body) == {"c": "conv2d", "gv": "add"}


@I.ir_module
class Calls:
    @R.function(private=True)
    def helper(x: R.Tensor((2, 2), "float32")) -> R.Tensor((2, 2), "float32"):
        return R.nn.relu(x)

    @R.function
    def main(x: R.Tensor((2, 2), "float32")) -> R.Tensor((2, 2), "float32"):
        cls = Calls
        with R.dataflow():
            y = cls.helper(x)
            R.output(y)
        return y


def test_a_call_of_a_function_is_a_layer_of_that_name(apply_once):
    ((_, layer),) = layer_calls(apply_once(FuseActivation(), Calls))
    assert layer.attrs[COMPOSITE] == "tvm_split.helper"


def test_names_are_identifiers_and_differ(layers_of, build):
    def body(emit, x):
        for _ in range(3):
            x = emit(relax.op.nn.max_pool2d(x), "block/pool.1")
        return x

    names = list(layers_of(body))
    assert names == list(layers_of(body)), "stable"
    assert all(name.isidentifier() for name in names)
    assert extract.graph(FuseActivation()(build(body, SHAPE))).layers[-1].name == names[-1]
