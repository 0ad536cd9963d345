"""Dot product instructions: what packed integer kernels are made of.

An instruction adds `terms` products to each of its sums. Of pixels p, lanes (output channels) l and terms k it makes

    C[p][l] += sum over k of int32(A[p][k]) * int32(B[l][k])         int32, which wraps around

The instructions of a processor stand in a file of their own (dot_x86.py): for each kind a `Dot` that is registered
with the code of a call, and a function that chooses one by the target's features. dot_kinds.py has them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_split.passes.kernels.conv2d import term


@dataclass(frozen=True, slots=True)
class Dot:
    """A kind of instruction.

    name: of the kind, unique.
    terms: products that a call adds to one sum; packed weights are [...][channels][terms].
    lanes: output channels of a call, each number that is registered.
    pixels: of a call. With more than one, the sums of a call, [pixels][lanes], lie together in memory.
    data: dtype of A. A network's data are uint8: for int16 they are widened while they are copied, for int8 128 is
        subtracted from them.
    weight: dtype of B, int8 or int16; that of the packed weights.
    scratch: vector registers that calls take beside the tile's sums, one pixel and weights.
    single: the kind to take where a call's pixels would not be side by side (strided convolutions).

    What was subtracted from the data, `shift`, the kernel adds back times the sum of the weights.
    """

    name: str
    terms: int
    lanes: tuple[int, ...]
    pixels: int = 1
    data: str = "uint8"
    weight: str = "int8"
    scratch: int = 0
    single: Dot | None = None

    @property
    def shift(self) -> int:
        """What the copy subtracts from each element of the data."""
        return 128 if self.data == "int8" else 0

    def intrin(self, lanes: int) -> str:
        """Name of the registered TensorIntrin. KeyError for lanes that no instruction has."""
        if lanes not in self.lanes:
            raise KeyError(f"dot product '{self.name}' has no form of {lanes} lanes; there are {self.lanes}")
        return f"tvm_split.{self.name}.{lanes}"


#: emits the code of one call: (the kind, lanes, A, B, C)
Body = Callable[[Dot, int, tirx.Buffer, tirx.Buffer, tirx.Buffer], None]


def register(dot: Dot, body: Body) -> Dot:
    """Register a TensorIntrin for each number of lanes of the kind; the kind itself.

    `body(dot, lanes, a, b, c)` is called inside the block of a TVMScript IRBuilder and emits stores to c (see
    dot_x86.py). The buffers are a [terms], b [lanes][terms], c [lanes] or, with more than one pixel, a
    [pixels][terms] in rows of stride a.strides[0] and c [pixels][lanes]; all begin at any multiple of an element.
    """
    for lanes in dot.lanes:
        TensorIntrin.register(
            dot.intrin(lanes), _function(dot, lanes, _description), _function(dot, lanes, body), override=True
        )
    return dot


def _function(dot: Dot, lanes: int, body: Body) -> tirx.PrimFunc:
    rows = (dot.pixels,) if dot.pixels > 1 else ()
    with IRBuilder() as builder, T.prim_func(is_private=True, s_tir=True):
        strides = [T.int32(), 1] if rows else None
        a = T.arg("a", T.buffer((*rows, dot.terms), dot.data, strides=strides, offset_factor=1))
        b = T.arg("b", T.buffer((lanes, dot.terms), dot.weight, offset_factor=1))
        c = T.arg("c", T.buffer((*rows, lanes), "int32", offset_factor=1))
        with T.sblock("root"):
            regions = [buffer[tuple(slice(0, int(extent)) for extent in buffer.shape)] for buffer in (c, a, b)]
            T.reads(*regions)
            T.writes(regions[0])
            body(dot, lanes, a, b, c)
    return builder.get()


def _description(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
    """The loops that a call replaces."""
    rows = [dot.pixels] if dot.pixels > 1 else []
    with T.grid(*rows, lanes, dot.terms) as loops, T.sblock("update"):
        *outer, k = T.axis.remap("S" * (len(rows) + 1) + "R", loops)
        T.reads(c[tuple(outer)], a[(*outer[:-1], k)], b[outer[-1], k])
        T.writes(c[tuple(outer)])
        T.buffer_store(c, c[tuple(outer)] + term(a[(*outer[:-1], k)], b[outer[-1], k]), outer)
