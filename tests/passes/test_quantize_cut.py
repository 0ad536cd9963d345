"""QuantizeCut: the bound of its docstring, exact zeros, own widths, and the tensors that it must refuse."""

import logging

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract
from tvm_split.errors import PlanError
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut, dequantize
from tvm_split.quantizer import Quantizer

HALF_ULP = 2.0**-24


@I.ir_module
class Split:
    """Tensors s.0 and s.1 cross at {s}: t reads the whole tuple, v a part."""

    @R.function
    def main(x: R.Tensor((1, 4, 3), "float32")):
        with R.dataflow():
            s = R.split(x, 2, axis=1)
            t = R.concat(s, axis=1)
            u = s[0]
            v = R.nn.max_pool1d(u)
            out = (u, t, v)
            R.output(out)
        return out


def one_tensor(elements, dtype="float32"):
    """a = x moved (edge); y = a moved back (cloud): what the cloud sees is what crossed."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, elements), dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            a = builder.emit(relax.op.permute_dims(x, [1, 0]), name_hint="a")
            y = builder.emit_output(relax.op.permute_dims(a, [1, 0]), name_hint="y")
        builder.emit_func_output(y)
    return AssignCut({"a"})(FuseActivation()(builder.get()))


@pytest.fixture(scope="session")
def seen_by_the_cloud(apply_once, run_layers):
    def compute(quantizer, x):
        quantized = apply_once(QuantizeCut({"a": quantizer}), one_tensor(x.size))
        assert extract.graph(quantized).tensor["a_quantized"].dtype == quantizer.dtype
        (seen,) = run_layers(quantized, x.reshape(1, -1))
        return seen.reshape(-1)

    return compute


@settings(max_examples=15, deadline=None)
@given(
    bits=st.sampled_from([*range(1, 9), 16]),
    low=st.floats(-1e3, 1e3, width=32),
    span=st.floats(2.0**-10, 1e3, width=32),
    seed=st.integers(0, 99),
)
def test_the_bound(seen_by_the_cloud, bits, low, span, seed):
    high = low + span
    quantizer = Quantizer.of_range(bits, low, high)
    x = np.random.default_rng(seed).uniform(low, high, 50).astype("float32")
    x[:3] = low, high, 0
    got = seen_by_the_cloud(quantizer, x)
    # In float32, each step is within HALF_ULP of its result: the scale (felt at an end of the range, at most 2 reach
    # wide), x itself, x / scale, the product with the scale (at most reach + scale / 2, so 2 reach). The rest is exact.
    reach = max(abs(low), abs(high))
    assert (np.abs(got - x) <= quantizer.scale / 2 + (2 + 1 + 1 + 2) * HALF_ULP * reach * (1 + 2.0**-20)).all()
    assert got[2] == 0, "zero is exact"


@pytest.mark.parametrize(
    ("bits", "dtype", "top"), [(1, "uint8", 1), (4, "uint8", 15), (8, "uint8", 255), (16, "uint16", 65535)]
)
def test_outside_of_the_range_is_clipped(seen_by_the_cloud, bits, dtype, top):
    quantizer = Quantizer.of_range(bits, 0, 1)
    assert quantizer.dtype == dtype and quantizer.zero_point == 0
    got = seen_by_the_cloud(quantizer, np.array([-5, 0, 1, 9], "float32"))
    np.testing.assert_array_equal(got, np.float32([0, 0, top, top]) * np.float32(quantizer.scale))


def test_a_tensor_that_is_always_zero(seen_by_the_cloud):
    got = seen_by_the_cloud(Quantizer.of_range(8, 0, 0), np.zeros(4, "float32"))
    np.testing.assert_array_equal(got, np.zeros(4))


def test_parts_of_a_tuple_have_their_own_widths(apply_once, run_layers):
    mod = AssignCut({"s"})(FuseActivation()(Split))
    quantizers = {"s.0": Quantizer.of_range(4, -1, 1), "s.1": Quantizer.of_range(8, -1, 1), "v": None}
    quantized = apply_once(QuantizeCut(quantizers), mod)
    assert {"s_0_quantized", "s_1_quantized"} <= set(extract.graph(quantized).tensor)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    u, t, _ = run_layers(quantized, x)
    np.testing.assert_array_equal(u, x[:, :2], "an output made on the edge keeps its floats")
    for bits, i in ((4, 0), (8, 2)):
        error = np.abs(t - x)[:, i : i + 2].max()
        assert 2 / (2**bits - 1) / 8 < error <= 2 / (2**bits - 1) / 2 + 1e-6


def test_halves_of_a_tuple_that_crosses(run_layers, run_halves):
    quantizers = {"s.0": Quantizer.of_range(4, -1, 1), "s.1": Quantizer.of_range(8, -1, 1)}
    quantized = QuantizeCut(quantizers)(AssignCut({"s"})(FuseActivation()(Split)))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    sent = Partition("edge")(quantized)["main"].ret_ty.fields
    assert [str(ty.dtype) for ty in sent] == ["uint8", "uint8", "float32"]
    for got, want in zip(run_halves(quantized, x), run_layers(quantized, x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_nothing_to_quantise_changes_nothing_and_says_why(caplog):
    mod = one_tensor(3)
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        assert QuantizeCut({"y": Quantizer.of_range(8, 0, 1)})(mod).same_as(mod)
    assert "quantize-cut: 'y' stays: it does not cross" in caplog.text
    assert "quantize-cut: nothing to do: a crosses" in caplog.text


def test_a_result_wanted_at_the_cloud_stays_and_says_why(build, caplog):
    def body(emit, x):
        a = emit(relax.op.nn.relu(x), "a")
        return emit(relax.Tuple([a, emit(relax.op.nn.max_pool2d(a), "b")]), "y")

    mod = AssignCut({"a"}, result_at="cloud")(FuseActivation()(build(body, (1, 1, 2, 2))))
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        assert QuantizeCut({"a": Quantizer.of_range(8, 0, 1)})(mod).same_as(mod)
    assert "quantize-cut: 'a' stays: it is a result wanted at the cloud" in caplog.text


def test_a_name_that_is_none_is_refused_with_close_ones():
    mod = AssignCut({"s"})(FuseActivation()(Split))
    message = r"quantizers names 's_0', but the network has no such tensor; there are s\.0 and others, 5 in all"
    with pytest.raises(PlanError, match=message):
        QuantizeCut({"s_0": Quantizer.of_range(8, 0, 1)})(mod)


def test_an_integer_tensor_is_refused():
    with pytest.raises(PlanError, match="a tensor of int64 cannot be quantised; only floating-point tensors can"):
        QuantizeCut({"a": Quantizer.of_range(8, 0, 1)})(one_tensor(3, "int64"))


@pytest.mark.parametrize("bits", [0, 9, 32])
def test_other_widths_are_refused(bits):
    with pytest.raises(PlanError, match=f"'a' cannot be quantised to {bits} bits; the widths are 1 to 8 and 16"):
        QuantizeCut({"a": Quantizer(bits, 1.0, 0)})(one_tensor(3))


@pytest.mark.parametrize("bounds", [(1, 0), (0, np.inf), (np.nan, 1)])
def test_a_range_that_is_none(bounds):
    with pytest.raises(PlanError, match="must be finite with low <= high"):
        Quantizer.of_range(8, *bounds)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("bounds", [(0, LARGEST), (-LARGEST, 0), (-1.2e38, 2.2e38)])
def test_the_widest_ranges_come_back_finite(seen_by_the_cloud, bits, bounds):
    quantizer = Quantizer.of_range(bits, *bounds)
    got = seen_by_the_cloud(quantizer, np.array([*bounds, 0, -LARGEST, LARGEST], "float32"))
    assert np.isfinite(quantizer.scale) and np.isfinite(got).all()
    assert (np.abs(got[:3] - np.float64([*bounds, 0])) <= quantizer.scale / 2 * (1 + 2.0**-20)).all()


@pytest.mark.parametrize("bounds", [(-3e38, 3e38), (-LARGEST, 1e38)])
def test_a_range_wider_than_float32_is_refused(bounds):
    with pytest.raises(PlanError, match=r"is .* wide; expected at most 3\.40282e\+38"):
        Quantizer.of_range(1, *bounds)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("value", [2.7182818, -0.3, 1e-20, -1e30])
def test_a_range_of_one_value_is_exact_within_rounding(seen_by_the_cloud, bits, value):
    """One rounding of the scale, one of the product."""
    got = seen_by_the_cloud(Quantizer.of_range(bits, value, value), np.array([value, 0], "float32"))
    assert abs(got[0] - np.float64(np.float32(value))) <= 3 * HALF_ULP * abs(value) and got[1] == 0


def test_float16_stays_finite_past_its_range():
    """With a zero point of 0 the highest of 16 levels is 67504, more than float16 holds."""
    quantizer = Quantizer.of_range(4, -2000, 65504)
    seen = relax.BlockBuilder()
    q = relax.Var("q", relax.TensorType((2,), "uint8"))
    with seen.function("main", [q]):
        with seen.dataflow():
            out = seen.emit_output(dequantize(q, quantizer, "float16"))
        seen.emit_func_output(out)
    machine = relax.VirtualMachine(tvm.compile(seen.get(), "llvm"), tvm.cpu())
    got = machine["main"](tvm.runtime.tensor(np.array([0, 15], "uint8"))).numpy()
    np.testing.assert_array_equal(got, np.float16([0, 65504]))
