"""RoundWeights: before and expected; the codes that quantize-layers finds again; what it refuses."""

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.errors import PlanError
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.bindings import constant, operator
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import LAYER, layer_calls, main_bindings
from tvm_split.passes.quantize_layers import QuantizeLayers
from tvm_split.passes.round_weights import Rounded, RoundWeights, bias_of

RANDOM = np.random.default_rng(0)
W, B = RANDOM.normal(size=(3, 2, 1, 1)).astype("float32"), RANDOM.normal(size=(1, 3, 1, 1)).astype("float32")
V = RANDOM.normal(size=(3, 3, 1, 1)).astype("float32")
CODES = np.array([[7, -2], [-7, 7], [0, 7]], "int8").reshape(3, 2, 1, 1)
SCALES = np.array([0.1, 0.25, 0.003], "float32")
NEW, SHIFT = CODES * SCALES.reshape(3, 1, 1, 1), np.array([0.5, -1, 0.125])


def network(w, b):
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 3, 4, 4), "float32"):
            with R.dataflow():
                c = R.nn.conv2d(x, R.const(w))
                a = R.add(c, R.const(b))
                r = R.nn.relu(a)
                d = R.nn.conv2d(r, R.const(V))
                s = R.nn.softmax(d)
                R.output(s)
            return s

    return FuseActivation()(Module)


def test_before_and_expected(apply_once):
    found = apply_once(RoundWeights({"c": Rounded(NEW, SHIFT)}), network(W, B))
    tvm.ir.assert_structural_equal(found, network(NEW, B + SHIFT.reshape(1, 3, 1, 1).astype("float32")))


def test_a_layer_without_a_bias_gets_none(apply_once):
    found = apply_once(RoundWeights({"d": Rounded(V + 1, SHIFT)}), network(W, B))
    functions = {str(callee.attrs[LAYER]): callee for _, callee in layer_calls(found)}
    assert bias_of(functions["d"]) is None
    np.testing.assert_array_equal(bias_of(functions["c"]), B)


def test_quantize_layers_finds_the_codes_again(apply_once):
    rounded = RoundWeights({"c": Rounded(NEW, SHIFT)})(network(W, B))
    found = QuantizeLayers()(AnnotatePrecision({"c": 4})(rounded))
    _, bindings = main_bindings(found)
    (weights,) = [b.value for b in bindings if operator(b.value) == "relax.dequantize"]
    np.testing.assert_array_equal(constant(weights.args[0]), CODES)
    np.testing.assert_allclose(constant(weights.args[1]), SCALES, rtol=3e-7)


def test_nothing_to_do():
    mod = network(W, B)
    tvm.ir.assert_structural_equal(RoundWeights({})(mod), mod)


@pytest.mark.parametrize(
    ("rounded", "message"),
    [
        ({"e": Rounded(W)}, "rounded names 'e', but the network has no such layer"),
        ({"c": Rounded(V)}, r"weights for 'c' are \(3, 3, 1, 1\); expected \(3, 2, 1, 1\)"),
        ({"s": Rounded(W)}, "layer 's' has no constant float32 weights"),
    ],
)
def test_what_does_not_fit(rounded, message):
    with pytest.raises(PlanError, match=message):
        RoundWeights(rounded)(network(W, B))
