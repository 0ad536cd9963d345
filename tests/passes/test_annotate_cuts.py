"""AnnotateCuts: every tensor that a later layer reads is in the crossing set, as in Auto-Split's figure 4."""

import json

import pytest
import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.annotate_cuts import CUTS, AnnotateCuts, prefixes
from tvm_split.passes.fuse_activation import FuseActivation


def figure_4():
    """Eleven nodes: 1 and 2, then a branch 3..10 of pools, and node 11, which adds nodes 2 and 10."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 1, 8, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            nodes = {0: x}
            for i in range(1, 11):
                stride = 2 if i in (1, 5) else 1
                call = relax.op.nn.max_pool2d(nodes[i - 1], (3, 3), (stride, stride), (1, 1))
                nodes[i] = builder.emit(call, name_hint=f"n{i}")
            pooled = builder.emit(relax.op.nn.max_pool2d(nodes[2], (3, 3), (2, 2), (1, 1)), name_hint="skip")
            out = builder.emit_output(relax.op.concat([nodes[10], pooled], axis=1), name_hint="n11")
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


def cuts_of(mod):
    return json.loads(str(mod["main"].attrs[CUTS]))


def test_a_skip_connection_counts():
    """T_9 = t_2 + t_9: the block's input is needed after the branch."""
    cuts = {cut["after"]: cut for cut in cuts_of(AnnotateCuts(0)(figure_4()))}
    assert cuts["n2"]["crossing"] == ["n2"] and cuts["n2"]["elements"] == 16
    assert cuts["n4"]["crossing"] == ["n2", "n4"] and cuts["n4"]["elements"] == 32
    assert cuts["n9"]["crossing"] == ["n2", "n9"] and cuts["n9"]["elements"] == 16 + 4
    assert cuts["skip"]["crossing"] == ["n10", "skip"] and cuts["skip"]["elements"] == 8


def test_prefixes_agree_with_the_graph():
    graph = extract.graph(figure_4())
    order = [layer.name for layer in graph.layers]
    for cut in prefixes(graph):
        assert tuple(sorted(cut["crossing"])) == tuple(sorted(graph.crossing(order[: cut["edge_layers"]])))
        assert cut["after"] == order[cut["edge_layers"] - 1]
    assert len(prefixes(graph)) == len(order) - 1, "edge-only is no cut"


@pytest.mark.parametrize(("limit", "kept"), [(None, 11), (0, 11), (20, 9), (19, 3), (8, 1), (7, 0)])
def test_the_limit(limit, kept):
    assert len(cuts_of(AnnotateCuts(limit)(figure_4()))) == kept


def test_nothing_else_changes(apply_once):
    mod = figure_4()
    out = apply_once(AnnotateCuts(), mod)
    again = out.clone()
    again["main"] = out["main"].without_attr(CUTS)
    tvm.ir.assert_structural_equal(again, mod)
