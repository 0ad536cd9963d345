"""Quantised layers make the same codes on emulated ARM cores as on the twin's x86-64-v3, where rounding decides them.

The scales make half of the values lie in the middle of two codes but for what float32 rounds off, so that a product
that one compiler rounds and another fuses into an addition would show.
"""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import lower, pipeline
from tvm_split.assembly.layers import arm_target, program

CORES = ("cortex-a72", "cortex-a76", "max")
SHAPE = (1, 24, 9, 11)
TWIN = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2})


def const(value, dtype):
    return relax.const(np.asarray(value, dtype))


class Codes:
    """Emits what is between codes of `SHAPE`; scales and zero points as a quantiser writes them."""

    def __init__(self, emit):
        self.emit = emit

    def real(self, codes, scale, zero):
        return self.emit(relax.op.dequantize(codes, const(scale, "float32"), const(zero, "uint8"), 0))

    def codes(self, x, scale, zero):
        return self.emit(relax.op.quantize(x, const(scale, "float32"), const(zero, "uint8"), 0, "uint8"))

    def conv(self, x, window, groups=1):
        random = np.random.default_rng(window)
        inner = SHAPE[1] // groups
        weight = const(random.integers(-3, 4, (SHAPE[1], inner, window, window)), "int8")
        real = self.emit(relax.op.dequantize(weight, const(0.1, "float32"), const(0, "int8"), 0))
        return self.emit(relax.op.nn.conv2d(x, real, padding=window // 2, groups=groups))


LAYERS = {
    "add": lambda q, x, y: q.codes(q.emit(relax.op.add(q.real(x, 0.1, 3), q.real(y, 0.3, 100))), 0.2, 5),
    "multiply": lambda q, x, y: q.codes(q.emit(relax.op.multiply(q.real(x, 0.1, 3), q.real(y, 0.3, 9))), 0.06, 5),
    "1x1 and residual": lambda q, x, y: q.codes(
        q.emit(relax.op.add(q.conv(q.real(x, 0.1, 128), 1), q.real(y, 0.3, 100))), 0.2, 7
    ),
    "3x3 and residual": lambda q, x, y: q.codes(
        q.emit(relax.op.add(q.conv(q.real(x, 0.1, 128), 3), q.real(y, 0.3, 100))), 0.2, 7
    ),
    "depthwise and residual": lambda q, x, y: q.codes(
        q.emit(relax.op.add(q.conv(q.real(x, 0.1, 128), 3, SHAPE[1]), q.real(y, 0.3, 100))), 0.2, 7
    ),
}  # fmt: skip


def network(body):
    builder = relax.BlockBuilder()
    x, y = (relax.Var(name, relax.TensorType(SHAPE, "uint8")) for name in "xy")
    with builder.function("main", [x, y]):
        with builder.dataflow():
            out = builder.emit_output(body(Codes(builder.emit), x, y))
        builder.emit_func_output(out)
    return builder.get()


@pytest.mark.parametrize("core", CORES)
def test_codes_are_the_twins(guest, core, tmp_path):
    target = arm_target(core)
    networks = {name: network(body) for name, body in LAYERS.items()}
    built = guest.Guest.build({name: program(mod, target) for name, mod in networks.items()}, target, tmp_path)
    random = np.random.default_rng(0)
    data = [random.integers(0, 256, SHAPE, "uint8") for _ in range(2)]
    found = built.run(core, dict.fromkeys(networks, data))
    for name, mod in networks.items():
        executable = tvm.compile(pipeline.layers()(mod), TWIN, relax_pipeline=lower.pipeline(TWIN))
        twin = relax.VirtualMachine(executable, tvm.cpu())["main"](*map(tvm.runtime.tensor, data)).numpy()
        assert len(np.unique(twin)) > 16, f"{name}: too few codes to tell anything"
        np.testing.assert_array_equal(found[name][0], twin, err_msg=name)
