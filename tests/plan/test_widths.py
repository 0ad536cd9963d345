"""At how many bits a tensor crosses: 32 is no quantisation, so every dtype keeps its own width."""

import numpy as np
import pytest
from tvm import relax

from tvm_split import pipeline
from tvm_split.costs import Costs
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Tensor
from tvm_split.passes.pack_cut import read_layout
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem
from tvm_split.quantizer import Quantizer

NATIVE = {"float16": 16, "float32": 32, "float64": 64}


@pytest.mark.parametrize("dtype", NATIVE)
@pytest.mark.parametrize("bits", [1, 8, 16, 32])
def test_width_of_a_dtype(make_chain, dtype, bits):
    wanted = NATIVE[dtype] if bits == 32 else min(bits, NATIVE[dtype])
    assert make_chain().width(Tensor("made", (3,), dtype), bits) == wanted
    assert make_chain(tensor_bits={"t1": bits}).width(Tensor("t1", (3,), dtype), 8) == wanted


def network(dtype):
    """x -> a -> y; `a` crosses: 5 by 3 elements."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, 5), dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            a = builder.emit(relax.op.permute_dims(x, [0, 2, 1]), name_hint="a")
            y = builder.emit_output(relax.op.nn.softmax(a), name_hint="y")
        builder.emit_func_output(y)
    return pipeline.layers()(builder.get())


@pytest.mark.parametrize("dtype", NATIVE)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_plan_counts_the_bytes_that_are_packed(dtype, bits):
    mod = network(dtype)
    graph = extract_graph(mod)
    costs = Costs("any", "test", {layer.name: 1e-3 for layer in graph.layers})
    candidate = evaluate(Problem(graph, costs, costs, Link("link", 1e6, 1e6)), ["a"], bits)
    narrower = [part for part in candidate.crossing if part.tensor == "a" and part.bits < NATIVE[dtype]]
    quantizers = {part.tensor: Quantizer.of_range(part.bits, -1.0, 1.0) for part in narrower}
    parts = read_layout(pipeline.at_cut(["a"], quantizers)(mod))
    assert [part.bits for part in parts] == [part.bits for part in candidate.crossing]
    assert sum(part.size_bytes for part in parts) == candidate.payload_bytes
    if bits == 32:
        assert not quantizers and candidate.payload_bytes == 15 * np.dtype(dtype).itemsize
