"""layer_weights: the axis of the output channels is the one whose indices give independent outputs."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_weights import layer_weights


def network(shape, weight, call):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            c = builder.emit(call(x, weight if isinstance(weight, relax.Expr) else relax.const(weight)), "c")
            y = builder.emit_output(relax.op.nn.relu(c), "y")
        builder.emit_func_output(y)
    return FuseActivation()(builder.get())


@pytest.mark.parametrize(
    ("shape", "weight", "call", "axis", "groups", "layout"),
    [
        ((1, 4, 5, 5), (6, 2, 3, 3), lambda x, w: relax.op.nn.conv2d(x, w, groups=2), 0, 2, "OIHW"),
        ((1, 4, 5, 5), (4, 6, 3, 3), relax.op.nn.conv2d_transpose, 1, 1, "IOHW"),
        ((3, 4), (4, 6), relax.op.matmul, 1, 1, "IO"),
        ((1, 4, 9), (6, 4, 3), relax.op.nn.conv1d, 0, 1, "OIW"),
    ],
)
def test_axis_of_the_outputs(run, shape, weight, call, axis, groups, layout):
    random = np.random.default_rng(0)
    array, x = (random.normal(size=size).astype("float32") for size in (weight, shape))
    mod = network(shape, array, call)
    (found,) = layer_weights(mod).values()
    assert (found.axis, found.groups, found.layout) == (axis, groups, layout)
    one = array.copy()
    np.moveaxis(one, axis, 0)[2] *= -1
    changed = run(mod, x) != run(network(shape, one, call), x)
    channels = 1 if len(shape) > 2 else -1
    assert set(np.nonzero(changed)[channels % len(shape)]) == {2}


def test_weights_that_are_no_constant():
    assert (
        layer_weights(network((3, 4), relax.const(np.ones((4, 2), "float16")), lambda x, _: relax.op.nn.relu(x))) == {}
    )
