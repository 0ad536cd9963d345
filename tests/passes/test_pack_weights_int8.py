"""pack-weights on integers: exact for every shape and instruction set, and padding becomes the kernel's."""

import logging
import re

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import lower
from tvm_split.passes.pack_weights import PackWeights

#: processors and what this machine must have to run their code
PROCESSORS = {
    "x86-64": "sse2", "x86-64-v3": "avx2", "skylake-avx512": "avx512bw", "cascadelake": "avx512vnni",
    "alderlake": "avxvnni",
}  # fmt: skip
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
RUNNABLE = [cpu for cpu, needs in PROCESSORS.items() if tvm.target.codegen.target_has_features(needs, HOST)]
#: what the log says of a kernel that its rule cannot schedule
NO_RULE = r"(conv2d|matmul)\w*: (no rule|rule \w+ failed)|Packed: .* stays"


def processor(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})


def module(shape, body, dtype="uint8"):
    """`main(x) = body(emit, x)`."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(body(builder.emit, x))
        builder.emit_func_output(out)
    return builder.get()


def conv2d(x, w, **attrs):
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO", "out_dtype": "int32"}
    return relax.op.nn.conv2d(x, relax.const(w), **layouts, **attrs)


def computed(mod, x, cpu):
    """The output of the module as we compile it."""
    target = processor(cpu)
    executable = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
    return relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()


def exact(x, w, strides, padding, dilation, groups, value):
    """The convolution in int64."""
    top, left, bottom, right = padding
    kernel_h, kernel_w, inner, outer = w.shape
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    wide = np.pad(x.astype("int64"), widths, constant_values=value)
    rows = (wide.shape[1] - (kernel_h - 1) * dilation[0] - 1) // strides[0] + 1
    columns = (wide.shape[2] - (kernel_w - 1) * dilation[1] - 1) // strides[1] + 1
    total = np.zeros((len(x), rows, columns, groups, outer // groups), "int64")
    weights = w.astype("int64").reshape(kernel_h, kernel_w, inner, groups, -1)
    for kh in range(kernel_h):
        for kw in range(kernel_w):
            part = wide[:, kh * dilation[0] :: strides[0], kw * dilation[1] :: strides[1]][:, :rows, :columns]
            grouped = part.reshape(*part.shape[:3], groups, inner)
            total += np.einsum("nhwgi,igo->nhwgo", grouped, weights[kh, kw])
    return total.reshape(*total.shape[:3], outer)


@st.composite
def convolutions(draw):
    """Small convolutions of every kind; values random, or the extremes."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 8]))
    inner, outer = draw(st.integers(1, 9)), draw(st.integers(1, 40 // groups)) * groups
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    strides, dilation = (tuple(draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))) for _ in range(2))
    padding = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 3)] * 4)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height = draw(st.integers(max(1, reach[0] - padding[0] - padding[2]), reach[0] + 6))
    width = draw(st.integers(max(1, reach[1] - padding[1] - padding[3]), reach[1] + 17))
    shape = draw(st.integers(1, 2)), height, width, inner * groups
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, w = rng.integers(0, 256, shape, "uint8"), rng.integers(-128, 128, (*kernel, inner, outer), "int8")
    if draw(st.booleans()):
        x[:], w[:] = 255, draw(st.sampled_from([-128, 127]))
    return x, w, strides, padding, dilation, groups, draw(st.sampled_from([0, 1, 128, 255]))


def padded_convolution(x, w, strides, padding, dilation, groups, value):
    """nn.pad, where there is something to pad, and conv2d without padding."""
    top, left, bottom, right = padding

    def body(emit, data):
        if any(padding):
            data = emit(relax.op.nn.pad(data, [0, 0, top, bottom, left, right, 0, 0], pad_value=value))
        return emit(conv2d(data, w, strides=list(strides), dilation=list(dilation), groups=groups))

    return module(x.shape, body)


@pytest.mark.parametrize("cpu", RUNNABLE)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=convolutions())
def test_convolutions_are_exact(cpu, operators, caplog, case):
    before = padded_convolution(*case)
    caplog.clear()
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        after = PackWeights(processor(cpu))(before)
        assert operators(after) == ["call_tir"]
        np.testing.assert_array_equal(computed(after, case[0], cpu), exact(*case))
    assert not re.search(NO_RULE, caplog.text)


@st.composite
def products(draw):
    leading = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    terms, columns = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(0, 256, (*leading, terms), "uint8"), rng.integers(-128, 128, (terms, columns), "int8")


@pytest.mark.parametrize("cpu", RUNNABLE)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=products())
def test_products_are_exact(cpu, operators, caplog, case):
    x, w = case
    before = module(x.shape, lambda emit, data: emit(relax.op.matmul(data, relax.const(w), out_dtype="int32")))
    caplog.clear()
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        after = PackWeights(processor(cpu))(before)
        assert operators(after) == ["call_tir"]
        np.testing.assert_array_equal(computed(after, x, cpu), x.astype("int64") @ w.astype("int64"))
    assert not re.search(NO_RULE, caplog.text)


@pytest.mark.parametrize("cpu", RUNNABLE)
@pytest.mark.parametrize("weight", [-128, 127])
def test_sums_near_the_bounds_of_int32(cpu, weight):
    terms = 2**31 // (255 * 128) - 3
    x, w = np.full((2, terms), 255, "uint8"), np.full((terms, 5), weight, "int8")
    mod = module(x.shape, lambda emit, data: emit(relax.op.matmul(data, relax.const(w), out_dtype="int32")))
    found = computed(PackWeights(processor(cpu))(mod), x, cpu)
    assert (found == terms * 255 * weight).all() and abs(int(found[0, 0])) > 2**30


def weights(*shape):
    return np.random.default_rng(len(shape)).integers(-128, 128, shape, "int8")


def data(*shape):
    return np.random.default_rng(7).integers(0, 256, shape, "uint8")


def pad_to(emit, x, widths, **attrs):
    return emit(relax.op.nn.pad(x, widths, **attrs))


ROWS = [0, 0, 1, 1, 2, 2, 0, 0]
W = weights(3, 3, 8, 16)


def read_twice(emit, x):
    padded = pad_to(emit, x, ROWS, pad_value=3)
    return emit(relax.op.add(conv2d(padded, W), emit(conv2d(padded, W))))


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (lambda emit, x: emit(conv2d(pad_to(emit, x, ROWS, pad_value=3), W)), []),
        (lambda emit, x: emit(conv2d(pad_to(emit, x, ROWS, pad_value=0), W, padding=1)), []),
        (lambda emit, x: emit(conv2d(pad_to(emit, x, ROWS, pad_value=3), W, padding=1)), ["pad"]),
        (lambda emit, x: emit(conv2d(pad_to(emit, x, ROWS, pad_mode="reflect"), W)), ["pad"]),
        (lambda emit, x: emit(conv2d(pad_to(emit, x, [0, 1, 1, 1, 0, 0, 0, 0], pad_value=3), W)), ["pad"]),
        (lambda emit, x: emit(conv2d(pad_to(emit, x, [0, 0, 0, 0, 0, 0, 2, 2]), weights(3, 3, 12, 4))), ["pad"]),
        (read_twice, ["pad"]),
    ],
    ids=["folded", "zeros_twice", "another_value", "reflect", "batch", "channels", "read_twice"],
)  # fmt: skip
def test_which_padding_becomes_the_kernels(body, left, apply, operators, run):
    before = module((1, 6, 7, 8), body)
    after = apply(PackWeights(processor("x86-64-v3")), before)
    assert [name for name in operators(after) if name not in ("call_tir", "add")] == left
    x = data(1, 6, 7, 8)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_depthwise_convolutions_have_a_kernel_of_their_own(apply, operators, run):
    before = module((1, 9, 8, 24), lambda emit, x: emit(conv2d(x, weights(3, 3, 1, 24), groups=24, strides=2)))
    after = apply(PackWeights(processor("x86-64-v3")), before)
    assert operators(after) == ["call_tir"]
    np.testing.assert_array_equal(run(after, data(1, 9, 8, 24)), run(before, data(1, 9, 8, 24)))


def packed(mod):
    """The arrays of the module's constants."""
    found = []

    def visit(expr):
        if isinstance(expr, tvm.ir.GenericConst) and not any(expr.same_as(other) for other in found):
            found.append(expr)

    relax.analysis.post_order_visit(mod["main"], visit)
    return [each.value.numpy() for each in found]


def test_weights_are_laid_out_for_the_instruction(apply_once):
    before = module((1, 9, 9, 8), lambda emit, x: emit(conv2d(x, W)))
    (array,) = packed(apply_once(PackWeights(processor("cascadelake")), before))
    assert array.shape == (1, 3, 3, 2, 16, 4) and array.dtype == "int8"
    np.testing.assert_array_equal(array[0].transpose(0, 1, 2, 4, 3).reshape(W.shape), W)


def test_a_row_of_a_window_of_three_channels_is_one_run(apply_once):
    w = weights(7, 7, 3, 16)
    before = module((1, 16, 16, 3), lambda emit, x: emit(conv2d(x, w, strides=2, padding=3)))
    (array,) = packed(apply_once(PackWeights(processor("cascadelake")), before))
    assert array.shape == (1, 7, 1, 6, 16, 4)  # 24 terms a row for 21, not 28
    flat = array[0, :, 0].transpose(0, 1, 3, 2).reshape(7, 24, 16)
    np.testing.assert_array_equal(flat[:, :21].reshape(w.shape), w)
    assert not flat[:, 21:].any()


def test_shared_weights_are_packed_once(apply_once):
    w = weights(16, 16)

    def body(emit, x):
        half = lambda: emit(relax.op.matmul(x, relax.const(w), out_dtype="int32"))  # noqa: E731
        return emit(relax.op.add(half(), half()))

    assert len(packed(apply_once(PackWeights(processor("cascadelake")), module((4, 16), body)))) == 1


@pytest.mark.parametrize("cpu", RUNNABLE)
def test_equal_weights_of_other_groups_are_packed_apart(cpu):
    w = weights(1, 1, 2, 128)

    def body(emit, x):
        some = emit(conv2d(x, w, groups=4))
        few = emit(conv2d(emit(relax.op.strided_slice(x, [3], [0], [4])), w, groups=2))
        return emit(relax.op.concat([some, few], axis=3))

    x = np.random.default_rng(3).integers(0, 256, (1, 4, 4, 8)).astype("uint8")
    expected = [exact(x[..., : 2 * n], w, (1, 1), (0, 0, 0, 0), (1, 1), n, 0) for n in (4, 2)]
    np.testing.assert_array_equal(computed(module(x.shape, body), x, cpu), np.concatenate(expected, axis=3))


def test_int8_data_stay_and_the_log_says_why(caplog):
    before = module((1, 6, 7, 8), lambda emit, x: emit(conv2d(x, W)), dtype="int8")
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        assert PackWeights(processor("cascadelake"))(before).same_as(before)
    assert "int8 for uint8 data" in caplog.text
