"""RemoveIdentity: every no-op once, what only looks like one, and the numbers."""

import numpy as np
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.remove_identity import RemoveIdentity


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 3), "float32")) -> R.Tensor((1, 2, 3), "float32"):
        with R.dataflow():
            dropped = R.nn.dropout(x, rate=0.5)
            d = dropped[0]
            e = R.reshape(d, (1, 2, 3))
            f = R.permute_dims(e, axes=[0, 1, 2])
            g = R.astype(f, "float32")
            h = R.broadcast_to(g, (1, 2, 3))
            i = R.squeeze(h, axis=[])
            j = R.concat((i,), axis=1)
            k = R.split(j, 1, axis=1)
            m = R.multiply(R.const(1.0, "float32"), k)
            n = R.add(m, R.const(np.zeros((2, 1), "float32")))
            o = R.subtract(n, R.const(0.0, "float32"))
            p = R.divide(o, R.const(1.0, "float32"))
            q = R.nn.pad(p, (0, 0, 0, 0, 0, 0))
            r = R.nn.relu(q)
            s = R.nn.relu(r)
            t = R.permute_dims(s, axes=[2, 0, 1])
            u = R.permute_dims(t, axes=[1, 2, 0])
            v = R.reshape(u, (6,))
            w = R.reshape(v, (3, 2))
            y = R.reshape(w, (1, 2, 3))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 3), "float32")) -> R.Tensor((1, 2, 3), "float32"):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


@I.ir_module
class Stays:
    @R.function
    def main(x: R.Tensor((1, 2), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            broadcast = R.add(x, R.const(np.zeros((3, 1), "float32")))
            backwards = R.subtract(R.const(0.0, "float32"), broadcast)
            inverse = R.divide(R.const(1.0, "float32"), backwards)
            half = R.astype(inverse, "float16")
            whole = R.astype(half, "float32")
            two = R.multiply(whole, R.const(np.array([1, 2], "float32")))
            flat = R.reshape(two, (6,))
            pair = R.split(flat, 2, axis=0)
            first = pair[0]
            padded = R.nn.pad(first, (0, 3))
            square = R.reshape(padded, (3, 2))
            y = R.permute_dims(square)
            R.output(y)
        return y


@I.ir_module
class Nothing:
    @R.function
    def main(x: R.Tensor((1, 2), "float32")) -> R.Tensor((1, 2), "float32"):
        with R.dataflow():
            y = R.multiply(x, R.const(1.0, "float32"))
            R.output(y)
        return y


def test_every_no_op_goes(apply):
    result = apply(tvm.transform.Sequential([RemoveIdentity(), RemoveIdentity()]), Before)
    tvm.ir.assert_structural_equal(result, Expected)


def test_operators_that_compute_something_stay(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    assert apply(RemoveIdentity(), Stays).same_as(Stays)
    assert "RemoveIdentity: nothing to do: no operator that returns its operand in main" in caplog.text


def test_a_function_may_end_as_its_parameter(apply, run):
    result = apply(RemoveIdentity(), Nothing)
    x = np.array([[1, -2]], "float32")
    np.testing.assert_array_equal(run(result, x), x)


@settings(max_examples=10, deadline=None)
@given(orders=st.lists(st.permutations(range(4)), min_size=1, max_size=3), flat=st.booleans())
def test_same_numbers_through_permutations(apply, run, orders, flat):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3, 4, 5), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.relu(x))
            for order in orders:
                y = builder.emit(relax.op.permute_dims(y, list(order)))
            if flat:
                y = builder.emit(relax.op.reshape(builder.emit(relax.op.reshape(y, (6, 20))), (120,)))
            y = builder.emit_output(relax.op.add(y, relax.const(1.0, "float32")))
        builder.emit_func_output(y)
    mod = builder.get()
    result = apply(tvm.transform.Sequential([RemoveIdentity(), RemoveIdentity()]), mod)
    assert result.script().count("permute_dims") <= 1 and result.script().count("R.reshape") == flat
    data = np.random.default_rng(2).standard_normal((2, 3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(run(mod, data), run(result, data))
