"""FuseActivation: Before and Expected, the kinds that it names, and the graphs that it must not fuse."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, lower
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


def network(body, inputs=1):
    """`body(emit, x, ...)` as `main`; emit(expr, name) binds."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(SHAPE, "float32")) for i in range(inputs)]

    def emit(expr, name):
        return builder.emit(expr, name_hint=name)

    with builder.function("main", params):
        with builder.dataflow():
            out = builder.emit_output(body(emit, *params))
        builder.emit_func_output(out)
    return builder.get()


def weights(*shape, seed=0):
    return relax.const(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def conv(emit, x, name="c"):
    return emit(relax.op.nn.conv2d(x, weights(4, 4, 1, 1)), name)


def number(value):
    return relax.const(np.float32(value))


def layers_of(mod):
    """Fuse, check the input is untouched and the result well formed, and give {name: kind}."""
    before = tvm_ffi.structural_hash(mod, map_free_vars=True)
    fused = FuseActivation()(mod)
    assert tvm_ffi.structural_hash(mod, map_free_vars=True) == before
    relax.analysis.well_formed(fused)
    names = [str(callee.attrs[LAYER]) for _, callee in layer_calls(fused)]
    assert len(set(names)) == len(names)
    return {str(f.attrs[LAYER]): str(f.attrs[COMPOSITE]).removeprefix("tvm_split.") for _, f in layer_calls(fused)}


def test_before_and_expected():
    fused = FuseActivation()(Before)
    tvm.ir.assert_structural_equal(fused, Expected)
    assert [gvar.name_hint for gvar in fused.get_global_vars()] == ["c", "main", "y"]


def test_layers_already_made_stay():
    fused = FuseActivation()(Before)
    tvm.ir.assert_structural_equal(FuseActivation()(fused), fused)


def test_the_same_numbers():
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 3)).astype("float32")
    target = tvm.target.Target("llvm")
    plain = relax.VirtualMachine(tvm.compile(Before, target), tvm.cpu())
    fused = relax.VirtualMachine(
        tvm.compile(FuseActivation()(Before), target, relax_pipeline=lower.pipeline(target)), tvm.cpu()
    )
    outs = [vm["main"](tvm.runtime.tensor(x)).numpy() for vm in (plain, fused)]
    np.testing.assert_allclose(outs[0], outs[1], rtol=4 * 2.0**-24 * 3)


def silu(emit, x):
    return emit(relax.op.multiply(x, emit(relax.op.sigmoid(x), "s")), "r")


def hard_swish(emit, x):
    clipped = emit(relax.op.clip(emit(relax.op.add(x, number(3)), "a"), 0, 6), "k")
    return emit(relax.op.divide(emit(relax.op.multiply(x, clipped), "m"), number(6)), "r")


def gelu(emit, x):
    erf = emit(relax.op.erf(emit(relax.op.divide(x, number(2**0.5)), "d")), "e")
    product = emit(relax.op.multiply(x, emit(relax.op.add(erf, number(1)), "p")), "m")
    return emit(relax.op.multiply(product, number(0.5)), "r")


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
def test_activation_joins_its_convolution(kind):
    assert layers_of(network(lambda emit, x: ACTIVATIONS[kind](emit, conv(emit, x)))) == {"c": f"conv2d_{kind}"}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_stays_together_after_a_pool(kind):
    def body(emit, x):
        return ACTIVATIONS[kind](emit, emit(relax.op.nn.max_pool2d(x), "p0"))

    assert list(layers_of(network(body)).values()) == ["max_pool2d", kind]


def test_activation_joins_after_the_bias():
    def body(emit, x):
        return silu(emit, emit(relax.op.add(conv(emit, x), weights(1, 4, 1, 1)), "b"))

    assert layers_of(network(body)) == {"c": "conv2d_bias_silu"}


def test_residual_joins_the_later_producer():
    def body(emit, x):
        first = emit(relax.op.nn.relu(conv(emit, x, "c1")), "r1")
        second = conv(emit, first, "c2")
        return emit(relax.op.nn.relu(emit(relax.op.add(first, second), "a")), "r2")

    assert layers_of(network(body)) == {"c1": "conv2d_relu", "c2": "conv2d_residual_relu"}


def test_two_convolutions_into_one_add():
    def body(emit, x):
        return emit(relax.op.add(conv(emit, x, "left"), conv(emit, x, "right")), "a")

    assert layers_of(network(body)) == {"left": "conv2d", "right": "conv2d_residual"}


def test_one_residual_a_layer():
    def body(emit, x, y):
        return emit(relax.op.add(emit(relax.op.add(conv(emit, x), x), "a"), y), "b")

    assert layers_of(network(body, inputs=2)) == {"c": "conv2d_residual", "gv": "add"}


def test_an_intermediate_that_a_pool_reads_too_is_not_hidden():
    def body(emit, x):
        c = conv(emit, x)
        pooled = emit(relax.op.nn.max_pool2d(c), "p")
        return emit(relax.op.concat([emit(relax.op.nn.relu(c), "r"), pooled], axis=1), "y")

    assert layers_of(network(body)) == {"c": "conv2d", "p": "max_pool2d", "r": "relu", "gv": "concat"}


def test_an_intermediate_that_is_an_output_is_not_hidden():
    def body(emit, x):
        c = conv(emit, x)
        return emit(relax.Tuple([c, emit(relax.op.nn.relu(c), "r")]), "y")

    assert layers_of(network(body)) == {"c": "conv2d", "r": "relu"}


def test_a_layer_never_depends_on_itself():
    """c reaches the add both straight and around a pool: the add must stay out of c's layer."""

    def body(emit, x):
        c = conv(emit, x)
        around = emit(relax.op.nn.max_pool2d(c, pool_size=(3, 3), padding=(1, 1)), "p")
        return emit(relax.op.add(c, around), "a")

    assert layers_of(network(body)) == {"c": "conv2d", "p": "max_pool2d", "gv": "add"}


def test_a_broadcast_that_grows_the_tensor_is_not_joined():
    def body(emit, x):
        return emit(relax.op.add(conv(emit, x), weights(3, 4, 5, 5)), "a")

    assert layers_of(network(body)) == {"c": "conv2d", "gv": "add"}


def test_names_are_identifiers_and_differ():
    def body(emit, x):
        for _ in range(3):
            x = emit(relax.op.nn.max_pool2d(x), "block/pool.1")
        return x

    mod = network(body)
    names = list(layers_of(mod))
    assert names == list(layers_of(mod)), "stable"
    assert all(name.isidentifier() for name in names)
    assert extract.graph(FuseActivation()(mod)).layers[-1].name == names[-1]
