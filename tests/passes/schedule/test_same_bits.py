"""A kernel gives the same bits on every processor: a twin's payload must be the board's, byte for byte."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split.passes.schedule import RULES, schedule

PROCESSORS = {"x86-64-v3": "avx2", "skylake-avx512": "avx512f"}

KERNELS = {
    "softmax": (lambda emit, x: relax.op.nn.softmax(x, axis=-1), [(6, 640)]),
    "mean of a row": (lambda emit, x: relax.op.mean(x, axis=[-1]), [(40, 1152)]),
    "mean of odd rows": (lambda emit, x: relax.op.mean(x, axis=[-1]), [(40, 1155)]),
    "global pool": (lambda emit, x: relax.op.mean(x, axis=[1, 2], keepdims=True), [(1, 7, 7, 96)]),
    "product": (lambda emit, x, y: relax.op.matmul(x, y), [(4, 96), (96, 40)]),
    "product by rows": (lambda emit, x, y: relax.op.matmul(x, relax.op.permute_dims(y)), [(4, 256), (40, 256)]),
    "max pool": (lambda emit, x: relax.op.nn.max_pool2d(x, (3, 3), layout="NHWC"), [(1, 16, 16, 24)]),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_bits_do_not_depend_on_the_vectors(kernel, name):
    here = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
    lacking = [feature for feature in PROCESSORS.values() if not tvm.target.codegen.target_has_features(feature, here)]
    if lacking:
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    body, shapes = KERNELS[name]
    function = kernel(body, *shapes)
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape).astype("float32") for shape in shapes]
    written = [int(extent) for extent in function.params[-1].ty.shape]
    found = []
    for processor in PROCESSORS:
        target = tvm.target.Target({"kind": "llvm", "mcpu": processor, "num-cores": 2})
        made = schedule(name, function, target, RULES).with_attr("global_symbol", "main")
        out = tvm.runtime.empty(written, "float32")
        tvm.compile(tvm.IRModule({"main": made}), target).mod["main"](*map(tvm.runtime.tensor, arrays), out)
        found.append(out.numpy())
    np.testing.assert_array_equal(*found)
