"""Layers run one by one compute the bits that compiled halves compute."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import frontend, lower, pipeline, zoo
from tvm_split.errors import BuildError, GraphError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.passes.partition import side_outputs
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.random_samples import random_batches
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

W = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)


@I.ir_module
class Mixed:
    """Kernels, a view, a tuple read in parts and swapped, one tensor read twice by one layer, a sort."""

    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tuple(R.Tensor((1, 6), "float32"), R.Tensor((1, 3), "float32")):
        with R.dataflow():
            flat = R.reshape(x, (1, 6))
            h = R.matmul(flat, R.const(W))
            square = R.matmul(h, R.const(W))
            twice = R.concat([square, square], axis=1)
            parts = R.split(twice, [3], axis=1)
            left = parts[0]
            right = parts[1]
            joined = R.concat([right, left], axis=1)
            ordered = R.sort(joined)
            y = R.strided_slice(ordered, [1], [0], [6])
            R.output(y, left)
        return (y, left)


def compiled(mod, arrays):
    """The outputs of `main`, compiled as one module."""
    target = resolve(load_target("host"))
    vm = relax.VirtualMachine(tvm.compile(mod, target, relax_pipeline=lower.pipeline(target)), tvm.cpu())
    return [part.numpy() for part in vm["main"](*[tvm.runtime.tensor(array) for array in arrays])]


@pytest.fixture(scope="module")
def mixed():
    return FuseActivation()(Mixed)


@pytest.fixture(scope="module")
def runner(mixed):
    return LayerRunner(mixed)


X = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)


def test_any_tensor_is_what_compiled_halves_give(mixed, runner):
    layers = [layer.name for layer in runner.graph.layers]
    for count in range(len(layers) + 1):
        marked = AssignCut(layers[:count])(mixed)
        crossing, at_edge, at_cloud = side_outputs(marked)
        edge, cloud = pipeline.halves(marked)
        names = tuple(dict.fromkeys((*crossing, *at_edge)))
        made = dict(zip(names, compiled(edge, [X]), strict=True)) if names else {}
        for name, array in runner.run({"x": X}, names).items():
            np.testing.assert_array_equal(array, made[name])
        sent = {name: made[name] for name in crossing}
        if at_cloud:
            want = compiled(cloud, [sent[name] for name in crossing])
            for name, array in zip(at_cloud, want, strict=True):
                np.testing.assert_array_equal(runner.run(sent, at_cloud)[name], array)


def test_known_tensors_are_taken_as_they_are(runner):
    whole = runner.run({"x": X}, ["h", "square", "y"])
    changed = runner.run({"x": X, "h": 2 * whole["h"]}, ["square", "h"])
    np.testing.assert_array_equal(changed["h"], 2 * whole["h"])
    np.testing.assert_array_equal(changed["square"], 2 * whole["square"])  # doubling is exact
    assert list(runner.run({"square": whole["square"]}, ["y"])) == ["y"]  # the input is not needed


def test_a_real_network_whole():
    mod = pipeline.layers()(frontend.load("zoo:magika"))
    runner = LayerRunner(mod)
    tensor = runner.graph.tensor[runner.graph.inputs[0]]
    x = np.random.default_rng(0).integers(0, 256, tensor.shape).astype(tensor.dtype)
    found = runner.run({tensor.name: x}, runner.graph.outputs)
    names = [layer.name for layer in runner.graph.layers]
    (want,) = compiled(pipeline.halves(AssignCut(names)(mod))[0], [x])
    np.testing.assert_array_equal(found[runner.graph.outputs[0]], want)


def test_layers_run_on_every_core():
    code = (
        "import os, tvm\n"
        "from tvm import relax\n"
        "from tvm_split.layer_runner import LayerRunner\n"
        "from tvm_split.passes.fuse_activation import FuseActivation\n"
        "builder, x = relax.BlockBuilder(), relax.Var('x', relax.TensorType((2,), 'float32'))\n"
        "with builder.function('main', [x]):\n"
        "    with builder.dataflow():\n"
        "        out = builder.emit_output(relax.op.nn.relu(x))\n"
        "    builder.emit_func_output(out)\n"
        "cores = len(os.sched_getaffinity(0))\n"
        "LayerRunner(FuseActivation()(builder.get()))\n"
        "assert tvm.get_global_func('runtime.NumThreads')() == cores, cores\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TVM_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_bad_questions(runner):
    with pytest.raises(GraphError, match="has no tensor 'z'"):
        runner.run({"x": X}, ["z"])
    with pytest.raises(GraphError, match="has no tensor 'z'"):
        runner.run({"x": X, "z": X}, ["y"])
    with pytest.raises(GraphError, match="input 'x' is not among the known tensors"):
        runner.run({"square": np.zeros((1, 6), np.float32)}, ["h"])


def test_a_module_that_cannot_be_compiled():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.call_dps_packed("no.such.function", [x], x.ty))
        builder.emit_func_output(out)
    mod = FuseActivation()(builder.get())
    with pytest.raises(BuildError, match=r"cannot be compiled for .*llvm.*no\.such\.function"):
        LayerRunner(mod)
    with pytest.raises(BuildError, match="the target is 'opencl', but samples run on this machine's CPU"):
        LayerRunner(mod, tvm.target.Target("opencl"))


def other_weights(mod, names):
    arrays = {name: each.array * np.float32(0.5) for name, each in layer_weights(mod).items() if name in names}
    return RoundWeights({name: Rounded(array) for name, array in arrays.items()})(mod)


@pytest.mark.parametrize("name", ["magika", "plate-detector"])
def test_layers_with_other_weights_are_not_compiled_again(name, monkeypatch):
    mod = pipeline.layers()(frontend.load(zoo.fetch(name)))
    runner = LayerRunner(mod)
    names = list(layer_weights(mod))[:: max(1, len(layer_weights(mod)) // 3)]
    changed = other_weights(mod, names)
    whole = LayerRunner(changed)
    monkeypatch.setattr(tvm, "compile", lambda *_, **__: pytest.fail("nothing is to be compiled"))
    (sample,) = random_batches(runner.graph, 1, seed=0)
    outputs = runner.graph.outputs
    before = runner.run(sample, outputs)
    got = runner.with_layers(changed, names).run(sample, outputs)
    want = whole.run(sample, outputs)
    again = runner.run(sample, outputs)
    for output in outputs:
        assert (got[output] == want[output]).all()
        assert (before[output] == again[output]).all()
        assert (got[output] != before[output]).any()


def test_layers_that_are_no_kernels_are_compiled():
    mod = FuseActivation()(Mixed)
    runner = LayerRunner(mod)
    sample = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    names = [layer.name for layer in runner.graph.layers]
    changed = runner.with_layers(mod, names)
    for output, array in runner.run(sample, runner.graph.outputs).items():
        assert (changed.run(sample, [output])[output] == array).all()
