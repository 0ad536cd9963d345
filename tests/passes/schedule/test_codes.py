"""Layers of 8-bit codes that are no convolution: NumPy's numbers for any shape, whichever rule takes them."""

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.schedule import RULE, RULES, schedule

op = relax.op
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})
NEEDS = {"x86-64": "sse2", "x86-64-v3": "avx2", "skylake-avx512": "avx512bw", "cascadelake": "avx512vnni"}
#: this processor, and those whose programs it can run
RUN = [HOST] + [
    tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})
    for name, need in NEEDS.items()
    if tvm.target.codegen.target_has_features(need, HOST)
]
BOARD = tvm.target.Target("raspberry-pi/4b-aarch64")
#: a vector of the board among operands
VECTORS = r"\tv\d+\.\d+[bhs]|\tq\d+"
SCALE, ZERO = np.float32(0.0625), 9  # a power of two: sums and products of codes are exact, so every bit is known


def real(x):
    return op.dequantize(x, relax.const(SCALE), relax.const(np.uint8(ZERO)), axis=-1, out_dtype="float32")


def codes(x):
    return op.quantize(x, relax.const(SCALE), relax.const(np.uint8(ZERO)), axis=-1, out_dtype="uint8")


def reals(x):
    return (x.astype("float32") - ZERO) * SCALE


def coded(x):
    return np.clip(np.rint(x / SCALE) + ZERO, 0, 255).astype("uint8")


def windows(x, size, stride):
    """[N][OH][OW][C][size * size]"""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
    return view.reshape(*view.shape[:4], -1)


SHAPE, PART = (1, 14, 13, 48), (1, 1, 1, 48)
POOL = {"layout": "NHWC"}
LAYERS = {
    "add": (
        lambda e, x, y: codes(e(op.add(e(real(x)), e(real(y))))),
        lambda x, y: coded(reals(x) + reals(y)), SHAPE, SHAPE,
    ),
    "scale": (
        lambda e, x, y: codes(e(op.multiply(e(real(x)), e(real(y))))),
        lambda x, y: coded(reals(x) * reals(y)), SHAPE, PART,
    ),
    "clip": (lambda e, x: codes(e(op.clip(e(real(x)), 0, 6))), lambda x: coded(np.clip(reals(x), 0, 6)), SHAPE),
    "maximum": (lambda e, x, y: op.maximum(x, y), np.maximum, SHAPE, SHAPE),
    "concat": (lambda e, x, y: op.concat([x, y], 3), lambda x, y: np.concatenate([x, y], 3), SHAPE, (1, 14, 13, 24)),
    "slice": (lambda e, x: op.strided_slice(x, [1, 2], [1, 0], [14, 13], [2, 1]), lambda x: x[:, 1::2], SHAPE),
    "transpose": (lambda e, x: op.permute_dims(x, [0, 3, 1, 2]), lambda x: x.transpose(0, 3, 1, 2), (1, 16, 64, 64)),
    "max_pool": (
        lambda e, x: op.nn.max_pool2d(x, (3, 3), (2, 2), **POOL), lambda x: windows(x, 3, 2).max(-1), SHAPE,
    ),
    "global_sum": (
        lambda e, x: op.sum(e(op.astype(x, "int32")), [1, 2]), lambda x: x.sum((1, 2), dtype="int32"), (1, 7, 7, 320),
    ),
    "global_mean": (
        lambda e, x: codes(e(op.mean(e(real(x)), [1, 2], keepdims=True))),
        lambda x: coded(reals(x).mean((1, 2), keepdims=True)),
        (1, 8, 8, 48),  # divided by a power of two
    ),
    "mean_pool": (
        lambda e, x: codes(e(op.nn.avg_pool2d(e(real(x)), (2, 2), (2, 2), **POOL))),
        lambda x: coded(windows(reals(x), 2, 2).mean(-1)),
        (1, 14, 12, 48),
    ),
}  # fmt: skip
#: the rules of those that are not elementwise
TAKEN_BY = {
    "transpose": "Transpose", "max_pool": "Pool", "mean_pool": "Pool", "global_sum": "Reduction",
    "global_mean": "Reduction",
}  # fmt: skip


def compiled(func, target):
    found = schedule("layer", func, target, RULES)
    return tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target), str(found.attrs[RULE])


def assembly_of(library):
    (assembly,) = (m.inspect_source("asm") for m in (library.mod, *library.mod.imports) if m.kind == "llvm")
    return assembly


def rounding_calls(assembly):
    return re.findall(r"\t(?:callq?|jmpq?|bl?)\t.*(?:round|rint|nearbyint).*", assembly)


def check(func, reference, shapes, target):
    random = np.random.default_rng(len(shapes))
    arrays = [random.integers(0, 256, shape).astype("uint8") for shape in shapes]
    wanted = reference(*arrays)
    library, rule = compiled(func, target)
    tensors = [tvm.runtime.tensor(array) for array in (*arrays, np.zeros(wanted.shape, wanted.dtype))]
    library.mod["main"](*tensors)
    assert np.array_equal(tensors[-1].numpy(), wanted)
    return library, rule


@pytest.mark.parametrize("target", RUN, ids=lambda target: str(target.attrs["mcpu"]))
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_exact_and_call_nothing(kernel, name, target):
    body, reference, *shapes = LAYERS[name]
    func = kernel(body, *shapes, dtype="uint8")
    library, rule = check(func, reference, shapes, target)
    assert rule != "Default"
    assert not rounding_calls(assembly_of(library))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_their_rule_and_vectors_on_the_board(kernel, name):
    body, _, *shapes = LAYERS[name]
    library, rule = compiled(kernel(body, *shapes, dtype="uint8"), BOARD)
    assembly = assembly_of(library)
    assert rule == TAKEN_BY.get(name, "Elementwise")
    assert re.search(VECTORS, assembly) and not rounding_calls(assembly)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape_is_exact(kernel, data):
    name = data.draw(st.sampled_from(["add", "clip", "maximum", "max_pool", "concat", "transpose"]))
    body, reference, *shapes = LAYERS[name]
    most = 40 if name == "transpose" else 9
    extents = (data.draw(st.integers(1, 2)), *(data.draw(st.integers(3, most)) for _ in range(2)))
    shapes = [(*extents, data.draw(st.integers(1, 70)))] * len(shapes)
    check(kernel(body, *shapes, dtype="uint8"), reference, shapes, HOST)
