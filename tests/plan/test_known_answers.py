"""Figures that papers or their code publish, and problems small enough to solve by hand."""

from dataclasses import replace

import pytest

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.flow import min_cut_layers, prices
from tvm_split.plan.problem import Link, Problem
from tvm_split.plan.qdmp import cut_vertices
from tvm_split.plan.sweep import sweep


def test_cnnpc_profile_of_an_image():
    link = Link("20 Mibit/s", up_bytes_per_s=20 * 2**20 / 8, down_bytes_per_s=1)
    assert link.up_s(224 * 224 * 3) * 1e3 == pytest.approx(57.42, abs=0.005)


def test_auto_split_prototype_sends_an_image_at_3_mibit():
    link = Link("3 Mibit/s", up_bytes_per_s=3 * 2**20 / 8, down_bytes_per_s=1)
    assert [round(link.up_s(side * side * 3), 4) for side in (224, 416, 512, 608)] == [0.3828, 1.3203, 2.0, 2.8203]


def test_the_prototypes_rates_send_a_frame():
    """Fact 13: 1, 3, 10 and 20 Mbit/s of 2^20 bits, a raw frame of 224 x 224, no round trip."""
    sent = [Link("up", rate * 2**20 / 8, 1).up_s(224 * 224 * 3) for rate in (1, 3, 10, 20)]
    assert sent == pytest.approx([1.1484375, 0.3828125, 0.11484375, 0.057421875])


#: seconds of cloud-only in the cross-check of the prototype's chart; its bars are relative to that
CHART_S = 0.3886


@pytest.mark.parametrize(
    ("elements", "bits", "published"),
    [
        (802_816 // 8, (4, 8), (0.496, 0.824)),  # 8.0_12_4 and 8.0_12_8, the split layer's own tensor alone
        (200_704, (2, 4), (0.344, 0.673)),  # after max-pool
        (200_704, (4, 8), (0.673, 1.33)),
        (401_408, (2, 4), (0.919, 1.576)),  # a block of stage 2
        (200_704, (2, 4), (0.838, 1.166)),  # a block of stage 3
        (802_816 // 8 + 802_816, (4, 8), (3.12, 6.08)),  # split 12 with the block's input
    ],
)
def test_what_more_bits_take_in_the_prototypes_chart(elements, bits, published):
    """Two bars of one cut differ by what is sent alone, whatever the layers take."""
    link = Link("3 Mibit/s", 3 * 2**20 / 8, 1)
    narrow, wide = (link.up_s(-(-elements * b // 8)) / CHART_S for b in bits)
    assert wide - narrow == pytest.approx(published[1] - published[0], abs=0.005)


@pytest.fixture
def downsampling():
    """The block of ResNet-50 that split 12 is in: c3 adds to what `down` makes of the block's input."""
    sizes = {"x": 150_528, "pre": 802_816, "c1": 401_408, "c2": 100_352, "c3": 401_408, "down": 401_408}
    reads = {"pre": "x", "c1": "pre", "c2": "c1", "c3": "c2", "down": "pre c3"}
    tensors = tuple(Tensor(n, (size,), "uint8" if n == "x" else "float32") for n, size in sizes.items())
    layers = tuple(Layer(n, "op", tuple(read.split()), (n,)) for n, read in reads.items())
    costs = Costs("any", "test", dict.fromkeys(reads, 0.0))
    graph = Graph("block", tensors, layers, ("x",), ("down",))
    return Problem(graph, costs, costs, Link("3 Mibit/s", 3 * 2**20 / 8, 1), result_at="cloud")


@pytest.mark.parametrize(("bits", "own", "paid"), [(4, 0.497, 3.12), (8, 0.825, 6.08)])
def test_the_charts_best_split_leaves_out_the_blocks_input(downsampling, bits, own, paid):
    """Fact 15: the chart bills c2 alone; with 802,816 values more it is no longer below cloud-only."""
    after_c2 = sweep(downsampling, bits)[3]
    assert after_c2.payload_bytes == (802_816 + 100_352) * bits // 8
    left_out_s = downsampling.link.up_s(802_816 * bits // 8)
    assert left_out_s / CHART_S == pytest.approx(paid - own, abs=0.005)
    assert after_c2.timing.uplink_s - left_out_s == pytest.approx(downsampling.link.up_s(100_352 * bits // 8))


@pytest.fixture
def inverted_residual(make_chain):
    """Nodes 1 to 11 as in the paper's figure: node 2 feeds 3 and the addition 11; 4 feeds 5 and the product 9."""
    reads = {1: [0], 2: [1], 3: [2], 4: [3], 5: [4], 6: [5], 7: [6], 8: [7], 9: [4, 8], 10: [9], 11: [2, 10]}
    tensors = (Tensor("t0", (3000,), "uint8"), *(Tensor(f"t{i}", (100 + i,), "float32") for i in reads))
    layers = tuple(Layer(f"l{i}", "op", tuple(f"t{j}" for j in reads[i]), (f"t{i}",)) for i in reads)
    costs = Costs("any", "test", {layer.name: 1e-3 for layer in layers})
    graph = Graph("block", tensors, layers, ("t0",), ("t11",))
    return replace(make_chain(), graph=graph, edge=costs, cloud=costs, cut_bits=(8,))


def test_auto_split_figure_bills_the_skip_connection(inverted_residual):
    """T_9 = t_2 + t_9, T_4 = t_2 + t_4 (KDD 2021); in the dotted branch t_4 crosses as well."""
    sent = [prefix.payload_bytes for prefix in sweep(inverted_residual, 8)]
    assert sent[9] == 102 + 109
    assert sent[0:5] == [3000, 101, 102, 102 + 103, 102 + 104]
    assert sent[5] == 102 + 104 + 105
    assert sent[11] == 0


def test_auto_split_leaves_out_the_figures_dotted_branch(inverted_residual):
    """Facts 4 and 5: at b_min = 2 bits, with a frame of 60 bytes at its 8, nodes 5 to 8 are no candidates."""
    tensors = (Tensor("t0", (60,), "uint8"), *inverted_residual.graph.tensors[1:])
    small = replace(inverted_residual, graph=replace(inverted_residual.graph, tensors=tensors), cut_bits=(2, 8))
    assert [prefix.payload_bytes for prefix in sweep(small, 2)] == [60, 26, 26, 52, 52, 79, 79, 79, 79, 54, 54, 0]
    found = PLANNERS["auto-split"](small)
    assert {len(candidate.edge_layers) for candidate in found} == {0, 1, 2, 3, 4, 9, 10, 11}


def test_cut_vertices_of_the_figure(inverted_residual):
    assert [at + 1 for at in cut_vertices(inverted_residual)] == [1, 2, 11]


@pytest.mark.parametrize("name", sorted({*PLANNERS} - {"auto-split-paper"}))  # its memory is another
def test_chain_by_hand(name, make_chain):
    """100, 80, 10, 40 bytes at 10 kB/s after 0..3 layers of 1 ms and 0.1 ms, result back at 1 MB/s."""
    best = PLANNERS[name](make_chain())
    assert [round(found.predicted.total_s * 1e3, 6) for found in best if found.kind == "edge-only"] == [3.0]
    assert best[0].kind == "edge-only"  # the split after l2 takes 3.14 ms
    split = PLANNERS[name](make_chain(pins={"l3": "cloud"}))[0]
    assert split.edge_layers == ("l1", "l2")
    assert split.predicted.total_s * 1e3 == pytest.approx(2 + 1 + 0.1 + 0.04)
    assert [(part.tensor, part.size_bytes) for part in split.crossing] == [("t2", 10)]
    assert split.edge_memory_bytes == (1000 + 2000) + 100 + (80 + 10)  # weights, input, t1 and t2, which is the payload


def test_published_dads_cuts_a_chain_backwards(make_chain):
    """The first layer is cheap in the cloud only, the second on the edge only, and its way back is free on paper."""
    slow, fast = {"l1": 1.0, "l2": 0.0}, {"l1": 0.0, "l2": 1.0}
    problem: Problem = make_chain(
        (1, 1, 1), edge=Costs("edge", "test", slow), cloud=Costs("cloud", "test", fast), link=Link("link", 1e4, 1e4)
    )
    price = prices(problem, 8)
    assert min_cut_layers(problem, price, published=True) == {"l2"}
    assert min_cut_layers(problem, price) in (frozenset(), {"l1", "l2"})


def test_a_tensor_with_many_readers_is_sent_once():
    tensors = tuple(Tensor(name, (100,), "uint8") for name in ("x", "a", "b", "c", "d", "y"))
    layers = (
        Layer("stem", "op", ("x",), ("a",)),
        *(Layer(f"branch {name}", "op", ("a",), (name,)) for name in "bcd"),
        Layer("join", "op", ("b", "c", "d"), ("y",)),
    )
    seconds = {layer.name: 1.0 for layer in layers}
    problem = Problem(
        Graph("fan", tensors, layers, ("x",), ("y",)),
        Costs("edge", "test", seconds | {"stem": 0.0}),
        Costs("cloud", "test", dict.fromkeys(seconds, 0.001) | {"stem": 5.0}),
        Link("link", 1000, 1e9),
    )
    for name in ("min-cut", "qdmp"):
        best = PLANNERS[name](problem)[0]
        assert best.edge_layers == ("stem",)
        assert best.predicted.uplink_s == pytest.approx(0.1)
