"""Accuracy against hand-made numbers and against quantize-cut's own kernels; what is compiled; a real network."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import accuracy, data, frontend, pipeline, zoo
from tvm_split.accuracy import Accuracy
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import is_quantisable
from tvm_split.drop import drop_of, no_drop
from tvm_split.errors import DataError, GraphError, ModelError, PlanError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.layer_runner import LayerRunner
from tvm_split.metrics import Judge, Metric, metric_of
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.preprocess import Preprocess
from tvm_split.passes.quantize_cut import QuantizeCut, dequantize, quantize
from tvm_split.plan.problem import Candidate, Crossing, Timing
from tvm_split.quantizer import Quantizer, quantize_dequantize

EYE = np.eye(4, dtype=np.float32)
RANDOM = np.random.default_rng(0)
W1, W2, W3, W4 = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((5, 6), (6, 6), (6, 3), (6, 3)))


@I.ir_module
class Identity:
    @R.function
    def main(x: R.Tensor((1, 4), "float32")) -> R.Tensor((1, 4), "float32"):
        with R.dataflow():
            h = R.matmul(x, R.const(EYE))
            y = R.matmul(h, R.const(EYE))
            R.output(y)
        return y


@I.ir_module
class Skip:
    """h is read twice in the cloud, and is an output of the edge as well."""

    @R.function
    def main(x: R.Tensor((1, 5), "float32")) -> R.Tuple(R.Tensor((1, 3), "float32"), R.Tensor((1, 6), "float32")):
        with R.dataflow():
            h = R.matmul(x, R.const(W1))
            p = R.matmul(h, R.const(W2))
            q = R.nn.relu(p)
            s = R.matmul(q, R.const(W3))
            t = R.matmul(h, R.const(W4))
            y = R.add(t, s)
            R.output(y, h)
        return (y, h)


@I.ir_module
class Shapes:
    @R.function
    def main(x: R.Tensor((1, 4), "float32")) -> R.Tensor((1, 2, 2), "float32"):
        with R.dataflow():
            h = R.matmul(x, R.const(EYE))
            y = R.reshape(h, (1, 2, 2))
            R.output(y)
        return y


def candidate(edge, **bits):
    parts = tuple(Crossing(name, (1,), width, 1) for name, width in bits.items())
    return Candidate("split", tuple(edge), parts, 0, Timing(0, 0, 0, 0))


def ranges(runner, names, data):
    return {name: (each.low, each.high) for name, each in gather(runner, names, data).items()}


def quantizers_for(plan, graph, found):
    sent = [part for part in plan.crossing if part.bits < 32 and is_quantisable(graph.tensor[part.tensor], graph)]
    return {part.tensor: Quantizer.of_range(part.bits, *found[part.tensor]) for part in sent}


def measure(runner, plans, found, data, **more):
    return accuracy.measure(runner, plans, [quantizers_for(p, runner.graph, found) for p in plans], data, **more)


def batches(*rows):
    return [{"x": np.array([row], np.float32)} for row in rows]


@pytest.fixture(scope="module")
def identity():
    return LayerRunner(FuseActivation()(Identity))


@pytest.fixture(scope="module")
def skip_module():
    return FuseActivation()(Skip)


@pytest.fixture(scope="module")
def skip(skip_module):
    return LayerRunner(skip_module)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_quantised_as_the_kernels_do(dtype):
    q = Quantizer.of_range(6, -1.0, 3.0)
    x = np.random.default_rng(0).uniform(-2, 4, 500).astype(dtype)
    got = quantize_dequantize(x, q)
    assert got.dtype == dtype and np.abs(got - x.clip(-1, 3)).max() <= q.scale
    np.testing.assert_array_equal(got, kernels(q, x))


def kernels(quantizer, x):
    """What quantize-cut's two layers make of x."""
    builder = relax.BlockBuilder()
    var = relax.Var("x", relax.TensorType(x.shape, str(x.dtype)))
    with builder.function("main", [var]):
        with builder.dataflow():
            sent = builder.emit(quantize(var, quantizer))
            out = builder.emit_output(dequantize(sent, quantizer, str(x.dtype)))
        builder.emit_func_output(out)
    return whole(FuseActivation()(builder.get()), x)[0]


def whole(mod, x):
    """The outputs of a module of layers, all of them run."""
    runner = LayerRunner(mod)
    found = runner.run({"x": x}, runner.graph.outputs)
    return [found[name] for name in runner.graph.outputs]


@settings(max_examples=12, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16]),
    low=st.floats(-1e4, 0, width=32),
    span=st.floats(2**-10, 1e5, width=32),
    seed=st.integers(0, 99),
)
def test_numpy_equals_the_kernels_on_ties_and_beside_them(bits, low, span, seed):
    q = Quantizer.of_range(bits, low, low + span)
    levels = np.random.default_rng(seed).integers(-2, 2**bits + 2, 3000)
    ties = ((levels - q.zero_point + 0.5) * q.scale).astype(np.float32)
    beside = [np.nextafter(ties, np.float32(sign * np.inf)) for sign in (-1, 1)]
    x = np.concatenate([ties, *beside, np.float32([0, -0.0, np.inf, -np.inf, 3e38, -3e38, 1e-40])])
    got = quantize_dequantize(x, q)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, kernels(q, x))


def test_numbers_by_hand(identity):
    """Range [0, 7] at 2 bits: the levels are 0, 7/3, 14/3 and 7."""
    step = 7 / 3
    got = measure(identity, [candidate(["h"], h=2)], {"h": (0, 7)}, batches([1, 2, 7, 0], [3.25, 3.375, 0, 0]))[0]
    errors = np.array([1, step - 2, 0, 0, 3.25 - step, 3.375 - step, 0, 0])
    floats = np.array([1, 2, 7, 0, 3.25, 3.375, 0, 0])
    assert got.samples == 2
    assert got.top1_agreement == 0.5  # 3.25 and 3.375 both become 7/3
    assert got.max_abs_error == pytest.approx(3.375 - step, rel=1e-6)
    assert got.mean_abs_error == pytest.approx(errors.mean(), rel=1e-6)
    assert got.relative_error == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(floats), rel=1e-6)


def test_equals_the_compiled_quantised_network(skip_module, skip):
    data = batches(*np.random.default_rng(1).standard_normal((4, 5)))
    found = ranges(skip, ["h", "p"], data)
    plans = [candidate(["h", "p"], h=3, p=8), candidate(["h", "p"], h=32, p=2), candidate(["h"], h=4),
             candidate(["h", "p"], h=3, p=8)]  # fmt: skip
    said = []
    got = measure(skip, plans, found, data, progress=said.append)
    assert got[0] == got[3]
    assert len({a.max_abs_error for a in got}) == 3
    assert said[-1] == "accuracy: sample 4 of 4, 3 candidates"  # two of the four are one
    for plan, mine in zip(plans, got, strict=True):
        marked = AssignCut(plan.edge_layers)(skip_module)
        quantised = QuantizeCut(quantizers_for(plan, skip.graph, found))(marked)
        differences, floats, same = [], [], []
        for batch in data:
            want, have = whole(skip_module, batch["x"]), whole(quantised, batch["x"])
            np.testing.assert_array_equal(want[1], have[1])  # h, an output of the edge, is not quantised
            differences += [(h.astype(np.float64) - w).ravel() for w, h in zip(want, have, strict=True)]
            floats += [w.astype(np.float64).ravel() for w in want]
            same.append(want[0].argmax() == have[0].argmax())
        error = np.abs(np.concatenate(differences))
        assert mine.max_abs_error == error.max() > 0
        assert mine.mean_abs_error == pytest.approx(error.mean(), rel=1e-12)
        assert mine.relative_error == pytest.approx(
            np.linalg.norm(error) / np.linalg.norm(np.concatenate(floats)), rel=1e-12
        )
        assert mine.top1_agreement == np.mean(same)


def test_exact_candidates_are_not_run(skip, monkeypatch):
    monkeypatch.setattr(skip, "run", None)
    plans = [candidate(["h"], h=32), candidate([], x=8), candidate(["h", "p", "s", "t"])]
    assert measure(skip, plans, {}, batches([1, 2, 3, 4, 5])) == [Accuracy(1, 1.0, 0.0, 0.0, 0.0)] * 3


def test_no_scores_no_top1():
    mod = LayerRunner(FuseActivation()(Shapes))
    got = measure(mod, [candidate(["h"], h=1), candidate(["h"], h=32)], {"h": (0, 4)}, batches([4, 1, 0, 0]))
    assert got == [Accuracy(1, None, 1.0, 0.25, np.sqrt(1 / 17)), Accuracy(1, None, 0.0, 0.0, 0.0)]


def test_all_zero_outputs(identity):
    got = measure(identity, [candidate(["h"], h=8)], {"h": (0, 4)}, batches([0, 0, 0, 0]))
    assert got == [Accuracy(1, 1.0, 0.0, 0.0, 0.0)]


def test_json():
    assert Accuracy(3, None, 1.0, 0.5, np.inf).to_json() == {
        "samples": 3, "top1_agreement": None, "max_abs_error": 1.0, "mean_abs_error": 0.5, "relative_error": None,
        "drop": None,
    }  # fmt: skip


def test_bad_questions(identity):
    rows = batches([1, 2, 3, 4])
    with pytest.raises(DataError, match="no batches to measure"):
        measure(identity, [], {}, [])
    with pytest.raises(GraphError, match="layer 'y' is on the edge but reads from 'h'"):
        measure(identity, [candidate(["y"], h=8)], {"h": (0, 1)}, rows)
    with pytest.raises(DataError, match="sample 0 has no array for input 'x'"):
        measure(identity, [candidate(["h"], h=8)], {"h": (0, 1)}, [{"y": rows[0]["x"]}])
    with pytest.raises(ModelError, match="output 'y' of the float network is not finite on sample 1"):
        measure(identity, [candidate(["h"], h=8)], {"h": (0, 1)}, [*rows, *batches([np.inf, 0, 0, 0])])
    with pytest.raises(PlanError, match="of int32 cannot be quantised"):
        quantize_dequantize(np.ones(3, np.int32), Quantizer(8, 1.0, 0))


def test_a_real_network_on_a_photograph():
    spec = PreprocessSpec.named(zoo.entry("efficientnet-lite0").preprocess)
    mod = pipeline.layers()(tvm.transform.Sequential([Preprocess(spec)])(frontend.load("zoo:efficientnet-lite0")))
    runner = LayerRunner(mod)
    graph = runner.graph
    samples = data.load_batches(zoo.photo(), graph)
    names = [layer.name for layer in graph.layers]
    edge = names[: len(names) // 2]
    crossing = graph.crossing(edge)
    found = ranges(runner, [*graph.inputs, *crossing], samples)
    assert 0 <= found[graph.inputs[0]][0] < 30 and 220 < found[graph.inputs[0]][1] <= 255
    plans = [candidate(edge, **dict.fromkeys(crossing, bits)) for bits in (16, 8, 4, 1)]
    frame = Crossing(graph.inputs[0], graph.tensor[graph.inputs[0]].shape, 8, 1, "jpeg")
    plans.append(Candidate("cloud-only", (), (frame,), 0, Timing(0, 0, 0, 0)))
    *got, as_jpeg = measure(runner, plans, found, samples)
    assert as_jpeg.top1_agreement == 1.0 and 0 < as_jpeg.relative_error < 0.2
    errors = [a.relative_error for a in got]
    assert errors == sorted(errors) and errors[0] > 0
    assert errors[0] < 1e-3 and errors[1] < 0.1 and errors[3] > 0.2
    assert got[0].top1_agreement == got[1].top1_agreement == 1.0


def test_the_metric_s_score_and_its_drop_by_hand(identity):
    """Range [0, 7] at 2 bits as above: of the second sample's equal scores the first wins, which is not its label."""
    judge = Judge(metric_of("top1", np.array([2, 1]), 4), np.array([2, 1]), ["y"])
    plans = [candidate(["h"], h=2), candidate(["h"], h=32)]
    rows = batches([1, 2, 7, 0], [3.25, 3.375, 0, 0])
    got, exact = measure(identity, plans, {"h": (0, 7)}, rows, judge=judge)
    assert got.drop == drop_of("top1", [1, 1], [1, 0]) and got.top1_agreement == 0.5
    assert exact.drop == no_drop("top1", [1, 1])
    wrong = Judge(judge.metric, np.array([0, 0]), ["y"])
    assert measure(identity, plans, {"h": (0, 7)}, rows, judge=wrong)[0].drop == drop_of("top1", [0, 0], [0, 1])
    assert got.to_json()["drop"]["drop"] == 0.5


def test_a_user_s_metric_gets_outputs_by_name_and_the_label(skip):
    seen = []

    def score(outputs, _reference, label):
        seen.append((list(outputs), label))
        return float(outputs["scores"].sum())

    judge = Judge(Metric("mine:score", score), np.array([7]), ["scores", "features"])
    rows = batches([1, 2, 3, 4, 5])
    (got,) = measure(skip, [candidate(["h"], h=4)], {"h": (-9, 9)}, rows, judge=judge)
    assert seen == [(["scores", "features"], 7)] * 2
    found = skip.run(rows[0], skip.graph.outputs)
    assert got.drop.float_score == pytest.approx(found[skip.graph.outputs[0]].sum())
    assert got.drop.drop == got.drop.float_score - got.drop.score != 0 and got.drop.low is None
