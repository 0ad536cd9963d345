"""Lowering: one kernel a layer; layers that are no kernel (a sort) survive; weights are not copied."""

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, lower, pipeline
from tvm_split.passes.fuse_activation import FuseActivation

TARGET = tvm.target.Target("llvm")
WEIGHT = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype("float32")


@I.ir_module
class Network:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), "float32")) -> R.Tensor((1, 4, 4, 4), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(WEIGHT))
            r = R.nn.relu(c)
            p = R.nn.max_pool2d(r, pool_size=[3, 3], padding=[1, 1])
            y = R.multiply(p, R.sigmoid(p))
            R.output(y)
        return y


@I.ir_module
class Sorting:
    @R.function
    def main(x: R.Tensor((2, 9), "float32")):
        with R.dataflow():
            a = R.nn.relu(x)
            t = R.topk(a, k=3, axis=1, ret_type="both", largest=True)
            v = t[0]
            s = R.sort(v, axis=1)
            y = R.exp(s)
            out = (y, t[1])
            R.output(out)
        return out


def kernels_of(mod):
    """Primitive functions called from `main` after the passes up to FuseTIR, conversions of layout aside."""
    with TARGET:
        passes = lower.passes(TARGET)
        names = [p.info.name for p in passes]
        fused = tvm.transform.Sequential(passes[: names.index("FuseTIR") + 1])(mod)
    relax.analysis.well_formed(fused)
    values = [binding.value for block in fused["main"].body.blocks for binding in block.bindings]
    return [
        str(v.args[0].name_hint)
        for v in values
        if isinstance(v, relax.Call)
        and v.op == tvm.ir.Op.get("relax.call_tir")
        and not str(v.args[0].name_hint).startswith("transpose")
    ]


def run(mod, x, **options):
    result = relax.VirtualMachine(tvm.compile(mod, TARGET, **options), tvm.cpu())["main"](tvm.runtime.tensor(x))
    return [out.numpy() for out in result] if hasattr(result, "__len__") else [result.numpy()]


def test_one_kernel_a_layer():
    mod = FuseActivation()(Network)
    before = tvm_ffi.structural_hash(mod)
    assert len(kernels_of(mod)) == len(extract.graph(mod).layers) == 3
    assert tvm_ffi.structural_hash(mod) == before


def test_the_same_numbers():
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 6)).astype("float32")
    (ours,) = run(FuseActivation()(Network), x, relax_pipeline=lower.pipeline(TARGET))
    (plain,) = run(Network, x)
    np.testing.assert_allclose(ours, plain, atol=(18 + 4) * 2.0**-23 * np.abs(WEIGHT).sum() * np.abs(x).max())


def test_layers_that_are_no_kernel_survive():
    x = np.random.default_rng(2).standard_normal((2, 9)).astype("float32")
    y, index = run(FuseActivation()(Sorting), x, relax_pipeline=lower.pipeline(TARGET))
    order = np.argsort(-np.maximum(x, 0), axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(index, order)
    top = np.sort(np.take_along_axis(np.maximum(x, 0), order, axis=1), axis=1)
    np.testing.assert_allclose(y, np.exp(top), rtol=1e-6)


def test_the_pipeline_takes_a_network_that_has_no_layers_yet():
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 6)).astype("float32")
    (ours,) = run(Network, x, relax_pipeline=pipeline.cpu(TARGET))
    (layered,) = run(FuseActivation()(Network), x, relax_pipeline=pipeline.cpu(TARGET))
    np.testing.assert_array_equal(ours, layered)
