"""Scratch beside what the compiled library asks for, and a plan's memory beside the compiled edge half's."""

import random
import re

import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from tvm_split import extract, frontend, lower, pipeline
from tvm_split.costs import Costs
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem
from tvm_split.quantizer import Quantizer
from tvm_split.scratch import storage_bytes, with_scratch, workspace_bytes
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

#: call of a function pointer with device 1, the device's number, bytes, and the code and bits of a dtype
WORKSPACE = re.compile(r"call ptr %\d+\(i32 1, i32 [^,]+, i64 (\d+), i32 \d+, i32 \d+\)")


@pytest.fixture(scope="module")
def target():
    return resolve(load_target("host"))


@pytest.fixture(scope="module")
def efficientnet(target):
    mod = pipeline.layers()(frontend.load("zoo:efficientnet-lite0"))
    return mod, with_scratch(mod, extract.graph(mod), target)


def workspaces(executable):
    """Bytes that each kernel of a compiled module asks its runtime for, kernel by kernel, as LLVM's IR has them.

    A loop that runs in parallel is a function of its own, called `__tvm_parallel_lambda`.
    """
    waiting, found, name = [executable.mod], {}, ""
    while waiting:
        module = waiting.pop()
        waiting += list(module.imports)
        for line in module.inspect_source("ll").splitlines() if module.kind == "llvm" else ():
            if line.startswith("define "):
                name = re.search(r'@"?([\w.]+)', line).group(1).removesuffix("_compute_")
            elif size := WORKSPACE.search(line):
                found.setdefault(name, []).append(int(size.group(1)))
    return {name: sum(sizes) for name, sizes in found.items()}


def as_problem(graph, bits):
    costs = Costs("any", "test", {layer.name: 1e-3 for layer in graph.layers})
    return Problem(graph, costs, costs, Link("link", 1e6, 1e6), cut_bits=(bits,))


def edge_half(mod, graph, candidate):
    quantizers = {
        part.tensor: Quantizer(part.bits, 0.1, 3)
        for part in candidate.crossing
        if graph.tensor[part.tensor].is_float and part.bits < 32 and part.tensor not in graph.inputs
    }
    return pipeline.halves(pipeline.at_cut(candidate.edge_layers, quantizers)(mod))[0]


def held_bytes(graph, candidate, half, target):
    """Weights, inputs and storages of a lowered half: all that its virtual machine holds but workspace."""
    with target:
        lowered = tvm.transform.Sequential(lower.passes(target))(half)
    inputs = sum(graph.tensor[name].size_bytes for name in graph.inputs)
    return sum(graph.layer[name].weight_bytes for name in candidate.edge_layers) + inputs + sum(storage_bytes(lowered))


def random_cut(graph, draw):
    wanted = draw.sample([layer.name for layer in graph.layers], k=2)
    return graph.closure(wanted)


def test_scratch_of_the_first_layers(efficientnet):
    """Only what a schedule cannot keep in registers: the padded input of the first convolution, in float32."""
    _, graph = efficientnet
    scratch = {name: graph.layer[name].scratch_bytes for name in graph.layer}
    assert scratch["stem_conv"] == 4 * 3 * 225 * 225
    assert scratch["block1_expand_conv"] == scratch["block1_depthwise_conv"] == scratch["flatten"] == 0


@pytest.mark.parametrize("bits", [4, 8])
def test_a_plan_beside_the_compiled_edge_half(bits, efficientnet, target):
    """The workspaces in LLVM's IR are the layers' scratch, and the plan's memory is the half's, to the byte."""
    mod, graph = efficientnet
    candidate = evaluate(as_problem(graph, bits), [layer.name for layer in graph.layers[:26]], bits)
    half = edge_half(mod, graph, candidate)
    asked = workspaces(tvm.compile(half, target, relax_pipeline=lower.pipeline(target)))
    cores = int(target.attrs["num-cores"])
    in_all = {name: size * (cores if "parallel" in name else 1) for name, size in asked.items()}
    assert in_all["stem_conv"] == graph.layer["stem_conv"].scratch_bytes == max(in_all.values())
    # equal kernels are one function, so the sizes are compared and not the names
    assert set(in_all.values()) == {graph.layer[name].scratch_bytes for name in candidate.edge_layers} - {0}
    made = held_bytes(graph, candidate, half, target) + max(in_all.values())
    assert candidate.edge_memory_bytes == made


def test_quantise_and_pack_take_what_the_plan_says(efficientnet, target):
    """Two tensors cross at 3 bits."""
    mod, graph = efficientnet
    order = [layer.name for layer in graph.layers]
    length = next(n for n in range(1, len(order)) if len(graph.crossing(order[:n])) == 2)
    candidate = evaluate(as_problem(graph, 3), order[:length], 3)
    asked = workspaces(tvm.compile(edge_half(mod, graph, candidate), target, relax_pipeline=lower.pipeline(target)))
    assert not any(name.endswith("_quantized") for name in asked)
    assert asked["payload"] == candidate.payload_bytes


@pytest.mark.parametrize("name", ["efficientnet-lite0", "plate-detector", "magika"])
def test_storages_of_any_cut_are_those_that_tvm_plans(name, target):
    """Never less than TVM plans but for 2%, since a reshape shares its bytes with what it reads; at most 15% more,
    since what crosses unquantised is not always turned into a storage of its own."""
    mod = pipeline.layers()(frontend.load(f"zoo:{name}"))
    graph, draw = extract.graph(mod), random.Random(5)
    cuts = [random_cut(graph, draw) for _ in range(3)] + [frozenset(), frozenset(graph.layer)]
    for cut in cuts:
        bits = draw.choice((3, 8, 16, 32))
        candidate = evaluate(as_problem(graph, bits), cut, bits)
        half = edge_half(mod, graph, candidate)
        scratch = max(0, candidate.payload_bytes if len(candidate.crossing) > 1 else 0)
        made = held_bytes(graph, candidate, half, target)
        assert 0.98 * made <= candidate.edge_memory_bytes - scratch <= 1.15 * made


@I.ir_module
class Sorting:
    @R.function
    def main(x: R.Tensor((2, 900), "float32")):
        with R.dataflow():
            s = R.sort(x, axis=1)
            y = R.exp(s)
            R.output(y)
        return y


def test_a_layer_of_several_kernels(target):
    mod = FuseActivation()(Sorting)
    graph = extract.graph(mod)
    found = with_scratch(mod, graph, target)
    whole = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
    assert isinstance(whole, relax.VMExecutable)
    assert max(layer.scratch_bytes for layer in found.layers) >= max(workspaces(whole).values(), default=0)
    assert [layer.name for layer in found.layers] == [layer.name for layer in graph.layers]
    assert max(layer.scratch_bytes for layer in graph.layers) == 0, "the graph that was given stays as it is"


def test_a_workspace_in_a_parallel_loop_is_there_once_a_core():
    @I.ir_module
    class Rows:
        @T.prim_func(s_tir=True)
        def rows(x: T.Buffer((8, 1000), "float32"), y: T.Buffer((8, 1000), "float32")):
            for i in T.parallel(8):
                with T.sblock("row"):
                    v = T.axis.spatial(8, i)
                    row = T.sblock_alloc_buffer((1000,), "float32")
                    for j in range(1000):
                        with T.sblock("twice"):
                            k = T.axis.spatial(1000, j)
                            row[k] = x[v, k] * T.float32(2)
                    for j in range(1000):
                        with T.sblock("back"):
                            k = T.axis.spatial(1000, j)
                            y[v, k] = row[999 - k]

    target = tvm.target.Target({"kind": "llvm", "num-cores": 4})
    assert workspace_bytes(Rows, target) == {"rows": 4 * 4000}
