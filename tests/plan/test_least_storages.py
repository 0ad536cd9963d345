"""The bound on storages against those of random widths, at every cut that holds the prefix."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import arena_walk
from tvm_split.plan.choices import choices
from tvm_split.plan.least_storages import least_storages


@given(
    seed=st.integers(0, 10**6),
    states=st.sampled_from((1, 3, 64)),
    wanted=st.sets(st.integers(0, 7)),
    draws=st.lists(st.integers(0, 9), min_size=30, max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_no_widths_take_less(seed, states, wanted, draws, make_mixed):
    problem = make_mixed(seed, 8)
    graph, widths = problem.graph, choices(problem).held
    returned = frozenset(graph.outputs) if problem.result_at == "edge" else frozenset()
    least = least_storages(graph, widths, returned, states)
    assert least == sorted(least) and least[0] == 0 and len(least) == len(graph.layers) + 1
    chosen = {name: found[draws[i % 30] % len(found)] for i, (name, found) in enumerate(widths.items())}
    own = {tensor.name: {"float32": 32, "float16": 16}.get(tensor.dtype, 8) for tensor in graph.tensors}
    held = {name: bits for name, bits in chosen.items() if bits < own[name]}
    edge = graph.closure(layer.name for i, layer in enumerate(graph.layers) if i in wanted)
    layers = [layer for layer in graph.layers if layer.name in edge]
    results = sum(graph.tensor[name].size_bytes for layer in layers for name in layer.outputs if name in returned)
    kept = {*graph.outputs, *graph.crossing(edge, result_at_cloud=problem.result_at == "cloud")}
    size_bytes = (
        max((after.size_bytes for after in arena_walk(graph, layers, kept, returned, held)), default=0) - results
    )
    first = next((i for i, layer in enumerate(graph.layers) if layer.name not in edge), len(graph.layers))
    assert size_bytes >= least[first]


def test_a_wider_tensor_may_take_less_and_is_found():
    """10, 1, 1, 10 bytes by turns in two storages of 10; b at 16 bits leaves its turn: 10 + 2 + 1."""
    sizes = {"x": 1, "a": 10, "b": 1, "c": 1, "d": 10, "y": 1}
    tensors = tuple(Tensor(name, (size,), "float32") for name, size in sizes.items())
    names = list(sizes)
    layers = tuple(Layer(name, "op", (read,), (name,)) for read, name in itertools.pairwise(names))
    graph = Graph("turns", tensors, layers, ("x",), ("y",))
    narrow = {name: (8,) for name in "abcd"} | {"x": (32,), "y": (32,)}
    free = narrow | dict.fromkeys("abcd", (8, 16))
    returned = frozenset("y")
    assert least_storages(graph, narrow, returned)[-1] == 20
    assert least_storages(graph, free, returned)[-1] == 13


def test_a_tensor_without_widths_ends_the_search(make_mixed):
    graph = make_mixed(3).graph
    widths = {tensor.name: (8,) for tensor in graph.tensors} | {graph.layers[0].outputs[0]: ()}
    assert least_storages(graph, widths, frozenset()) == [0] * (len(graph.layers) + 1)
