"""Copies between layers and payload, by hand; tests/test_footprint.py compares them with compiled halves."""

from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import Arena
from tvm_split.plan.problem import Crossing
from tvm_split.plan.sending import Copy, copies_of, is_view, payload_of, place

#: a picture of 4 channels, which a half holds channels last, and a row
TENSORS = (Tensor("x", (2,), "float32"), Tensor("a", (1, 4, 5, 5), "float32"), Tensor("b", (1, 10), "float32"))
GRAPH = Graph(
    "two", (*TENSORS, Tensor("y", (1,), "float32")),
    (Layer("a", "op", ("x",), ("a",)), Layer("b", "op", ("a",), ("b",)), Layer("y", "op", ("a", "b"), ("y",))),
    ("x",), ("y",),
)  # fmt: skip


def part(name, bits):
    tensor = GRAPH.tensor[name]
    return Crossing(name, tensor.shape, bits, -(-tensor.elements * bits // 8))


def test_integers_of_all_tensors_come_before_what_is_turned():
    parts = [part("a", 8), part("b", 4)]
    assert copies_of(GRAPH, parts) == (
        Copy("a", "uint8", 100, True), Copy("b", "uint8", 10, True), Copy("a", "uint8", 100, False),
    )  # fmt: skip
    assert copies_of(GRAPH, parts, {"a": 8, "b": 8}) == (
        Copy("b", "uint8", 10, True), Copy("a", "uint8", 100, False),
    )  # fmt: skip
    assert copies_of(GRAPH, [part("a", 32), part("b", 16)]) == (
        Copy("b", "uint16", 20, True), Copy("a", "float32", 400, False),
    )  # fmt: skip
    assert payload_of(GRAPH, parts) == (105, 105), "pack takes its parts twice"


def test_one_tensor_alone_at_8_bits_is_its_own_payload():
    assert copies_of(GRAPH, [part("a", 8)]) == (Copy("a", "uint8", 100, True),), "the turned one is the payload"
    assert copies_of(GRAPH, [part("b", 8)]) == () and payload_of(GRAPH, [part("b", 8)]) == (10, 0)
    assert not is_view(GRAPH, part("b", 8)) and is_view(GRAPH, part("b", 8), {"b": 8})
    assert payload_of(GRAPH, [part("b", 8)], {"b": 8}) == (0, 0), "bytes already"
    assert not is_view(GRAPH, part("a", 8), {"a": 8}) and payload_of(GRAPH, [part("a", 8)], {"a": 8}) == (100, 0)
    assert copies_of(GRAPH, [part("b", 4)]) == (Copy("b", "uint8", 10, True),)
    assert copies_of(GRAPH, [part("x", 8)]) == () and payload_of(GRAPH, [part("x", 8)]) == (2, 0)


def test_a_copy_frees_what_it_was_made_of():
    """uint8 storages of 100 (a) and 10 (b): b's integers need a third, which is as large; then a is turned."""
    arena = Arena()
    used = {name: ("uint8", arena.take("uint8", size)) for name, size in (("a", 100), ("b", 10))}
    place(arena, used, copies_of(GRAPH, [part("a", 8), part("b", 4)], {"a": 8, "b": 8}))
    assert arena.size_bytes == 100 + 100 + 10, "a's copy grows the storage that b left"
    assert used == {"a": ("uint8", 100), "b": ("uint8", 10)}, "the caller's stays"
