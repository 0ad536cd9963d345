"""Functions of one tensor of 8-bit integers that give 8-bit integers: a table of all 256 results.

    Given:   for i: out[i] = astype(clip(round(cos((x[i] - zx) * sx) / sy) + zy, 0, 255), "uint8")
    Result:  for k in 256: table[k] = the same of k;   for i in parallel: out[i] = table[x[i]]

It is the same expression on the same numbers, so the same bits. Arithmetic alone is faster as vectors: a table is made
where the expression has a call that is none of the processor's instructions (sigmoid of 451584 elements on a Zen 4
took 0.55 of the time with AVX-512, 0.22 with AVX2). What tabulate_codes.py made a table of takes that one: here one
is made of the functions that it does not know (log, power, sin, cos, tan, atan, sinh, cosh, asinh), in layers of their
own.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import s_tir, te, tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, Block, extent_of, inline_spatial, variables_of
from tvm_split.passes.schedule.table import REGISTER, code_of, permutes

ENTRIES = 256
#: fewer elements are not worth a table
LEAST = 4 * ENTRIES
#: calls that are an instruction or two
CHEAP = {
    *("prim.if_then_else", "tirx.round", "tirx.nearbyint", "tirx.floor", "tirx.ceil", "tirx.trunc", "tirx.fabs"),
    *("tirx.sqrt", "tirx.shift_left", "tirx.shift_right", "tirx.bitwise_and", "tirx.bitwise_or", "tirx.bitwise_xor"),
}
#: elements that one core takes at a time
CHUNK = 4096
#: codes that are worth a vector
VECTOR = 16
#: the number of entry 0
LEAST_VALUE = {"uint8": 0, "int8": -128}
TABLE, LOOKED_UP = "table", "looked_up"


class Lookup(ScheduleRule):
    """Functions of (8-bit tensor, 8-bit result) and one spatial block that is no arithmetic alone."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = inline_spatial(sch)
        if blocks is None or len(blocks) != 1 or not blocks[0].is_spatial or blocks[0].steps < LEAST:
            return None
        made = _tabulated(sch, blocks[0]) or _with_table(sch, blocks[0])
        if made is None:
            return None
        sch = s_tir.Schedule(made.with_attrs(dict(func.attrs or {})))
        loops = sch.get_loops(sch.get_sblock(LOOKED_UP))
        whole = sch.fuse(*loops) if len(loops) > 1 else loops[0]
        chunk = math.gcd(extent_of(sch, whole), CHUNK)
        if blocks[0].steps >= PARALLEL_STEPS and chunk >= ENTRIES:
            task, whole = sch.split(whole, [None, chunk])
            sch.parallel(task)
        if permutes(target) and chunk >= VECTOR:
            sch.vectorize(sch.split(whole, [None, min(chunk & -chunk, REGISTER)])[1])
        return sch


def _is_unary(block: Block) -> bool:
    """Whether each element of the result is made of the element of one tensor in the same place."""
    *read, written = block.strides
    return bool(read) and all(walk == written for walk in read)


def _are_params(sch: s_tir.Schedule, buffers: list[tirx.Buffer]) -> bool:
    """Whether these are the function's parameters, in order."""
    params = list(sch.mod["main"].params)
    return len(params) == len(buffers) and all(a.same_as(b) for a, b in zip(params, buffers, strict=True))


def _tabulated(sch: s_tir.Schedule, block: Block) -> tirx.PrimFunc | None:
    """The function of a tensor and its table anew; None of any other."""
    body = sch.get(block.rv).body
    code = code_of(body.value) if isinstance(body.value, TensorLoad) else None
    if not isinstance(code, TensorLoad) or [str(i) for i in code.indices] != [str(i) for i in body.indices]:
        return None
    data, result = ([int(extent) for extent in buffer.shape] for buffer in (code.source, body.buffer))
    if data != result or not _are_params(sch, [code.source, body.value.source, body.buffer]):
        return None
    x = te.placeholder(code.source.shape, "uint8", "x")
    table = te.placeholder(body.value.source.shape, body.value.source.dtype, "table")
    out = te.compute(x.shape, lambda *i: table[x[i].astype("int32")], LOOKED_UP)
    return te.create_prim_func([x, table, out])


def _with_table(sch: s_tir.Schedule, block: Block) -> tirx.PrimFunc | None:
    """The function anew; None when a table would not pay, or cannot hold it."""
    body = sch.get(block.rv).body
    loads: list[TensorLoad] = []
    calls: set[str] = set()
    used: set[tirx.Var] = set()
    tvm_ffi.structural_walk(body.value, [(TensorLoad, loads.append), (Call, lambda call: calls.add(call.op.name))])
    if not calls - CHEAP or any(not load.source.same_as(loads[0].source) for load in loads):
        return None
    data, result = loads[0].source, body.buffer
    if not _is_unary(block) or not _are_params(sch, [data, result]):
        return None
    if any(str(buffer.dtype) not in LEAST_VALUE for buffer in (data, result)):
        return None
    least = LEAST_VALUE[str(data.dtype)]

    def entry(k: tirx.Var) -> tirx.Expr:
        number = (k + least).astype(data.dtype)
        value = tvm_ffi.structural_map(body.value, [(TensorLoad, lambda _load: number)])
        used.update(variables_of(value) - {k})
        return value

    x = te.placeholder(data.shape, data.dtype, "x")
    table = te.compute(int64(ENTRIES), entry, TABLE)
    out = te.compute(result.shape, lambda *i: table[x[i].astype("int32") - least], LOOKED_UP)
    return None if used else te.create_prim_func([x, out])
