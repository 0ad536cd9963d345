"""The functions for TVM build scripts, as the README's example calls them."""

import numpy as np
import pytest
import tvm
from tvm import relax

import tvm_split
from tvm_split.costs import Costs
from tvm_split.errors import BundleError, GraphError, PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.profile.source import Boards, costs_of
from tvm_split.runtime.local import run_bundle
from tvm_split.targets import load_target


@pytest.fixture(scope="module")
def mod() -> tvm.IRModule:
    """Two convolutions, the first with a stride, and a matmul."""
    random = np.random.default_rng(0)
    x = relax.Var("x", relax.TensorType((1, 3, 16, 16), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, const(random, 4, 3, 3, 3), strides=2)))
            y = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(y, const(random, 4, 4, 3, 3))))
            y = builder.emit(relax.op.reshape(y, (1, 100)))
            out = builder.emit_output(relax.op.matmul(y, const(random, 100, 10)))
        builder.emit_func_output(out)
    return builder.get()


def const(random: np.random.Generator, *shape: int) -> relax.Expr:
    return relax.const(random.standard_normal(shape).astype("float32"))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((6, 3, 16, 16)).astype("float32")


def test_plan_partition_build_and_run(mod, samples, tmp_path):
    with pytest.warns(UserWarning, match="data sheets"):
        plan = tvm_split.plan(mod, edge="host", cloud="host", link="3mbit", data={"x": samples}, cut_bits=(32,),
                              pins={"lv*": "edge", "gv": "cloud"})  # fmt: skip
    assert "->" in str(plan) and plan.chosen.label in str(plan) and plan.chosen.label in repr(plan)
    edge, cloud = tvm_split.partition(mod, plan)
    (payload,) = edge["main"].ret_ty.fields  # the pins leave one cut: after the reshape, 100 floats
    assert (str(payload.dtype), [int(extent) for extent in payload.shape.values]) == ("uint8", [400])
    assert [param.ty for param in cloud["main"].params] == [payload]
    bundle = tvm_split.build(plan, tmp_path / "bundle")
    result = tvm_split.run(bundle, {"x": samples[:1]}, 1)
    runner = LayerRunner(plan.module)
    want = runner.run({"x": samples[:1]}, runner.graph.outputs)
    for got, array in zip(result.outputs.values(), want.values(), strict=True):
        np.testing.assert_array_equal(got, array)
    with pytest.raises(GraphError, match="the plan was made for"):
        tvm_split.partition(other_network(), plan)


def test_run_opens_the_bundle_of_a_folder(tmp_path):
    assert tvm_split.run is run_bundle
    with pytest.raises(BundleError, match="no bundle"):
        tvm_split.run(tmp_path, {})


def test_a_plan_on_one_sample_says_how_little_that_tells(mod, samples):
    with pytest.warns(UserWarning, match="The only sample calibrated and checked"):
        plan = tvm_split.plan(mod, edge="host", cloud="host", link="3mbit", data={"x": samples[:1]}, cut_bits=(4,))
    assert (plan.calibrating, plan.checking) == (0, 1)
    assert sum("on the 1 sample checked" in warning for warning in plan.warnings) == 1


def other_network() -> tvm.IRModule:
    x = relax.Var("x", relax.TensorType((1, 8), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.nn.relu(x))
        builder.emit_func_output(out)
    return builder.get()


def test_wrong_options(mod):
    with pytest.raises(PlanError, match="no option 'memory'; did you mean 'memory_bytes'"):
        tvm_split.plan(mod, memory=8)
    with pytest.raises(PlanError, match=r"pins \(--pin\) is 'a=edge'; expected a dict, e.g. {'stem\*': 'edge'}"):
        tvm_split.plan(mod, pins="a=edge")
    with pytest.raises(PlanError, match="add --costs measured"):
        tvm_split.plan(mod, tracker="127.0.0.1:9190")


def test_measured_costs_follow_the_rooflines(mod):
    from tvm_split import pipeline
    from tvm_split.extract import graph as extract_graph
    from tvm_split.profile.roofline import roofline

    layered = pipeline.layers()(mod)
    graph = extract_graph(layered, "net")
    edge, host = load_target("raspberry-pi-4"), load_target("host")
    found, here, warnings = costs_of("measured", graph, layered, edge, host)
    (warning,) = warnings  # this machine is the cloud: nothing is scaled
    assert "--edge-key" in warning
    for layer in graph.layers:
        ratio = roofline(graph, edge).of(layer.name) / roofline(graph, host).of(layer.name)
        assert found.of(layer.name) == pytest.approx(here.of(layer.name) * ratio)
    with pytest.raises(PlanError, match="give --tracker"):
        costs_of("measured", graph, layered, edge, host, Boards(edge_key="rasp4b"))


def test_costs_from_files(mod, tmp_path):
    import json

    from tvm_split import pipeline
    from tvm_split.extract import graph as extract_graph

    layered = pipeline.layers()(mod)
    graph = extract_graph(layered, "net")
    paths = []
    for name, seconds in (("edge", 0.5), ("cloud", 0.25)):
        costs = Costs("host", "test", {layer.name: seconds for layer in graph.layers}, {})
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(costs.to_json()))
    edge, cloud, warnings = costs_of(tuple(paths), graph, layered, load_target("host"), load_target("host"))
    assert (edge.of(graph.layers[0].name), cloud.of(graph.layers[0].name), warnings) == (0.5, 0.25, [])


@pytest.mark.parametrize("source", ["systolic", "array"])
def test_a_plan_on_the_chips_of_the_paper(mod, samples, source):
    """Integers are priced on the array too, as eight bits in one pass."""
    with pytest.warns(UserWarning, match=rf"simulated arrays \({source}\)"):
        plan = tvm_split.plan(
            mod, edge="eyeriss", cloud="tpu", link="3mbit", data={"x": samples}, costs=source, edge_bits=(8,)
        )
    problem = plan.problem
    assert (problem.edge.source, problem.cloud.source) == (source, source)
    assert problem.precision.integer.source == source and problem.precision.integer.provenance["bits"] == 8
    assert problem.precision.integer.of("lv") < problem.edge.of("lv")


def test_costs_of_no_known_source_are_refused(mod):
    with pytest.raises(PlanError, match=r"costs is 'guess'; expected 'roofline', .*'systolic', 'scalesim', 'array' or"):
        tvm_split.plan(mod, costs="guess")
