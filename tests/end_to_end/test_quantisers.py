"""The quantisers of `plan` and `compile`: the same weights in the check and in the bundle; what data may be wrong."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import workflow
from tvm_split.edge_half import EdgeHalf
from tvm_split.errors import DataError, ModelError
from tvm_split.passes.layer_readings import readings
from tvm_split.plan.problem import Link
from tvm_split.plan_json import to_json
from tvm_split.report import plan_text
from tvm_split.runtime.local import run_bundle
from tvm_split.workflow import Request

FAST = Link("loopback", 1e9, 1e9)
SHAPE = (1, 4, 12, 12)


def network(dead: bool = False, gain: float = 1.0) -> tvm.IRModule:
    """x -> a -> b -> pooled -> ten scores. dead: a and b have channels of zeros; gain: of the first layer."""
    random = np.random.default_rng(0)
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    builder = relax.BlockBuilder()

    def conv(data, inputs, scale):
        weight = (random.normal(size=(12, inputs, 3, 3)) * scale / np.sqrt(9 * inputs)).astype("float32")
        bias = random.normal(size=(1, 12, 1, 1)).astype("float32")
        if dead:
            weight[3], bias[:, 3] = 0, -1
        sums = builder.emit(
            relax.op.add(builder.emit(relax.op.nn.conv2d(data, relax.const(weight))), relax.const(bias))
        )
        return builder.emit(relax.op.nn.relu(sums))

    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.avg_pool2d(conv(conv(x, 4, gain), 12, 1.0), (8, 8)))
            flat = builder.emit(relax.op.reshape(y, (1, 12)))
            scores = builder.emit_output(relax.op.matmul(flat, relax.const(random.normal(size=(12, 10)).astype("f"))))
        builder.emit_func_output(scores)
    return builder.get()


def samples(count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return (random.normal(size=(count, *SHAPE[1:])).cumsum(axis=3) + random.normal(size=(count, 4, 1, 1))).astype("f")


def request(mod: tvm.IRModule, data: np.ndarray, **changes: object) -> Request:
    """Everything on the edge, with any error."""
    given = {"edge_bits": (8,), "strategy": "exact", "pins": {"*": "edge"}, "max_error": 1e9, "min_agreement": 0.0}
    return Request(mod, edge="host", cloud="host", data={"x": data}, **{"samples": 16, **given, **changes})


@pytest.mark.parametrize("bits", [4, 8])
def test_the_bundle_has_the_weights_that_were_checked(tmp_path, bits):
    data = samples(16)
    made = workflow.compile(request(network(), data, edge_bits=(bits,)), tmp_path / "bundle")
    plan, chosen = made.plan, made.plan.chosen.candidate
    assert set(chosen.weight_bits.values()) == {bits}
    quantised = plan.quantised[chosen]
    assert set(quantised.rounded) <= set(chosen.weight_bits) and quantised.rounded
    rounding = "in-order" if bits < 8 else "nearest"
    assert {each.rounding for each in quantised.weights.values()} == {rounding}
    half = EdgeHalf(plan.module_of(chosen), chosen, *plan.quantizers(chosen), "edge")
    _, want = half.run({"x": data[:1]})
    got = run_bundle(made.bundle, {"x": data[:1]}, repeats=1, link=FAST).outputs
    for array, wanted in zip(got.values(), want.values(), strict=True):
        np.testing.assert_array_equal(array, wanted)
    facts = to_json(plan)["quantisation"]
    assert [each["layer"] for each in facts["weights"]] == list(quantised.weights)
    assert {each["bits"] for each in facts["tensors"]} == {bits} and all(each["mse"] >= 0 for each in facts["tensors"])
    assert f"rounded {rounding}" in plan_text(plan)
    before, after = (readings(mod) for mod in (plan.module, plan.module_of(chosen)))
    same = [np.array_equal(before[name].layer.weight, after[name].layer.weight) for name in quantised.rounded]
    assert same == [bits == 8] * len(same)  # at 8 bits the biases alone change


def test_in_order_loses_less():
    found = [
        workflow.plan(request(network(), samples(16), edge_bits=(3,), rounding=rounding)).chosen.accuracy
        for rounding in ("in-order", "nearest")
    ]
    assert 0 < found[0].relative_error < found[1].relative_error


def test_crossing_tensors_of_a_float_plan():
    """One way for all: the least error, or for few bits what the outputs lose."""
    changes = {"edge_bits": (32,), "strategy": "auto-split", "cut_bits": (2, 8), "pins": {}, "link": "3mbit"}
    plan = workflow.plan(request(network(), samples(8), **changes))
    sent = [each for found in plan.quantised.values() for each in found.sent.values()]
    assert {choice.quantizer.bits for choice in sent} == {2, 8}
    assert all(not found.rounded and not found.held for found in plan.quantised.values())


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_dead_channels(bits):
    changes = {} if bits < 32 else {"pins": {}, "strategy": "auto-split"}
    plan = workflow.plan(request(network(dead=True), samples(6), edge_bits=(bits,), **changes))
    measured = [each.accuracy for each in plan.candidates if each.accuracy]
    assert (bits == 32 or measured) and all(np.isfinite(accuracy.relative_error) for accuracy in measured)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_data_that_never_vary(value):
    plan = workflow.plan(request(network(), np.full((3, *SHAPE[1:]), value, "f"), edge_bits=(4,)))
    assert plan.chosen.accuracy is not None and plan.chosen.accuracy.relative_error < 0.5
    assert plan.quantised[plan.chosen.candidate].held["x"].low == value


def test_one_sample():
    plan = workflow.plan(request(network(), samples(1), edge_bits=(4,), samples=1))
    assert np.isfinite(plan.chosen.accuracy.relative_error)
    assert any("The only sample calibrated and checked" in warning for warning in plan.warnings)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [8, 32])
def test_data_that_are_not_finite(bad, bits):
    data = samples(5)
    data[3, 0, 0, 0] = bad
    with pytest.raises(DataError, match=r"input 'x' has 1 values .* NaN or infinite, the first in sample 3"):
        workflow.plan(request(network(), data, edge_bits=(bits,), strategy="exact"))


def test_a_network_that_overflows_on_a_sample():
    data = samples(3)
    data *= 1e8
    with pytest.raises(ModelError, match=r"tensor '\w+' has values .* on batch 0; expected finite"):
        workflow.plan(request(network(gain=1e31), data))
