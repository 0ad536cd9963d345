"""Hot loops of every kernel kind on ARM: vectors of products, no scalar one, nothing kept on the stack."""

import pytest

from tvm_split.assembly.aarch64 import hot
from tvm_split.assembly.layers import LISTED, arm_target, assembly, network

#: least part of the instructions that multiplies vectors; a depthwise window reads each value for few products, and its
#: loop holds the code of the border
LEAST = {"depthwise 3x3": 0.25, "depthwise 5x5": 0.35, "dense, 1 row": 0.4}


@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a76"])
@pytest.mark.parametrize("layer", LISTED, ids=lambda layer: f"{layer.kind}-{layer.name}")
def test_float32(layer, core):
    _, counts = hot(assembly(network(layer), arm_target(core)))
    assert counts.scalar_multiplies == 0
    assert counts.spills == 0
    assert counts.fma == counts.vector_multiplies
    assert counts.share >= LEAST.get(layer.kind, 0.55)
