import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import extract, frontend, pipeline
from tvm_split.graph import Graph
from tvm_split.profile import sampled
from tvm_split.profile.sampled import around


def shape(graph: Graph, name: str) -> tuple[int, ...]:
    return graph.tensor[name].shape


@pytest.fixture(scope="module")
def efficientnet() -> tvm.IRModule:
    return pipeline.layers()(frontend.load("zoo:efficientnet-lite0"))


def sample(mod: tvm.IRModule, count: int, seed: int = 0) -> Graph:
    found = around(mod, count, seed)
    assert found is not None
    return extract.graph(pipeline.layers()(found), "sampled")


def test_a_sample_has_layers_of_the_networks_kinds_beside_each_other(efficientnet):
    real = extract.graph(efficientnet, "net")
    graph = sample(efficientnet, 12)
    assert len(graph.layers) == 12 and {layer.op for layer in graph.layers} <= {layer.op for layer in real.layers}
    assert set(graph.inputs) == {name for layer in graph.layers for name in layer.inputs}
    sizes = {tuple(shape(real, name) for name in layer.inputs) for layer in real.layers}
    assert not sizes & {tuple(shape(graph, name) for name in layer.inputs) for layer in graph.layers}


@pytest.fixture
def few_kept(monkeypatch):
    monkeypatch.setattr(sampled, "CHANGED", 0.0)
    monkeypatch.setattr(sampled, "THINNED", 0.0)


def test_extents_stay_within_a_factor_of_two_and_multiples_of_what_they_were(efficientnet, few_kept):
    real, graph = extract.graph(efficientnet, "net"), sample(efficientnet, 24)
    channels = {shape(real, layer.inputs[0])[1] for layer in real.layers if layer.op.startswith("conv2d")}
    for layer in graph.layers:
        if layer.op.startswith("conv2d"):
            found = shape(graph, layer.inputs[0])[1]
            steps = [(c, next(step for step in (16, 8, 4, 1) if c % step == 0)) for c in channels]
            assert any(found % step == 0 and c / 2.1 <= found <= 2.1 * c for c, step in steps)


def conv(build, groups: int = 1) -> tvm.IRModule:
    weight = relax.const(np.ones((32, 32 // groups, 3, 3), "float32"))

    def body(emit, x):
        return emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, weight, padding=1, groups=groups))))

    return pipeline.layers()(build(body, (1, 32, 20, 24)))


def test_depthwise_stays_depthwise(build, few_kept):
    graph = sample(conv(build, 32), 6)
    made = {shape(graph, layer.inputs[0])[1]: layer for layer in graph.layers}
    assert len(made) > 1
    for channels, layer in made.items():
        _, _, height, width = shape(graph, layer.inputs[0])
        assert shape(graph, layer.outputs[0]) == (1, channels, height, width)
        assert layer.weight_bytes == 4 * channels * 9 and layer.op == "conv2d_relu"


def test_windows_stay_nearly_always(build, few_kept):
    (layer,) = (graph := sample(conv(build), 1)).layers
    inner, outer = shape(graph, layer.inputs[0])[1], shape(graph, layer.outputs[0])[1]
    assert layer.weight_bytes - layer.winograd_bytes == 4 * inner * outer * 9


def test_now_and_then_windows_are_others(build, monkeypatch):
    monkeypatch.setattr(sampled, "CHANGED", 1.0)
    graph = sample(conv(build), 12)
    layers = [layer for layer in graph.layers if layer.op == "conv2d_relu"]
    areas = {(layer.weight_bytes - layer.winograd_bytes) / 4 / shape(graph, layer.inputs[0])[1]
             / shape(graph, layer.outputs[0])[1] for layer in layers}  # fmt: skip
    assert len(areas) > 3 and all(area == round(area) <= (3 * sampled.WIDEST) ** 2 for area in areas)


def test_now_and_then_large_extents_are_few(build, monkeypatch):
    monkeypatch.setattr(sampled, "THINNED", 1.0)
    graph = sample(conv(build), 12)
    assert any(min(shape(graph, layer.inputs[0])[1:]) <= sampled.FEW for layer in graph.layers)


def test_no_window_is_longer_than_its_input(build, monkeypatch):
    """TVM infers negative extents then, whose product may be above 0."""
    monkeypatch.setattr(sampled, "CHANGED", 1.0)
    monkeypatch.setattr(sampled, "THINNED", 1.0)
    graph = sample(conv(build), 24)
    assert all(extent > 0 for layer in graph.layers for extent in shape(graph, layer.outputs[0]))


def test_what_is_added_still_fits(build):
    weight = relax.const(np.ones((16, 8, 1, 1), "float32"))
    both = build(lambda emit, x: emit(relax.op.add(emit(relax.op.nn.conv2d(x, weight)), relax.op.nn.conv2d(x, weight))),
                 (1, 8, 12, 12))  # fmt: skip
    graph = sample(pipeline.layers()(both), 6)
    adding = [layer for layer in graph.layers if len(layer.inputs) == 2]
    assert adding and all(shape(graph, layer.inputs[1]) == shape(graph, layer.outputs[0]) for layer in adding)


def test_the_same_seed_draws_the_same(efficientnet):
    def sizes(seed):
        graph = sample(efficientnet, 5, seed)
        return [shape(graph, layer.inputs[0]) for layer in graph.layers]

    assert sizes(3) == sizes(3) != sizes(4)


def test_what_has_no_other_size_gives_nothing(build):
    assert around(pipeline.layers()(build(lambda emit, x: emit(relax.op.nn.relu(x)), (1, 1))), 3, 0) is None


def test_nothing_is_too_large(build, monkeypatch):
    monkeypatch.setattr(sampled, "MOST_FLOPS", 1.0)
    assert around(conv(build), 3, 0) is None
    monkeypatch.undo()
    monkeypatch.setattr(sampled, "MOST_ELEMENTS", 100)
    assert around(conv(build), 3, 0) is None
