"""What compiled edge halves take, as read back, beside what the plan counted: weights, and all in all."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import extract, frontend, lower, pipeline
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.costs import Costs
from tvm_split.edge_half import with_precision
from tvm_split.edge_kernels import edge_integers
from tvm_split.footprint import footprint
from tvm_split.layer_runner import LayerRunner
from tvm_split.plan.evaluate import input_bytes
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.problem import Link, Problem
from tvm_split.random_samples import random_batches
from tvm_split.scratch import with_scratch
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

#: share by which plan and compiled half may differ
CLOSE = 0.05


@pytest.fixture(scope="module", params=["host", "raspberry-pi-4"])
def planned(request):
    """The plate detector for a target: its module, the problem with a precision, what calibrates it, and the target."""
    return planned_for(pipeline.layers()(frontend.load("zoo:plate-detector")), request.param)


def planned_for(mod, name):
    target = resolve(load_target(name))
    graph = with_scratch(mod, extract.graph(mod), target)
    runner = LayerRunner(mod)
    calibrated = Calibrated.of(mod, graph, gather(runner, calibratable(graph), random_batches(graph, 1, 0)))
    costs = Costs("any", "test", {layer.name: 1e-3 for layer in graph.layers})
    precision = calibrated.precision((2, 4, 8, 16, 32), (8,), costs, {})
    every = edge_integers(mod, graph, load_target(name), calibrated, precision.widths)
    precision = replace(precision, integer_layers=every)
    problem = Problem(graph, costs, costs, Link("link", 1e6, 1e6), cut_bits=(8,), precision=precision)
    return mod, problem, calibrated, target


def compiled(planned, cut, bits, held, sent):
    """What the half takes as compiled, and the candidate that was planned."""
    mod, problem, calibrated, target = planned
    tensors = [tensor.name for tensor in problem.graph.tensors]
    wanted = Bits(dict.fromkeys(cut, bits), dict.fromkeys(tensors, held), dict.fromkeys(tensors, sent))
    candidate = evaluate_mixed(problem, cut, wanted)
    choices = calibrated.held(candidate, "min-max")
    crossing = calibrated.sent(candidate, choices, "min-max")
    marked = pipeline.at_cut(cut, {name: each.quantizer for name, each in crossing.items()})(mod)
    quantizers = {name: each.quantizer for name, each in choices.items()}
    half = with_precision(pipeline.halves(marked)[0], candidate, quantizers)
    with target:
        return footprint(tvm.transform.Sequential(lower.passes(target))(half), target), candidate


@pytest.mark.parametrize(("bits", "held"), [(8, 8), (4, 8), (2, 8), (4, 32), (16, 16), (32, 32)])
@pytest.mark.parametrize(("share", "sent"), [(0.3, 8), (0.3, 4), (0.6, 8), (1.0, 8)])
def test_a_plan_is_what_the_compiled_half_takes(planned, bits, held, share, sent):
    """At 0.3 of the layers three tensors cross, whose copies share storages."""
    problem, graph = planned[1], planned[1].graph
    cut = [layer.name for layer in graph.layers[: int(share * len(graph.layers))]]
    made, candidate = compiled(planned, cut, bits, held, sent)
    weights = [
        problem.precision.weight_bytes(graph.layer[n], candidate.weight_bits.get(n, 32), on_integers=held == 8)
        for n in cut
    ]
    assert made.weights_bytes == pytest.approx(sum(weights), rel=CLOSE)
    # by Winograd on floats and not on 16 bits: plans count the float kernel's workspace, whichever is more
    planned_scratch = max(graph.layer[name].scratch_bytes for name in cut)
    other = planned_scratch - made.scratch_bytes if bits == 16 else 0
    assert made.total_bytes + other + input_bytes(graph) == pytest.approx(candidate.edge_memory_bytes, rel=CLOSE)


def test_efficientnet_lite0_at_four_bits_with_residuals_that_cross():
    planned = planned_for(pipeline.layers()(frontend.load("zoo:efficientnet-lite0")), "raspberry-pi-4")
    layers = planned[1].graph.layers
    made, candidate = compiled(planned, [layer.name for layer in layers[: len(layers) // 2]], 4, 8, 4)
    assert made.total_bytes + input_bytes(planned[1].graph) == pytest.approx(candidate.edge_memory_bytes, rel=0.01)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_picture_as_result_and_layers_that_stay_float(build, bits):
    """The result is turned into its layout from one more storage; a transposed convolution keeps its own weights."""
    random = np.random.default_rng(0)

    def const(*shape):
        return relax.const(random.normal(size=shape).astype("float32"))

    def body(emit, x):
        a = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, const(16, 3, 3, 3), strides=2, padding=1), "a")), "ar")
        b = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(a, const(16, 1, 3, 3), groups=16, padding=1), "b")), "br")
        c = emit(relax.op.nn.conv2d_transpose(b, const(16, 8, 3, 3), strides=2, padding=1, output_padding=1), "c")
        return emit(relax.op.nn.conv2d(emit(relax.op.nn.relu(c), "cr"), const(10, 8, 1, 1)), "d")

    planned = planned_for(pipeline.layers()(build(body, (1, 3, 32, 32))), "raspberry-pi-4")
    graph = planned[1].graph
    made, candidate = compiled(planned, [layer.name for layer in graph.layers], bits, 8, 8)
    assert made.total_bytes + input_bytes(graph) == pytest.approx(candidate.edge_memory_bytes, rel=0.02)
