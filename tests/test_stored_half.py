"""A compiled half holds its weights packed: bytes of the shared library beside the plan's, the same bits as at 8."""

from math import prod

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import extract, lower, pipeline
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.statistics import Statistics
from tvm_split.compile_half import compile_half, device
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import is_constant
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.passes.share_kernels import ShareKernels
from tvm_split.targets import load_target

SHAPE = (1, 3, 16, 16)
#: constants of fewer bytes are not looked for in a library: they may be there by chance
LEAST = 64
#: of an aarch64 library
PAGE = 65536


@pytest.fixture(scope="module")
def network(build):
    """A stem, a depthwise convolution, two 3x3 and a classifier: 215,000 weights, most of them in the last two."""
    random = np.random.default_rng(0)

    def body(emit, x):
        def conv(data, name, inner, outer, groups=1, strides=1):
            weight = random.normal(size=(outer, inner // groups, 3, 3), scale=0.1).astype("float32")
            how = {"padding": 1, "groups": groups, "strides": strides}
            made = emit(relax.op.nn.conv2d(data, relax.const(weight), **how), name)
            return emit(relax.op.nn.relu(made), f"{name}_relu")

        made = conv(conv(x, "stem", 3, 16, strides=2), "depthwise", 16, 16, groups=16)
        made = conv(conv(made, "wide", 16, 64), "deep", 64, 128, strides=2)
        flat = emit(relax.op.reshape(made, (1, 2048)), "flat")
        weight = relax.const(random.normal(size=(2048, 64), scale=0.05).astype("float32"))
        return emit(relax.op.matmul(flat, weight), "scores")

    return FuseActivation()(build(body, SHAPE))


def at(network, bits):
    """The network with weights of so many bits, its plan's bytes for them, its layers' names."""
    graph = extract.graph(network)
    statistics = {t.name: Statistics.of(np.array([-3.0, 3.0], "float32")) for t in graph.tensors if t.is_float}
    precision = Calibrated.of(network, graph, statistics).precision((bits, 8) if bits < 8 else (8,), (8,), None, {})
    named = [layer.name for layer in graph.layers if layer.name in precision.weight_distortion]
    held = {t.name: Quantizer(8, 0.05, 128) for t in graph.tensors if t.name not in graph.outputs}
    planned = sum(precision.weight_bytes(graph.layer[name], bits) for name in named)
    made = tvm.transform.Sequential([AnnotatePrecision(dict.fromkeys(named, bits), held), pipeline.quantized()])(
        network
    )
    return made, planned, named


def constants(mod, target):
    """The arrays that the half's virtual machine keeps."""
    passes = lower.passes(target)
    last = next(i for i, each in enumerate(passes) if isinstance(each, type(ShareKernels())))
    with target:
        lowered = tvm.transform.Sequential(passes[: last + 1])(mod)
    found = []
    relax.analysis.post_order_visit(
        lowered["main"], lambda expr: found.append(expr.value.numpy()) if is_constant(expr) else None
    )
    return found


@pytest.mark.parametrize("name", ["host", "raspberry-pi-4", "raspberry-pi-5"])
def test_a_library_holds_what_the_plan_says(network, name, tmp_path):
    sizes, totals = {}, {}
    for bits in (2, 3, 4, 6, 8):
        mod, planned, named = at(network, bits)
        assert len(named) == 5
        spec, path = load_target(name), tmp_path / f"{bits}.so"
        found = constants(mod, device(spec).target)
        totals[bits] = sum(array.nbytes for array in found)
        assert totals[bits] == pytest.approx(planned, rel=0.05)
        compile_half(mod, spec, path)
        library = path.read_bytes()
        sizes[bits] = len(library)
        assert all(np.ascontiguousarray(array).tobytes() in library for array in found if array.nbytes >= LEAST)
    for bits in (2, 3, 4, 6):
        # code is a little longer where it decodes, and the linker fills up to pages
        saved = totals[8] - totals[bits]
        assert sizes[8] - sizes[bits] == pytest.approx(saved, abs=0.15 * saved + PAGE)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_the_same_codes_of_8_bits_make_the_same_results(network, bits, monkeypatch):
    """Packed or not, on x86 with and without dot products of bytes: bit for bit."""
    mod, *_ = at(network, bits)
    x = np.random.default_rng(bits).normal(size=SHAPE).astype("float32")
    results = []
    for packs in (True, False):
        if not packs:
            for place in ("stored", "depthwise_int8"):
                monkeypatch.setattr(f"tvm_split.passes.kernels.{place}.width_of", lambda _codes: 8)
        for mcpu in ("x86-64-v3", tvm.target.codegen.llvm_get_system_cpu()):
            target = tvm.target.Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2})
            executable = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
            found = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
            results.append(found.numpy())
    assert np.isfinite(results[0]).all() and prod(results[0].shape) == 64 and results[0].std() > 0
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
