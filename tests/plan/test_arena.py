"""The arena by hand, and against the live tensors. tests/test_scratch.py compares it with TVM's own plan."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import RANGE, Arena, arena_walk
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem


def test_a_storage_is_used_again_grown_or_left_alone():
    arena = Arena()
    arena.give("float32", arena.take("float32", 100))
    assert arena.take("float32", 60) == 100 and arena.size_bytes == 100, "large enough"
    assert arena.take("float32", 60) == 60 and arena.size_bytes == 160, "the first is not free"
    arena.give("float32", 60)
    assert arena.take("float32", 90) == 90 and arena.size_bytes == 190, "grown by 30"
    arena.give("float32", 90)
    assert arena.take("int8", 90) == 90 and arena.size_bytes == 280, "another dtype"
    assert arena.take("float32", 90 // RANGE - 1) == 90 // RANGE - 1, "far too large to spend"
    assert arena.take("float32", 90 * RANGE + RANGE) == 90 * RANGE + RANGE, "far too small to grow"
    assert arena.size_bytes == 280 + 4 + 90 * RANGE + RANGE


def test_of_two_free_storages_the_smaller_that_will_do():
    arena = Arena()
    for size in [arena.take("float32", size) for size in (50, 200, 100)]:
        arena.give("float32", size)
    assert arena.take("float32", 60) == 100
    assert arena.take("float32", 300) == 300 and arena.size_bytes == 350 + 100, "the largest grows"


def live_peak(graph, edge, kept):
    """Run the layers one by one; a tensor is held while anything that is still to come wants it."""
    order = [layer for layer in graph.layers if layer.name in edge]
    held, peak = set(), 0
    for i, layer in enumerate(order):
        held.update(layer.outputs)
        peak = max(peak, sum(graph.tensor[name].size_bytes for name in held))
        held &= kept.union(*(later.inputs for later in order[i + 1 :]))
    return peak


@given(seed=st.integers(0, 10**6), wanted=st.sets(st.integers(0, 8)))
def test_storages_hold_the_live_tensors_and_no_more_than_all(seed, wanted, make_graph):
    graph = make_graph(seed)
    edge = graph.closure(layer.name for i, layer in enumerate(graph.layers) if i in wanted)
    order = [layer for layer in graph.layers if layer.name in edge]
    kept = {*graph.crossing(edge), *graph.outputs}
    sizes = [0, *(after.size_bytes for after in arena_walk(graph, order, kept, graph.outputs))]
    assert sizes == sorted(sizes)
    made = sum(graph.tensor[name].size_bytes for layer in order for name in layer.outputs)
    assert live_peak(graph, edge, kept) <= sizes[-1] <= made


def test_the_largest_scratch_counts_once(make_chain):
    problem = make_chain()
    graph = problem.graph
    for sizes, more in (((7, 0, 0), 7), ((7, 9, 0), 9), ((0, 0, 50), 0)):
        layers = tuple(replace(layer, scratch_bytes=size) for layer, size in zip(graph.layers, sizes, strict=True))
        found = evaluate(replace(problem, graph=replace(graph, layers=layers)), ("l1", "l2"), 8)
        assert found.edge_memory_bytes == evaluate(problem, ("l1", "l2"), 8).edge_memory_bytes + more


def test_each_part_of_a_payload():
    """Ten float elements cross: 40 bytes, a copy of them in 10 or 20, and what is packed."""
    tensors = (Tensor("x", (100,), "uint8"), Tensor("a", (10,), "float32"), Tensor("y", (1,), "float32"))
    layers = (Layer("a", "op", ("x",), ("a",), 0, 1000), Layer("y", "op", ("a",), ("y",)))
    costs = Costs("any", "test", {"a": 1.0, "y": 1.0})
    problem = Problem(Graph("two", tensors, layers, ("x",), ("y",)), costs, costs, Link("link", 1e6, 1e6))
    packed = {bits: evaluate(problem, "a", bits).edge_memory_bytes - (1000 + 100 + 40) for bits in (4, 8, 16, 32)}
    assert packed == {4: 10 + 5, 8: 10, 16: 20 + 20, 32: 40}
    image = replace(tensors[1], shape=(1, 5, 2, 1))  # held channels last: turned once more before it is packed
    turned = replace(problem, graph=replace(problem.graph, tensors=(tensors[0], image, tensors[2])))
    packed = {bits: evaluate(turned, "a", bits).edge_memory_bytes - (1000 + 100 + 40) for bits in (4, 8, 16, 32)}
    assert packed == {4: 20 + 5, 8: 20, 16: 40 + 20, 32: 40 + 40}
    assert evaluate(problem, (), 8).edge_memory_bytes == 100, "the frame is its own payload"
    both = replace(problem, graph=replace(problem.graph, layers=(layers[0], replace(layers[1], inputs=("x", "a")))))
    assert evaluate(both, "a", 4).edge_memory_bytes == (1000 + 100 + 40) + 10 + 105 + 105, "pack takes its parts twice"
