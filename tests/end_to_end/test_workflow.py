"""compile and run, whole: where the result is wanted, what is on the wire, and that two runs write the same bytes."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import workflow
from tvm_split.edge_half import EdgeHalf
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.plan.problem import Link
from tvm_split.prepare import prepare
from tvm_split.runtime.coding import decode_payload, encode_payload
from tvm_split.runtime.executor import Half
from tvm_split.runtime.local import run_bundle
from tvm_split.runtime.machine import architecture, library_here
from tvm_split.targets.host import machine
from tvm_split.workflow import Request

FAST = Link("loopback", 1e9, 1e9)


def network() -> tvm.IRModule:
    """A frame (1, 48, 64, 3) -> convolution -> pooled features (an output, read again) -> ten scores (an output)."""
    random = np.random.default_rng(0)
    frame = relax.Var("frame", relax.TensorType((1, 48, 64, 3), "uint8"))
    builder = relax.BlockBuilder()
    with builder.function("main", [frame]):
        with builder.dataflow():
            x = builder.emit(relax.op.permute_dims(relax.op.astype(frame, "float32"), [0, 3, 1, 2]))
            kernel = relax.const(random.standard_normal((8, 3, 3, 3)).astype("float32"))
            y = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, kernel, strides=2)))
            y = builder.emit(relax.op.nn.max_pool2d(y, (4, 4), (4, 4)))
            features = builder.emit_output(relax.op.reshape(y, (1, 8 * 5 * 7)))
            weight = relax.const(random.standard_normal((8 * 5 * 7, 10)).astype("float32"))
            scores = builder.emit_output(relax.op.matmul(features, weight))
        builder.emit_func_output(relax.Tuple([scores, features]))
    return builder.get()


@pytest.fixture(scope="module")
def mod() -> tvm.IRModule:
    return network()


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """Smooth, as photographs are: JPEG keeps it."""
    rows, columns = np.mgrid[0:48, 0:64]
    channels = [rows * 4, columns * 3, (rows + columns) * 2]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)[np.newaxis]


@pytest.fixture(scope="module")
def data(tmp_path_factory, frame):
    path = tmp_path_factory.mktemp("data") / "frames.npz"
    np.savez(path, frame=np.concatenate([frame, frame[:, ::-1], frame[:, :, ::-1], 255 - frame]))
    return path


def request(mod, data, **changes) -> Request:
    return Request(mod, edge="host", cloud="host", link="3mbit", data=data, **changes)


def pinned(names: list[str], edge_layers: int) -> dict[str, str]:
    return {name: "edge" if i < edge_layers else "cloud" for i, name in enumerate(names)}


def wire_bytes(bundle, frame) -> int:
    """What the edge process would send for this frame."""
    half = Half(library_here(bundle, "edge"))
    payload = half.run([frame])[0]
    assert payload.size == bundle.payload_bytes
    sent = encode_payload(bundle, payload)
    assert decode_payload(bundle, sent).size == payload.size
    return len(sent)


@pytest.mark.parametrize("result_at", ["edge", "cloud"])
@pytest.mark.parametrize("edge_layers", [0, 3, 5, 6])
def test_bytes_on_the_wire_are_the_plans(mod, data, frame, tmp_path, result_at, edge_layers):
    names = [layer.name for layer in prepare(request(mod, data))[1].layers]
    pins = pinned(names, edge_layers)
    made = workflow.compile(
        request(mod, data, pins=pins, cut_bits=(32,), result_at=result_at, strategy="min-cut"), tmp_path / "bundle"
    )
    bundle, chosen = made.bundle, made.plan.chosen.candidate
    assert len(chosen.edge_layers) == edge_layers
    crosses = bool(chosen.crossing)
    assert crosses == (edge_layers < len(names) or result_at == "cloud")
    if crosses:
        sent = wire_bytes(bundle, frame)
        assert sent == chosen.payload_bytes if not chosen.is_coded else 0 < sent < bundle.payload_bytes
    runner = LayerRunner(made.plan.module)
    want = runner.run({"frame": frame}, runner.graph.outputs)
    got = run_bundle(bundle, {"frame": frame}, repeats=1, link=FAST).outputs
    assert list(got) == list(want)
    for name, array in want.items():
        if chosen.is_coded:
            assert np.abs(got[name] - array).max() < 0.1 * np.abs(array).max()
        else:
            np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("result_at", ["edge", "cloud"])
@pytest.mark.parametrize(("edge_layers", "bits"), [(3, 8), (5, 8), (6, 8), (5, 3)])
def test_integer_layers_on_the_edge(mod, data, frame, tmp_path, edge_layers, bits, result_at):
    """The bundle computes what the half that was checked computes, bit for bit, and its edge is smaller."""
    names = [layer.name for layer in prepare(request(mod, data))[1].layers]
    options = {"pins": pinned(names, edge_layers), "strategy": "exact", "cut_bits": (8,), "max_error": 9.0}
    options["result_at"] = result_at
    made = workflow.compile(request(mod, data, edge_bits=(bits,), **options), tmp_path / "bundle")
    chosen, plan = made.plan.chosen, made.plan
    assert len(chosen.candidate.edge_layers) == edge_layers and set(chosen.candidate.weight_bits.values()) == {bits}
    assert f"W{bits}A{bits}" in chosen.label and chosen.accuracy is not None and chosen.accuracy.max_abs_error > 0
    half = EdgeHalf(plan.module_of(chosen.candidate), chosen.candidate, *plan.quantizers(chosen.candidate), result_at)
    sent, at_edge = half.run({"frame": frame})
    runner = LayerRunner(plan.module)
    want = {**runner.run(sent, [name for name in runner.graph.outputs if name not in at_edge]), **at_edge}
    assert result_at == "edge" or not at_edge
    got = run_bundle(made.bundle, {"frame": frame}, repeats=1, link=FAST).outputs
    assert list(got) == list(runner.graph.outputs)
    for name, array in got.items():
        np.testing.assert_array_equal(array, want[name])
    floats = workflow.plan(request(mod, data, **options)).chosen.candidate
    assert chosen.candidate.edge_memory_bytes < floats.edge_memory_bytes


def test_a_planner_that_chooses_no_bits_is_refused(mod, data):
    with pytest.raises(PlanError, match=r"'min-cut' chooses no bits.*plan with exact or auto-split"):
        workflow.plan(request(mod, data, edge_bits=(8,), strategy="min-cut"))


def test_outputs_are_called_as_in_the_model(tmp_path):
    """An ONNX model whose first and last output are one tensor."""
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(n, 1, [1, 4]) for n in ("x", "first", "middle", "again")]
    nodes = [onnx.helper.make_node("Relu", ["x"], ["middle"]), onnx.helper.make_node("Exp", ["middle"], ["first"]),
             onnx.helper.make_node("Identity", ["first"], ["again"])]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "g", value[:1], value[1:])
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    x = np.array([[-1, 0, 1, 2]], np.float32)
    bundle = workflow.compile(Request(path, edge="host", cloud="host", data={"x": x}), tmp_path / "bundle").bundle
    found = run_bundle(bundle, {"x": x}, repeats=1, shaped=False).outputs
    assert list(found) == ["first", "middle", "again"]
    np.testing.assert_array_equal(found["first"], found["again"])
    np.testing.assert_array_equal(found["middle"], np.maximum(x, 0))
    np.testing.assert_allclose(found["first"], np.exp(np.maximum(x, 0)), rtol=1e-6)


def test_jpeg_is_built_when_it_is_chosen(mod, data, frame, tmp_path):
    made = workflow.compile(request(mod, data, pins={"*": "cloud"}), tmp_path / "bundle")
    assert made.plan.chosen.label == "cloud-only JPEG"
    assert made.plan.chosen.accuracy.top1_agreement == 1.0
    assert made.plan.chosen.accuracy.max_abs_error > 0
    bundle = made.bundle
    assert bundle.payload_bytes == frame.size
    sent = wire_bytes(bundle, frame)
    assert sent < frame.size / 3 and 0.5 < sent / bundle.planned_bytes < 2
    ran = run_bundle(bundle, {"frame": frame}, repeats=1, link=Link("slow", 5000.0, 1e9))
    assert 0.9 * sent / 5000 < ran.measured.uplink_s < 2 * sent / 5000 + 0.5


def test_two_compiles_write_the_same_bytes(mod, data, tmp_path):
    """Two runs with the same inputs write the same plan and byte-identical manifests (design.md)."""
    bundles = [workflow.compile(request(mod, data, pins={"lv*": "edge"}), tmp_path / n).bundle for n in ("a", "b")]
    names = {path.name for path in bundles[0].path.iterdir()}
    assert {"manifest.json", "plan.json"} < names == {path.name for path in bundles[1].path.iterdir()}
    for name in names:
        assert (bundles[0].path / name).read_bytes() == (bundles[1].path / name).read_bytes(), name


def test_twins_are_for_any_machine_of_this_kind(mod, data, frame, tmp_path):
    """Halves for an ARM board and an AVX-512 server; their twins run here and make the halves' own payload."""
    pins = pinned([layer.name for layer in prepare(request(mod, data))[1].layers], 3)
    wanted = Request(mod, edge="raspberry-pi-4", cloud="c5.xlarge", link="3mbit", data=data, pins=pins)
    bundle = workflow.compile(wanted, tmp_path / "bundle").bundle
    assert {role: architecture(bundle.half(role)) for role in bundle.manifest["halves"]} == {
        "edge": "aarch64", "edge_host": machine(), "cloud": "x86_64", "cloud_host": machine()}  # fmt: skip
    assert bundle.compiled_for("edge").mcpu == "cortex-a72" and "avx512f" in bundle.compiled_for("cloud").features
    assert not any("avx512" in feature for feature in bundle.compiled_for("cloud_host").features)
    assert [library_here(bundle, side).name for side in ("edge", "cloud")] == ["edge_host.so", "cloud_host.so"]
    stages = run_bundle(bundle, {"frame": frame}, repeats=1, link=FAST).stages
    assert all("the twin" in stage.measured_on and stage.error_percent is None for stage in (stages[0], stages[2]))


@pytest.mark.skipif(machine() != "x86_64", reason="compares x86-64 processors")
def test_a_twin_makes_the_halfs_own_bytes(mod, data, frame, tmp_path):
    """The baseline has fused multiply-add as the boards have, so the sums, and the payload, are the same."""
    pins = pinned([layer.name for layer in prepare(request(mod, data))[1].layers], 3)
    wanted = request(mod, data, pins=pins, cut_bits=(32,), strategy="min-cut")
    bundle = workflow.compile(wanted, tmp_path / "bundle").bundle
    if bundle.half("edge_host") is None:
        pytest.skip("this machine's processor is the baseline")
    made = [Half(bundle.half(role)).run([frame])[0] for role in ("edge", "edge_host")]
    np.testing.assert_array_equal(*made)
