import json
from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import pipeline
from tvm_split.compile_half import compile_half
from tvm_split.costs import Costs
from tvm_split.errors import BundleError, CostError
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph, Layer
from tvm_split.profile.measured import measure_half, measure_layers
from tvm_split.profile.timing import made_up
from tvm_split.targets import load_target

HOST = load_target("host")


@pytest.fixture(scope="module")
def network() -> tuple[tvm.IRModule, Graph]:
    """conv with relu -> reshape (no kernel in a half) -> matmul -> a sort (a kernel that TVM dispatches)."""
    random = np.random.default_rng(0)
    x = relax.Var("x", relax.TensorType([1, 3, 8, 8], "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            kernel = relax.const(random.standard_normal((4, 3, 3, 3)).astype("float32"))
            y = builder.emit(relax.op.nn.conv2d(x, kernel, padding=1))
            y = builder.emit(relax.op.nn.relu(y))
            y = builder.emit(relax.op.reshape(y, [1, 256]))
            y = builder.emit(relax.op.matmul(y, relax.const(random.standard_normal((256, 10)).astype("float32"))))
            out = builder.emit_output(relax.op.sort(y))
        builder.emit_func_output(out)
    mod = builder.get()
    mod["main"] = mod["main"].with_attr("num_input", 1)
    mod = pipeline.layers()(mod)
    return mod, extract_graph(mod, "small")


@pytest.fixture(scope="module")
def costs(network) -> Costs:
    return measure_layers(*network, HOST, repeats=2, date="2026-01-02")


def test_every_layer_has_a_positive_time(network, costs):
    assert list(costs.layer_s) == [layer.name for layer in network[1].layers]
    assert all(seconds > 0 for seconds in costs.layer_s.values())


def test_says_where_the_numbers_come_from(costs):
    assert (costs.target, costs.source) == ("host", "measured")
    assert costs.provenance["date"] == "2026-01-02"
    assert costs.provenance["repeats"] == 2
    assert costs.provenance["machine"] and "apache-tvm" in costs.provenance["versions"]
    assert costs.provenance["through_vm"] >= 1  # the reshape


def test_survives_json(costs):
    assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs


def test_a_layer_that_the_module_lacks(network):
    mod, graph = network
    last = graph.layers[-1]
    more = replace(graph, layers=(*graph.layers, Layer("stranger", "add", last.outputs, ())))
    with pytest.raises(CostError, match="layer 'stranger' of graph 'small' is not in the module"):
        measure_layers(mod, more, HOST)


def test_refuses_what_cannot_run_here(network):
    simulated = next(s for s in (load_target("eyeriss"), load_target("tpu")) if s.simulated)
    with pytest.raises(CostError, match="simulated"):
        measure_layers(*network, simulated)
    other = "raspberry-pi-4" if HOST.arch == "x86_64" else "c5.xlarge"
    with pytest.raises(CostError, match="give a session on a board"):
        measure_layers(*network, load_target(other))
    with pytest.raises(CostError, match="repeats is 0"):
        measure_layers(*network, HOST, repeats=0)


def test_over_rpc(network):
    from tvm.rpc import LocalSession

    found = measure_layers(*network, HOST, remote=LocalSession(), repeats=1)
    assert list(found.layer_s) == [layer.name for layer in network[1].layers]
    assert found.provenance["machine"] == "host, over RPC"


def test_a_whole_half(network, tmp_path):
    path = tmp_path / "half.so"
    compile_half(network[0], HOST, path)
    image = np.ones((1, 3, 8, 8), np.float32)
    runs = measure_half(path, [image], repeats=2)
    assert len(runs) == 2 and all(0 < seconds < 1 for seconds in runs)
    with pytest.raises(BundleError, match="main takes 1 inputs, 2 were given"):
        measure_half(path, [image, image])
    with pytest.raises(BundleError, match="is no file"):
        measure_half(tmp_path / "other.so", [image])


def test_made_up_values():
    assert made_up(relax.TensorType([2, 3], "int64")).tolist() == [[0] * 3] * 2
    floats = made_up(relax.TensorType([4], "float16"))
    assert floats.dtype == np.float16 and np.isfinite(floats).all()
