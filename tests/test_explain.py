"""What --explain says of layers: rules from a real lowering, reasons of passes, and what is said to nobody."""

import logging

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import explain, pipeline, workflow
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.layer_kernels import lower_layers
from tvm_split.scratch import with_scratch

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2})


@pytest.fixture
def mod(build) -> tvm.IRModule:
    """A convolution in two groups of three channels, which no packed kernel has, a sum that runs on, a view."""
    weight = relax.const(np.ones((6, 2, 3, 3), "float32"))

    def body(emit, x):
        y = emit(relax.op.nn.conv2d(x, weight, groups=2))
        return relax.op.reshape(emit(relax.op.cumsum(y, axis=1)), (6, 36))

    return pipeline.layers()(build(body, (1, 4, 8, 8)))


def test_each_layer_has_its_rule_or_the_reason_why_not(mod, caplog):
    caplog.set_level("INFO", "tvm_split")
    graph = extract_graph(mod)
    with_scratch(mod, graph, TARGET)
    said = {line.split(" (")[0]: line for line in caplog.messages}
    conv, sums, view = (layer.name for layer in graph.layers)
    assert "stays: its groups have 3 output channels" in said[conv]
    assert said[view] == f"{view} (reshape): no kernel"
    assert sums in said
    assert not any("nothing to do" in line for line in caplog.messages)
    assert len([line for line in caplog.messages if "schedule rule" in line]) == 1


def test_headings_name_the_target_and_nothing_is_said_twice_of_a_twin(mod, caplog, tmp_path):
    caplog.set_level("INFO", "tvm_split")
    conv, _, view = (layer.name for layer in extract_graph(mod).layers)
    request = workflow.Request(mod, edge="host", cloud="host", pins={conv: "edge", view: "cloud"})
    workflow.compile(request, tmp_path / "bundle")
    said = caplog.messages
    heading, edge, cloud = (
        said.index(line)
        for line in (
            "each layer as compiled for the edge, host:",
            "the edge half as compiled for host:",
            "the cloud half as compiled for host:",
        )
    )
    assert said[heading + 1].startswith(f"{conv} (") and heading < edge < cloud
    for half in (said[edge:cloud], said[cloud:]):
        assert any(line.startswith("PackWeights: ") for line in half) and len(half) == len(set(half))


def test_nothing_is_collected_when_nobody_wants_to_know(mod, caplog):
    caplog.set_level("WARNING", "tvm_split")
    lowered = lower_layers(mod, TARGET)
    assert not any(lowered.reasons.values()) and caplog.messages == []


def test_warnings_are_heard_all_the_same(caplog):
    caplog.set_level("INFO", "tvm_split")
    schedule = logging.getLogger("tvm_split.passes.schedule")
    with explain.heard() as reasons:
        schedule.info("Other: nothing to do")
        schedule.info("Other: 'x' stays: why")
        schedule.info("Other: 'x' stays: why")
        schedule.warning("rule Packed failed")
    schedule.info("after")
    assert (reasons, caplog.messages) == (["Other: 'x' stays: why"], ["rule Packed failed", "after"])


def test_lines_list_what_the_default_rule_takes():
    names = ("a", "b", "c", "d")
    layers = tuple(Layer(name, "op", ("x",), (name,)) for name in names)
    graph = Graph("net", tuple(Tensor(name, (1,), "float32") for name in ("x", *names)), layers, ("x",), ("d",))
    rules = {"a": "Packed", "b": "Default", "d": None}
    assert list(explain.lines(graph, rules, {"b": ["one", "two"]})) == [
        "a (op): Packed",
        "b (op): Default, as no other rule knows it; one; two",
        "c (op): no kernel",
        "d (op): no rule",
        "no schedule rule but the default one takes 2 of 4 layers: b, d",
    ]
    assert list(explain.lines(graph, {"a": "Packed"}, {}))[-1] == "a schedule rule takes every layer that has a kernel"
