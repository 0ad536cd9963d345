"""QuantizeCut: the bound of its docstring, exact zeros, own widths, and the tensors that it must refuse."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, lower
from tvm_split.errors import PlanError
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut, Quantizer

TARGET = tvm.target.Target("llvm")
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


def run(mod, x):
    machine = relax.VirtualMachine(tvm.compile(mod, TARGET, relax_pipeline=lower.pipeline(TARGET)), tvm.cpu())
    return machine["main"](tvm.runtime.tensor(x))


def seen_by_the_cloud(quantizer, x):
    mod = one_tensor(x.size)
    before = tvm_ffi.structural_hash(mod)
    quantized = QuantizeCut({"a": quantizer})(mod)
    assert tvm_ffi.structural_hash(mod) == before
    relax.analysis.well_formed(quantized)
    assert extract.graph(quantized).tensor["a_quantized"].dtype == quantizer.dtype
    return run(quantized, x.reshape(1, -1)).numpy().reshape(-1)


@settings(max_examples=15, deadline=None)
@given(
    bits=st.sampled_from([*range(1, 9), 16]),
    low=st.floats(-1e3, 1e3, width=32),
    span=st.floats(2.0**-10, 1e3, width=32),
    seed=st.integers(0, 99),
)
def test_the_bound(bits, low, span, seed):
    high = low + span
    quantizer = Quantizer.of_range(bits, low, high)
    x = np.random.default_rng(seed).uniform(low, high, 50).astype("float32")
    x[:3] = low, high, 0
    got = seen_by_the_cloud(quantizer, x)
    # scale / 2 for the rounding, as much again where the rounded zero point clips an end of the range, then float32
    reach = max(abs(low), abs(high))
    assert (np.abs(got - x) <= quantizer.scale + 8 * HALF_ULP * reach).all()
    inside = (x >= -quantizer.zero_point * quantizer.scale) & (
        x <= (2**bits - 1 - quantizer.zero_point) * quantizer.scale
    )
    assert (np.abs(got - x)[inside] <= quantizer.scale / 2 + 8 * HALF_ULP * reach).all()
    assert got[2] == 0, "zero is exact"


@pytest.mark.parametrize(
    ("bits", "dtype", "top"), [(1, "uint8", 1), (4, "uint8", 15), (8, "uint8", 255), (16, "uint16", 65535)]
)
def test_outside_of_the_range_is_clipped(bits, dtype, top):
    quantizer = Quantizer.of_range(bits, 0, 1)
    assert quantizer.dtype == dtype and quantizer.zero_point == 0
    got = seen_by_the_cloud(quantizer, np.array([-5, 0, 1, 9], "float32"))
    np.testing.assert_array_equal(got, np.float32([0, 0, top, top]) * np.float32(quantizer.scale))


def test_a_tensor_that_is_always_zero():
    got = seen_by_the_cloud(Quantizer.of_range(8, 0, 0), np.zeros(4, "float32"))
    np.testing.assert_array_equal(got, np.zeros(4))


def test_parts_of_a_tuple_have_their_own_widths():
    mod = AssignCut({"s"})(FuseActivation()(Split))
    quantizers = {"s.0": Quantizer.of_range(4, -1, 1), "s.1": Quantizer.of_range(8, -1, 1), "elsewhere": None}
    quantized = QuantizeCut(quantizers)(mod)
    relax.analysis.well_formed(quantized)
    assert {"s_0_quantized", "s_1_quantized"} <= set(extract.graph(quantized).tensor)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    u, t, _ = (out.numpy() for out in run(quantized, x))
    np.testing.assert_array_equal(u, x[:, :2], "an output made on the edge keeps its floats")
    for bits, i in ((4, 0), (8, 2)):
        error = np.abs(t - x)[:, i : i + 2].max()
        assert 2 / (2**bits - 1) / 8 < error <= 2 / (2**bits - 1) / 2 + 1e-6


def test_halves_of_a_tuple_that_crosses():
    quantizers = {"s.0": Quantizer.of_range(4, -1, 1), "s.1": Quantizer.of_range(8, -1, 1)}
    quantized = QuantizeCut(quantizers)(AssignCut({"s"})(FuseActivation()(Split)))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    *sent, u = run(Partition("edge")(quantized), x)
    assert [str(tensor.dtype) for tensor in sent] == ["uint8", "uint8"] and str(u.dtype) == "float32"
    cloud = Partition("cloud")(quantized)
    relax.analysis.well_formed(cloud)
    machine = relax.VirtualMachine(tvm.compile(cloud, TARGET, relax_pipeline=lower.pipeline(TARGET)), tvm.cpu())
    whole = run(quantized, x)
    for got, want in zip(machine["main"](*sent), whole[1:], strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_nothing_to_quantise_changes_nothing():
    mod = one_tensor(3)
    assert QuantizeCut({"y": Quantizer.of_range(8, 0, 1)})(mod).same_as(mod)


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
