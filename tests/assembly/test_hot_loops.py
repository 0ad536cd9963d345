"""Hot loops of every kernel kind on ARM: vectors of products, no scalar one, nothing kept on the stack."""

import re

import pytest

from tvm_split.assembly.aarch64 import hot
from tvm_split.assembly.layers import LISTED, arm_target, assembly, integer_network, network
from tvm_split.passes.schedule.dot_kinds import dot_of

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


@pytest.mark.parametrize("layer", LISTED, ids=lambda layer: f"{layer.kind}-{layer.name}")
def test_float16_where_the_core_has_it(layer):
    _, counts = hot(assembly(network(layer, "float16"), arm_target("cortex-a76")))
    assert counts.scalar_multiplies == 0
    assert counts.spills == 0
    assert counts.multiply_adds == 8 * counts.fma
    assert counts.share >= LEAST.get(layer.kind, 0.5)


#: instruction of each core's dot product, and the least part of all that it is
DOTS = {"cortex-a72": ("smull", 0.3), "cortex-a76": ("sdot", 0.4), "max": ("usmmla", 0.4)}


#: of one row, each vector of weights is read for one product
ONE_ROW = 0.25


@pytest.mark.parametrize("core", DOTS)
@pytest.mark.parametrize(
    "layer", [each for each in LISTED if each.groups == 1], ids=lambda each: f"{each.kind}-{each.name}"
)
def test_uint8_by_int8(layer, core):
    name, least = DOTS[core]
    loop, counts = hot(assembly(integer_network(layer), arm_target(core)))
    if name == "usmmla" and (layer.stride > 1 or layer.height == 1):  # no two pixels side by side
        name = "usdot"
    made = sum(instruction.name.startswith((name, "sudot")) for instruction in loop.body)
    assert made == counts.vector_multiplies > 0
    assert counts.scalar_multiplies == 0
    assert counts.spills == 0
    assert counts.share >= (least if layer.kind != "dense, 1 row" else ONE_ROW)


@pytest.mark.parametrize("core", DOTS)
@pytest.mark.parametrize(
    "layer", [each for each in LISTED if each.groups > 1], ids=lambda each: f"{each.kind}-{each.name}"
)
def test_depthwise_uint8_by_int8(layer, core):
    """Values of 16 bits, whose widening stands in another loop."""
    loop, counts = hot(assembly(integer_network(layer), arm_target(core)))
    assert counts.widening == counts.vector_multiplies > 0
    assert not any(re.match("[su](shll|xtl)", instruction.name) for instruction in loop.body)
    assert counts.scalar_multiplies == 0
    assert counts.spills == 0
    assert counts.share >= 0.6


@pytest.mark.parametrize(("core", "name"), [("cortex-a72", "smull"), ("cortex-a76", "sdot"), ("max", "usmmla")])
def test_a_core_gets_the_best_that_it_has(core, name):
    assert dot_of(arm_target(core)).name == name
