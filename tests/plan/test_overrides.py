"""Bits by name: what globs meet, globs that disagree or meet nothing, widths that an edge or its target lacks."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.overrides import check_widths, chosen_bits, fixed_bits

TENSORS = tuple(
    Tensor(name, (4,), "float32") for name in ("x", "stem", "block_1", "block_2", "pair.0", "pair.1", "head")
)
LAYERS = (
    Layer("stem", "conv2d", ("x",), ("stem",)),
    Layer("block_1", "conv2d", ("stem",), ("block_1",)),
    Layer("block_2", "conv2d", ("block_1",), ("block_2",)),
    Layer("pair", "split", ("block_2",), ("pair.0", "pair.1")),
    Layer("head", "dense", ("pair.1",), ("head",)),
)
GRAPH = Graph("net", TENSORS, LAYERS, ("x",), ("head", "pair.0"))
NAMES = {tensor.name for tensor in TENSORS} | {layer.name for layer in LAYERS}


def test_what_globs_meet() -> None:
    assert chosen_bits(GRAPH, {"stem*": 8, "head*": 16}) == {"stem": 8, "head": 16}
    assert chosen_bits(GRAPH, {"pair": 8}) == {"pair": 8}, "a layer with two tensors"
    assert chosen_bits(GRAPH, {"pair*": 4}) == {"pair": 4, "pair.0": 4, "pair.1": 4}
    assert chosen_bits(GRAPH, {}) == {}


@given(
    st.dictionaries(st.sampled_from(["*", "stem", "b*", "block_?", "pair.1", "[hs]*", "x"]), st.sampled_from([4, 8]))
)
def test_each_name_has_the_width_of_every_glob_that_meets_it_or_they_disagree(patterns: dict[str, int]) -> None:
    met = {name: {bits for glob, bits in patterns.items() if fnmatchcase(name, glob)} for name in NAMES}
    if any(len(widths) > 1 for widths in met.values()):
        with pytest.raises(PlanError, match=r"is given \d bits by '.*' and \d by '.*' \(--bits"):
            chosen_bits(GRAPH, patterns)
    else:
        assert chosen_bits(GRAPH, patterns) == {name: widths.pop() for name, widths in met.items() if widths}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"block_*": 4, "*_2": 8},
            "'block_2' is given 4 bits by 'block_*' and 8 by '*_2' (--bits, tensor_bits); change",
        ),
        (
            {"stem": 8, "blok_1": 8},
            "'blok_1' in --bits (tensor_bits) matches no layer and no tensor; did you mean block_1",
        ),
    ],
)
def test_bad_globs(patterns: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        chosen_bits(GRAPH, patterns)


def test_only_what_can_be_quantised_on_the_edge_is_fixed_there() -> None:
    assert fixed_bits(GRAPH, {"*": 8}, {"stem", "block_1", "x"}) == {"x": 8, "stem": 8, "block_1": 8}


@pytest.mark.parametrize(
    ("edge", "patterns", "has", "message"),
    [
        (
            (8, 5),
            {},
            None,
            "--edge-bits 5: weights and tensors on the edge cannot have 5 bits; the widths are 4, 8, 32",
        ),
        ((8,), {"stem*": 16}, None, "--bits 'stem*=16': weights and tensors on the edge cannot have 16 bits"),
        ((4,), {}, (8, 32), "--edge-bits 4: target 'attic' has no 4-bit layers; its file says that it has 8, 32 bits"),
        ((8,), {"b*": 4}, (8, 32), "--bits 'b*=4': target 'attic' has no 4-bit layers"),
        ((32,), {}, (8,), "--edge-bits 32: target 'attic' has no 32-bit layers"),
    ],
)
def test_widths_that_are_not_there(edge: tuple[int, ...], patterns: dict[str, int], has: object, message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        check_widths(edge, patterns, (4, 8, 32), "attic", has)


def test_widths_that_are_there() -> None:
    check_widths((4, 8), {"head": 32}, (4, 8, 32), "attic", None)
    check_widths((8,), {"head": 32}, (4, 8, 32), "attic", (8, 32))
