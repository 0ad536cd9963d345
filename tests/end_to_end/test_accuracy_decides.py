"""plan on a small network: the budget searched, what is measured on which samples, baselines, bits by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import workflow
from tvm_split.drop import drop_of
from tvm_split.edge_half import EdgeHalf
from tvm_split.errors import DataError, PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.prepare import prepare
from tvm_split.progress import quiet
from tvm_split.request import Request
from tvm_split.workflow import PlanResult

SAMPLES = 12
OWN = """
import pathlib
import numpy as np
FLOATS = np.load(pathlib.Path(__file__).parent / "floats.npy")

def nearness(outputs, label):
    return -float(np.abs(outputs["scores"] - FLOATS[label]).mean())
"""


def network() -> tvm.IRModule:
    """x (1, 4, 12, 12) -> two convolutions -> pooled -> six scores."""
    random = np.random.default_rng(3)
    x = relax.Var("x", relax.TensorType((1, 4, 12, 12), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = x
            for channels in (4, 16):
                kernel = relax.const(random.standard_normal((16, channels, 3, 3)).astype("float32"))
                y = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(y, kernel)))
            y = builder.emit(relax.op.reshape(relax.op.nn.max_pool2d(y, (4, 4), (4, 4)), (1, 64)))
            weight = relax.const(random.standard_normal((64, 6)).astype("float32"))
            scores = builder.emit_output(relax.op.matmul(y, weight), "scores")
        builder.emit_func_output(scores)
    return builder.get()


@pytest.fixture(scope="module")
def mod() -> tvm.IRModule:
    return network()


@pytest.fixture(scope="module")
def runner(mod: tvm.IRModule) -> LayerRunner:
    return LayerRunner(prepare(Request(mod))[0])


@pytest.fixture(scope="module")
def data(runner: LayerRunner) -> dict[str, np.ndarray]:
    """Inputs, and the float network's own classes as their labels but for one in three."""
    inputs = np.random.default_rng(4).standard_normal((SAMPLES, 4, 12, 12)).astype("float32")
    found = [runner.run({"x": each[np.newaxis]}, runner.graph.outputs)[runner.graph.outputs[0]] for each in inputs]
    labels = np.array([int(each.argmax()) for each in found])
    labels[::3] = (labels[::3] + 1) % 6
    return {"x": inputs, "labels": labels}


@pytest.fixture(scope="module")
def planned(mod: tvm.IRModule, data: dict[str, np.ndarray]) -> Callable[..., PlanResult]:
    def plan(progress: Callable[[str], None] = quiet, **options: object) -> PlanResult:
        given = {"data": data, "pins": {"*": "edge"}, "edge_bits": (8, 32), "strategy": "exact", **options}
        return workflow.plan(Request(mod, edge="raspberry-pi-4", cloud="c5.xlarge", link="3mbit", **given), progress)

    return plan


def test_top1_is_measured_on_samples_that_calibrated_nothing(
    planned: Callable[..., PlanResult], data: dict[str, np.ndarray], runner: LayerRunner
) -> None:
    said: list[str] = []
    plan = planned(said.append, samples=4, check=6, max_drop=1.0, baselines=True)
    rounded = [text for text in said if text.startswith("rounding the weights of")]
    named = [text.split("'")[1] for text in rounded]
    assert named[-5:] == ["U2", "U4", "U6", "U8", "QDMP quantised"] and "edge-only, W8A8" in named[:-5]
    assert (plan.calibrating, plan.checking) == (4, 6)
    chosen = plan.chosen
    assert chosen.candidate.weight_bits and not chosen.baseline
    used = np.arange(10) * SAMPLES // 10  # evenly of twelve; of these ten, 2, 4, 7 and 9 calibrate
    back = used[[0, 1, 3, 5, 6, 8]]
    half = EdgeHalf(plan.module, chosen.candidate, *plan.quantizers(chosen.candidate), "edge")
    scores: dict[str, list[float]] = {"float": [], "half": []}
    for i in back:
        x, label = data["x"][i : i + 1], data["labels"][i]
        (name,) = runner.graph.outputs
        scores["float"].append(float(runner.run({"x": x}, [name])[name].argmax() == label))
        scores["half"].append(float(half.run({"x": x})[1][name].argmax() == label))
    assert chosen.accuracy.drop == drop_of("top1", scores["float"], scores["half"])
    assert 0 < chosen.accuracy.drop.float_score < 1
    rivals = {item.label: item for item in plan.candidates if item.baseline}
    assert {"U2", "U4", "U6", "U8"} <= set(rivals)
    sizes = [rivals[f"U{bits}"].candidate.edge_memory_bytes for bits in (2, 4, 6, 8)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    errors = [rivals[f"U{bits}"].accuracy.relative_error for bits in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1 < errors[0]
    text = str(plan)
    assert "float top-1" in text and "on 6 samples held back; 4 others calibrated" in text and "U4" in text


def test_baselines_take_the_same_memory_whatever_widths_the_edge_is_given(planned: Callable[..., PlanResult]) -> None:
    """Their weights are decoded into scratch. With floats on the edge, --bits are of what is sent: 1 bit as well."""
    found = [
        {item.label: item.candidate.edge_memory_bytes for item in plan.candidates if item.label in ("U2", "U4", "U8")}
        for plan in (
            planned(samples=2, check=2, max_drop=1.0, baselines=True, **options)
            for options in ({"edge_bits": (4, 8)}, {"edge_bits": (8,)}, {"edge_bits": (32,), "tensor_bits": {"*": 1}})
        )
    ]
    assert len(found[0]) == 3 and found == found[:1] * 3


def test_the_budget_is_searched_by_a_metric_of_the_user_s_own(
    planned: Callable[..., PlanResult], data: dict[str, np.ndarray], runner: LayerRunner, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A metric that any quantisation lowers: half of what the soonest plan loses is allowed."""
    (name,) = runner.graph.outputs
    np.save(tmp_path / "floats.npy", [runner.run({"x": each[np.newaxis]}, [name])[name] for each in data["x"]])
    (tmp_path / "own_metric.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    numbered = {**data, "labels": np.arange(SAMPLES)}
    options = {"data": numbered, "metric": "own_metric:nearness", "samples": 6, "check": 6}
    free = planned(max_drop=1e6, **options)
    lost = free.chosen.accuracy.drop.drop
    assert free.chosen.accuracy.drop.float_score == 0 < lost
    plan = planned(max_drop=lost / 2, **options)
    chosen = plan.chosen
    measured = [item for item in plan.candidates if item.accuracy is not None and item.accuracy.drop.drop > 0]
    assert len({item.accuracy.drop.drop for item in measured}) > 1, "more than the soonest was measured"
    assert chosen.accuracy.drop.drop <= lost / 2
    assert free.chosen.candidate.predicted.total_s < chosen.candidate.predicted.total_s
    (floats,) = (item for item in plan.candidates if item.label == "edge-only")
    assert chosen.candidate.predicted.total_s <= floats.candidate.predicted.total_s
    assert "own_metric:nearness" in str(plan)


def test_bits_by_name_are_kept(planned: Callable[..., PlanResult]) -> None:
    first = next(layer.name for layer in planned(max_drop=1.0).graph.layers if layer.weight_bytes)
    free, fixed = planned(max_drop=1.0), planned(max_drop=1.0, edge_bits=(8,), tensor_bits={first: 32})
    assert free.chosen.candidate.weight_bits[first] == 8
    assert first not in fixed.chosen.candidate.weight_bits and fixed.chosen.candidate.weight_bits
    assert first not in fixed.chosen.candidate.tensor_bits


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"tensor_bits": {"*": 32, "lv*": 8}}, PlanError, "is given 32 bits by '\\*' and 8 by 'lv\\*'"),
        ({"tensor_bits": {"*": 5}}, PlanError, r"--bits '\*=5': weights and tensors on the edge cannot have 5 bits"),
        ({"metric": "top5", "data": None}, DataError, "metric 'top5' .* needs labels"),
    ],
)
def test_what_cannot_be(planned: Callable[..., PlanResult], options: dict, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        planned(**options)


def test_a_target_without_a_width(mod: tvm.IRModule, data: dict[str, np.ndarray], tmp_path: Path) -> None:
    from tvm_split.targets.load import PACKAGED

    text = (PACKAGED / "raspberry-pi-4.toml").read_text().replace('"raspberry-pi-4"', '"attic"')
    (tmp_path / "attic.toml").write_text(text.replace("cores = 4", "cores = 4\nbits = [32]", 1))
    wanted = Request(mod, edge=str(tmp_path / "attic.toml"), data=data, edge_bits=(8, 32))
    with pytest.raises(PlanError, match=r"--edge-bits 8: target 'attic' has no 8-bit layers; its file says .* 32 bits"):
        workflow.plan(wanted)
