"""Convolutions by Winograd's algorithm: marked, packed, scheduled and compiled as in a network."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract, pipeline
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.kernels.conv2d_winograd import KERNEL_TO_PATCH, pack_winograd
from tvm_split.passes.layering import LAYER, WINOGRAD, layer_calls
from tvm_split.prepare import prepare
from tvm_split.request import Request

HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})
ARM = tvm.target.Target("raspberry-pi/4b-aarch64")


def network(shape, *channels, padding=(1, 1, 1, 1), seed=0):
    """Convolutions of 3x3 with a bias, all but the last with ReLU, as a frontend gives them; and their weights."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType(shape, "float32"))
    weights, made, inner = [], data, shape[1]
    with builder.function("main", [data]):
        with builder.dataflow():
            for i, outer in enumerate(channels):
                w = (rng.standard_normal((outer, inner, 3, 3)) / (9 * inner) ** 0.5).astype("float32")
                b = rng.standard_normal(outer).astype("float32")
                weights.append((w, b))
                made = builder.emit(relax.op.nn.conv2d(made, relax.const(w), padding=list(padding)), f"c{i}")
                made = builder.emit(relax.op.add(made, relax.const(b.reshape(-1, 1, 1))))
                inner = outer
                if i + 1 < len(channels):
                    made = builder.emit(relax.op.nn.relu(made))
            out = builder.emit_output(made)
        builder.emit_func_output(out)
    return builder.get(), weights


def run(mod, target, *inputs):
    """The results, and the names of the rules that took the kernels."""
    rules = []

    @tvm.instrument.pass_instrument
    class Rules:
        def run_after_pass(self, mod, info):
            if info.name == "ScheduleKernels":
                rules.extend(
                    str(f.attrs["tvm_split.rule"]) for f in mod.functions.values() if "tvm_split.rule" in f.attrs
                )

    with tvm.transform.PassContext(instruments=[Rules()]):
        built = tvm.compile(mod, target, relax_pipeline=pipeline.cpu(target))
    if target is ARM:
        return [], rules
    result = relax.VirtualMachine(built, tvm.cpu())["main"](*map(tvm.runtime.tensor, inputs))
    return [each.numpy() for each in ([result] if isinstance(result, tvm.runtime.Tensor) else result)], rules


def marks(mod):
    return [callee.attrs.get(WINOGRAD) for _, callee in layer_calls(mod)]


def exact(x, w, b, padding):
    top, left, bottom, right = padding
    wide = np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w.astype("float64"), optimize=True) + b.reshape(-1, 1, 1)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_its_error_is_not_above_the_definitions(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    padding = tuple(draw(0, 2) for _ in range(4))
    shape, outer = (draw(1, 2), 4 * draw(16, 40), draw(17, 21), draw(17, 21)), 4 * draw(16, 40)
    mod, [(w, b)] = network(shape, outer, padding=padding, seed=draw(0, 99))
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    errors = {}
    for winograd in (True, False):
        ([found], rules) = run(pipeline.layers(winograd)(mod), HOST, x)
        assert ("Winograd" in rules) == winograd
        errors[winograd] = np.sqrt(np.mean((found - exact(x, w, b, padding)) ** 2))
    assert errors[True] <= errors[False]


def test_halves_compute_the_bits_of_the_whole():
    mod, _ = network((1, 64, 19, 18), 64, 96, 64)
    layered = pipeline.layers()(mod)
    assert marks(layered) == [True] * 3
    x = np.random.default_rng(0).standard_normal((1, 64, 19, 18)).astype("float32")
    whole, rules = run(layered, HOST, x)
    assert "Winograd" in rules
    names = [str(callee.attrs[LAYER]) for _, callee in layer_calls(layered)]
    edge, cloud = pipeline.halves(AssignCut(names[:1])(layered))
    for target in (HOST, tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 4})):
        sent, edge_rules = run(edge, target, x)
        found, cloud_rules = run(cloud, target, *sent)
        assert "Winograd" in edge_rules and "Winograd" in cloud_rules
        np.testing.assert_array_equal(found[0].view("uint32"), whole[0].view("uint32"))


def test_arm_takes_it_too():
    mod, _ = network((1, 64, 19, 18), 96)
    assert "Winograd" in run(mod, ARM)[1]


def test_it_is_a_choice_that_layers_keep():
    mod, _ = network((1, 64, 16, 16), 64)
    direct = pipeline.layers(winograd=False)(mod)
    assert marks(direct) == [False]
    assert marks(pipeline.layers()(direct)) == [False]
    assert marks(pipeline.layers(winograd=False)(pipeline.layers()(mod))) == [True]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_request_makes_the_choice(wanted):
    mod, _ = network((1, 64, 16, 16), 64)
    layered, graph = prepare(Request(mod, winograd=wanted))
    assert marks(layered) == [wanted] and len(graph.layers) == 1


def test_the_weights_that_it_stores_are_counted():
    mod, _ = network((1, 64, 16, 16), 64)
    kernel, bias = 9 * 64 * 64 * 4, 64 * 4
    sizes = [extract.graph(pipeline.layers(winograd)(mod)).layers[0].weight_bytes for winograd in (True, False)]
    assert sizes == [kernel * 16 // 9 + bias, kernel + bias]


def test_a_kernel_is_transformed_in_float64_and_rounded_once():
    weight = np.random.default_rng(0).standard_normal((3, 3, 5, 7)).astype("float32")
    packed = pack_winograd(weight, 4)
    assert packed.shape == (2, 4, 4, 5, 4) and packed.dtype == "float32"
    for channel in range(7):
        for inner in range(5):
            wanted = KERNEL_TO_PATCH @ weight[:, :, inner, channel].astype("float64") @ KERNEL_TO_PATCH.T
            found = packed[channel // 4, :, :, inner, channel % 4]
            np.testing.assert_allclose(found, wanted, rtol=2.0**-23, atol=1e-12)
    assert not packed[1, ..., 3].any()


@pytest.mark.parametrize(
    "shape, outer",
    [((1, 64, 4, 4), 64), ((1, 64, 16, 16), 66), ((1, 8, 16, 16), 8)],
    ids=["few blocks", "no vectors", "few channels"],
)
def test_what_does_not_pay_is_not_marked(shape, outer):
    mod, _ = network(shape, outer)
    assert marks(pipeline.layers()(mod)) == [None]
