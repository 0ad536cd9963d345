"""Dot products of ARM: usmmla or usdot on bytes of either sign, sdot on signed bytes, else smull and sadalp.

    i8mm      usmmla   two pixels x two channels, eight terms of each      uint8 x int8
    i8mm      usdot    four channels, four terms of each                   uint8 x int8
    dotprod   sdot     four channels, four terms of each                   int8 x int8, so 128 is taken off the data
    neon      smull    four channels, two terms of each, as eight products of 16 bits; sadalp adds the neighbours
                       to sums of 32 bits. One product always fits: -128 * -128 = 16384. Two need not: that is why
                       no smlal stands between.

All are exact for every byte. The data are the operand that is repeated: LLVM makes of a value that all lanes share an
operand by element, which needs no instruction of its own. `scratch` is as small as it can be with nothing on the stack
in the hot loops of docs/arm.md.
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.script.ir_builder import tirx as T
from tvm.target import codegen

from tvm_split.passes.schedule.dot import Body, Dot, register

#: channels of a register of int32 sums
LANES = 4


def _repeated(dot: Dot, lanes: int, a: tirx.Buffer) -> tirx.Expr:
    """The terms of one pixel, once for each lane."""
    word = f"int{dot.terms * 8}"
    terms = T.reinterpret(word, a.vload([0], f"{dot.data}x{dot.terms}"))
    return T.reinterpret(f"int8x{lanes * dot.terms}", T.broadcast(terms, lanes))


def _by_element(name: str, data_first: bool) -> Body:
    def body(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
        total = f"int32x{lanes}"
        weights = b.vload([0, 0], f"int8x{lanes * dot.terms}")
        factors = (_repeated(dot, lanes, a), weights) if data_first else (weights, _repeated(dot, lanes, a))
        sums = c.vload([0], total)
        T.buffer_store(c, T.call_llvm_pure_intrin(total, name, sums, *factors), [T.ramp(0, 1, lanes)])

    return body


def _pairs(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
    count = lanes * dot.terms
    weights = b.vload([0, 0], f"int8x{count}")
    products = T.call_llvm_pure_intrin(
        f"int16x{count}", "llvm.aarch64.neon.smull.v8i16", weights, _repeated(dot, lanes, a)
    )
    neighbours = T.call_llvm_pure_intrin(f"int32x{lanes}", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)
    T.buffer_store(c, c.vload([0], f"int32x{lanes}") + neighbours, [T.ramp(0, 1, lanes)])


def _by_matrix(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
    """Two rows of eight terms by two rows of eight: two by two sums in one register."""
    total = f"int32x{dot.pixels * lanes}"
    rows = [T.reinterpret("int64", a.vload([p, 0], f"{dot.data}x{dot.terms}")) for p in range(dot.pixels)]
    data = T.reinterpret(f"int8x{dot.pixels * dot.terms}", tirx.Shuffle(rows, list(range(dot.pixels))))
    weights, sums = b.vload([0, 0], f"int8x{lanes * dot.terms}"), c.vload([0, 0], total)
    added = T.call_llvm_pure_intrin(total, "llvm.aarch64.neon.usmmla.v4i32.v16i8", sums, data, weights)
    T.buffer_store(c, added, [0, T.ramp(0, 1, dot.pixels * lanes)])


USDOT = register(
    Dot("usdot", terms=4, lanes=(LANES,), scratch=4),
    _by_element("llvm.aarch64.neon.usdot.v4i32.v16i8", data_first=True),
)
USMMLA = register(Dot("usmmla", terms=8, lanes=(2,), pixels=2, scratch=6, single=USDOT), _by_matrix)
SDOT = register(
    Dot("sdot", terms=4, lanes=(LANES,), data="int8", scratch=4),
    _by_element("llvm.aarch64.neon.sdot.v4i32.v16i8", data_first=False),
)
SMULL = register(Dot("smull", terms=2, lanes=(LANES,), data="int8", scratch=6), _pairs)

#: what a target must have for each, the fastest first
NEEDS = {USMMLA: ("i8mm", "neon"), USDOT: ("i8mm", "neon"), SDOT: ("dotprod", "neon"), SMULL: ("neon",)}


def choose(target: tvm.target.Target) -> Dot | None:
    """The fastest of them that the target has; none on 32-bit ARM, whose instructions LLVM calls otherwise."""
    if not target.features.is_aarch64:
        return None
    return next((dot for dot, needs in NEEDS.items() if codegen.target_has_features(needs, target)), None)
