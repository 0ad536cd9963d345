"""PackCut: the payload against NumPy, bit for bit, and back; its layout; the cuts without a payload."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract
from tvm_split.graph import Tensor
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import layer_calls
from tvm_split.passes.pack_cut import PackCut, read_layout
from tvm_split.passes.pack_kernels import pack_kernel, unpack_kernel
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.quantizer import Quantizer

TARGET = tvm.target.Target("llvm")


def reference(array, bits):
    """The layout of pack_cut.py's docstring, by NumPy."""
    if bits >= 8:
        return np.frombuffer(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes(), np.uint8)
    every = np.unpackbits(array.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(every.reshape(-1), bitorder="little")


def check_there_and_back(array, bits, before=0, after=0):
    """Run the two kernels; the payload has `before` and `after` foreign bytes around the tensor's."""
    tensor = Tensor("t", array.shape, str(array.dtype))
    packed = reference(array, bits)
    total = before + packed.size + after
    kernels = {"pack": pack_kernel(tensor, bits), "unpack": unpack_kernel(tensor, bits, before, total)}
    library = tvm.compile(tvm.IRModule({n: f.with_attr("global_symbol", n) for n, f in kernels.items()}), TARGET)
    payload = tvm.runtime.tensor(np.zeros(packed.size, np.uint8))
    library["pack"](tvm.runtime.tensor(array), payload)
    np.testing.assert_array_equal(payload.numpy(), packed)
    foreign = np.full(total, 0xFF, np.uint8)
    foreign[before : before + packed.size] = packed
    back = tvm.runtime.tensor(np.zeros_like(array))
    library["unpack"](tvm.runtime.tensor(foreign), back)
    assert back.numpy().tobytes() == array.tobytes()


def integers(shape, bits, seed=0):
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(dtype)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize("shape", [(1,), (1, 3, 5, 7), (2, 8)])
def test_every_width(bits, shape):
    check_there_and_back(integers(shape, bits), bits, before=3, after=2)


@pytest.mark.parametrize("bits", [1, 3, 4, 8, 16])
def test_a_tensor_of_no_dimensions(bits):
    check_there_and_back(integers((), bits), bits, after=1)


@pytest.mark.parametrize("bits", [3, 8])
def test_more_than_one_chunk(bits):
    check_there_and_back(integers((4099, 9), bits), bits)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "int64", "uint32", "float16", "float32", "float64"]
)
def test_every_dtype_at_its_own_width(dtype):
    raw = np.random.default_rng(1).integers(0, 256, 3 * 5 * np.dtype(dtype).itemsize).astype(np.uint8)
    array = (raw.reshape(3, 5) & 1).astype(bool) if dtype == "bool" else raw.view(dtype).reshape(3, 5)
    check_there_and_back(array, 8 * array.itemsize, before=1)


def test_float_specials_keep_their_bits():
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x00000001, 0x7F800000], np.uint32)
    check_there_and_back(bits.view(np.float32), 32)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(1, 6), max_size=4), st.integers(0, 9), st.integers(0, 99))
def test_any_shape(bits, shape, before, seed):
    check_there_and_back(integers(tuple(shape), bits, seed), bits, before)


def network(names=("a", "b")):
    """x -> a (float32, odd size), x -> b (bool-like int64 argmax); y reads both: two dtypes cross."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, 5), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            a = builder.emit(relax.op.permute_dims(x, [0, 2, 1]), name_hint=names[0])
            b = builder.emit(relax.op.argmax(x, axis=1), name_hint=names[1])
            y = builder.emit_output(relax.op.take(a, relax.op.reshape(b, (5,)), axis=1), name_hint="y")
        builder.emit_func_output(y)
    return FuseActivation()(builder.get())


def test_layout_and_numbers(apply_once, run_layers):
    marked = QuantizeCut({"a": Quantizer.of_range(3, -1, 1)})(AssignCut({"a", "b"})(network()))
    packed = apply_once(PackCut(), marked)
    layout = {part.tensor: (part.bits, part.offset, part.size_bytes, part.dtype) for part in read_layout(packed)}
    assert layout == {"b": (64, 0, 40, "int64"), "a": (3, 40, 6, "uint8")}
    graph = extract.graph(packed)
    assert graph.tensor["payload"].shape == (46,) and graph.tensor["payload"].dtype == "uint8"
    assert graph.crossing(
        name for name in (c.name for c in graph.layers) if name in {*"ab", "a_quantized", "payload"}
    ) == ("payload",)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 5)).astype("float32")
    np.testing.assert_array_equal(run_layers(packed, x), run_layers(marked, x))


def test_names_that_the_network_has_already(run_layers):
    names = ("payload", "payload_a")
    packed = PackCut()(AssignCut(set(names))(network(names)))
    assert len(layer_calls(packed)) == len({layer.name for layer in extract.graph(packed).layers})
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 5)).astype("float32")
    np.testing.assert_array_equal(run_layers(packed, x), run_layers(network(names), x))


def test_a_tuple_of_tensors_from_both_sides(build, run_halves, run_layers):
    def body(emit, x):
        a = emit(relax.op.nn.max_pool2d(x), "a")
        pair = emit(relax.Tuple([a, emit(relax.op.nn.avg_pool2d(a, (3, 3), padding=1), "b")]), "pair")
        return relax.op.concat(pair, axis=1)

    mod = FuseActivation()(build(body, (1, 2, 4, 4)))
    packed = PackCut()(AssignCut({"a"})(mod))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 4)).astype("float32")
    np.testing.assert_array_equal(run_halves(packed, x), run_layers(mod, x))


def test_inputs_cross_too():
    packed = PackCut()(AssignCut(())(network()))
    assert [(part.tensor, part.bits, part.size_bytes, part.scale) for part in read_layout(packed)] == [
        ("x", 32, 60, None)
    ]


def test_nothing_crosses():
    mod = network()
    marked = AssignCut({layer.name for layer in extract.graph(mod).layers})(mod)
    packed = PackCut()(marked)
    tvm.ir.assert_structural_equal(packed, marked)
    assert read_layout(packed) == ()
