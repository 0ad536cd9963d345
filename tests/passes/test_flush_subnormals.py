"""FlushSubnormals: Before and Expected, what it leaves alone, and where it stands in the pipeline."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import pipeline
from tvm_split.passes.bindings import constant
from tvm_split.passes.flush_subnormals import FlushSubnormals
from tvm_split.passes.layering import layer_calls

TINY = np.finfo(np.float32).tiny
WEIGHTS = np.array([0.5, 1e-40, -3e-39, 0.0, TINY, -TINY], np.float32).reshape(6, 1)
FLUSHED = np.array([0.5, 0.0, -0.0, 0.0, TINY, -TINY], np.float32).reshape(6, 1)


def network(weights, kind="float32"):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 6), kind))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.matmul(x, relax.const(weights, kind)))
        builder.emit_func_output(y)
    mod = builder.get()
    mod["main"] = mod["main"].with_attr("num_input", 1)
    return mod


def constants(mod):
    found = []
    relax.analysis.post_order_visit(
        mod["main"], lambda node: found.append(node.value.numpy()) if isinstance(node, tvm.ir.GenericConst) else None
    )
    return found


def test_what_is_below_the_least_normal_number_is_zero_of_its_sign(apply):
    result = apply(FlushSubnormals(), network(WEIGHTS))
    tvm.ir.assert_structural_equal(result, network(FLUSHED))
    assert [found.tobytes() for found in constants(result)] == [FLUSHED.tobytes()]


@pytest.mark.parametrize(
    ("weights", "kind"),
    [(FLUSHED, "float32"), (WEIGHTS.astype("float64"), "float64"),
     (np.array([[0], [6e-8], [1], [2], [3], [4]], "float16"), "float16"),
     (np.arange(6, dtype="int32").reshape(6, 1), "int32")],
)  # fmt: skip
def test_everything_else_stays_and_nothing_to_do_is_said(apply, weights, kind, caplog):
    caplog.set_level("INFO", "tvm_split")
    mod = network(weights, kind)
    assert apply(FlushSubnormals(), mod).same_as(mod) and "FlushSubnormals: nothing to do" in caplog.text


@pytest.mark.parametrize("operator", ["add", "multiply", "divide", "maximum", "subtract"])
def test_what_may_keep_a_divisor_from_zero_stays(apply, build, operator):
    """log(maximum(x, 1e-38)) is -87.5 at 0, and log(maximum(x, 0)) is not."""
    tiny = relax.const(np.full((1, 6), 1e-39, "float32"))
    mod = build(lambda emit, x: emit(relax.op.log(emit(getattr(relax.op, operator)(x, tiny)))), (1, 6))
    assert apply(FlushSubnormals(), mod).same_as(mod)


def test_weights_that_a_folded_norm_made_small_are_flushed(build):
    weight = relax.const(np.full((4, 3, 1, 1), 1e-20, "float32"))
    ones, scale = relax.const(np.ones(4, "float32")), relax.const(np.full(4, 1e-20, "float32"))

    def body(emit, x):
        convolved = emit(relax.op.nn.conv2d(x, weight))
        normed = emit(relax.op.nn.batch_norm(convolved, scale, ones, ones, ones, axis=1, training=False))
        return emit(relax.TupleGetItem(normed, 0))

    mod = pipeline.layers()(build(body, (1, 3, 8, 8)))
    (_, layer), *_ = layer_calls(mod)
    arrays = []
    relax.analysis.post_order_visit(layer, lambda node: arrays.append(constant(node)))
    weights = [array for array in arrays if array is not None and array.shape == (4, 3, 1, 1)]
    assert weights and not any(array.any() for array in weights)
