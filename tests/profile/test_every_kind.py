"""Layers of no network: which kinds, within which sizes, and that TVM takes them."""

import random
from dataclasses import replace

import pytest
import tvm
from tvm import relax

from tests.profile.made_records import layers
from tvm_split import extract, pipeline
from tvm_split.profile import every_kind
from tvm_split.profile.cost_model import fit
from tvm_split.profile.every_kind import KINDS, MOST_ELEMENTS, MOST_FLOPS, drawn
from tvm_split.profile.records import EVERY_KIND
from tvm_split.profile.workload import workload
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

SPEC = load_target("host")


def graph_of(count, seed):
    mod = pipeline.layers()(drawn(count, seed))
    return mod, extract.graph(mod, EVERY_KIND)


def test_the_same_seed_draws_the_same_and_another_others():
    (_, first), (_, same), (_, other) = (graph_of(6, seed) for seed in (1, 1, 2))
    assert first.to_json() == same.to_json() != other.to_json()


def test_layers_stay_within_their_limits():
    for seed in range(4):
        _, graph = graph_of(12, seed)
        assert len(graph.layers) >= 12 and max(layer.flops for layer in graph.layers) <= MOST_FLOPS
        assert all(0 < tensor.elements <= MOST_ELEMENTS for tensor in graph.tensor.values())


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS), ids=lambda kind: kind.__name__)
def test_every_kind_can_be_drawn_lowered_and_described(kind, monkeypatch):
    monkeypatch.setattr(every_kind, "KINDS", (kind,))
    mod, graph = graph_of(2, 3)
    work = workload(mod, graph, SPEC, resolve(SPEC))
    assert work.described.keys() == {layer.name for layer in graph.layers}


def calls_of(kind, name, monkeypatch):
    """The calls of an operator in a few modules of one kind of layer."""
    monkeypatch.setattr(every_kind, "KINDS", (kind,))
    values = [
        binding.value
        for seed in range(4)
        for block in drawn(16, seed)["main"].body.blocks
        for binding in block.bindings
    ]
    return [value for value in values if isinstance(value, relax.Call) and value.op.name == name]


def test_nothing_is_reflected_that_is_not_there(monkeypatch):
    """TVM reads before the tensor where a reflection is wider than what it reflects."""
    found = calls_of(every_kind._pad, "relax.nn.pad", monkeypatch)
    ranks, modes = {len(call.args[0].ty.shape.values) for call in found}, {str(call.attrs.pad_mode) for call in found}
    assert ranks == {3, 4} and modes == {"constant", "reflect"}
    for call in found:
        before = [int(width) for width in call.attrs.pad_width][::2]
        extents = [int(extent) for extent in call.args[0].ty.shape.values]
        assert call.attrs.pad_mode != "reflect" or all(a < b for a, b in zip(before, extents, strict=True))


def test_joined_along_each_axis_and_spread_along_each(monkeypatch):
    joins = calls_of(every_kind._concat, "relax.concat", monkeypatch)
    assert {int(call.attrs.axis) for call in joins} == {1, 2, 3}
    adds = calls_of(every_kind._elementwise, "relax.add", monkeypatch)
    others = [call.args[1].ty.shape.values for call in adds if isinstance(call.args[1], tvm.ir.GenericConst)]
    assert {len(shape) for shape in others} == {1, 4}


def test_sizes_are_spread_over_their_orders_of_magnitude():
    draw = every_kind._Draw(random.Random(0), 0)
    found = [draw.size(4, 10_000) for _ in range(400)]
    assert min(found) >= 4 and max(found) <= 10_000
    assert all(60 < sum(low <= size < 7 * low for size in found) < 180 for low in (4, 28, 196, 1372))


def test_what_draws_too_much_weight_is_drawn_again(monkeypatch):
    monkeypatch.setattr(every_kind, "MOST_WEIGHTS", 0)
    mod = drawn(8, 1)
    weights = []
    tvm.relax.analysis.post_order_visit(
        mod["main"], lambda node: weights.append(node) if isinstance(node, tvm.ir.GenericConst) else None
    )
    assert not weights and len(mod["main"].ret_ty.fields) == 8


def test_they_are_in_every_networks_training_and_are_no_network_themselves():
    """Of two networks one rule is in one only: every kind has it too, and each network is predicted right."""
    rule = {"net0": "Packed", "net1": "Elementwise"}
    own = [record for record in layers(400, networks=2) if record.rule == rule[record.network]]
    others = [replace(record, network=EVERY_KIND, sample="1") for record in layers(200, seed=1)]
    without, errors = fit(own)[1], fit([*own, *others])[1][: len(own)]
    middle = len(own) // 2
    assert sorted(map(abs, errors))[middle] < 0.1 < sorted(map(abs, without))[middle]
    with pytest.raises(ValueError, match="layers of 1 networks"):
        fit([*(record for record in own if record.network == "net0"), *others])
