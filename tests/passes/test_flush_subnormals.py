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
WEIGHTS = np.array([0.5, 1e-40, -3e-39, 0.0, TINY, -TINY], np.float32).reshape(1, 6)
FLUSHED = np.array([0.5, 0.0, -0.0, 0.0, TINY, -TINY], np.float32).reshape(1, 6)


def network(weights, kind="float32"):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 6), kind))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.multiply(x, relax.const(weights, kind)))
            both = builder.emit_output(relax.op.concat([y, relax.const(weights, kind)], axis=0))
        builder.emit_func_output(both)
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
    assert len(constants(result)) == 2 and all(found.tobytes() == FLUSHED.tobytes() for found in constants(result))


@pytest.mark.parametrize(
    ("weights", "kind"),
    [(FLUSHED, "float32"), (WEIGHTS.astype("float64"), "float64"),
     (np.array([[0, 6e-8, 1, 2, 3, 4]], "float16"), "float16"), (np.arange(6, dtype="int32").reshape(1, 6), "int32")],
)  # fmt: skip
def test_everything_else_stays_and_nothing_to_do_is_said(apply, weights, kind, caplog):
    caplog.set_level("INFO", "tvm_split")
    mod = network(weights, kind)
    assert apply(FlushSubnormals(), mod).same_as(mod) and "FlushSubnormals: nothing to do" in caplog.text


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
