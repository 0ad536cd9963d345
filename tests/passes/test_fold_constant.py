"""FoldConstant: constants go, quantised weights stay."""

import numpy as np
import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.fold_constant import FoldConstant


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            w = R.dequantize(R.const(np.eye(3, dtype="int8")), R.const(0.5, "float32"), R.const(0, "int8"), axis=0)
            product = R.matmul(x, w)
            bias = R.reshape(R.const(np.array([1, 2, 3], "float32")), (1, 3))
            y = R.add(product, bias)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            w = R.dequantize(R.const(np.eye(3, dtype="int8")), R.const(0.5, "float32"), R.const(0, "int8"), axis=0)
            product = R.matmul(x, w)
            y = R.add(product, R.const(np.array([[1, 2, 3]], "float32")))
            R.output(y)
        return y


def test_quantised_weights_stay_and_the_bias_is_folded(apply, run):
    result = apply(FoldConstant(), Before)
    tvm.ir.assert_structural_equal(result, Expected)
    x = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(run(Before, x), run(result, x))


def test_all_is_folded_where_nothing_is_kept(apply):
    assert "dequantize" not in apply(FoldConstant(keep=()), Before).script()


def test_nothing_to_fold(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    assert apply(FoldConstant(), Expected).same_as(Expected)
    assert "no operator reads constants alone, relax.dequantize aside" in caplog.text
