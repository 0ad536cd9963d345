"""What follows the sums of a kernel of ours: every operator in one block, the host, that sums are made for.

Given:   sums; unpack; bias add; activation; reshape
Result:  sums; host, which is all of unpack, bias and activation; reshape
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import gcd
from typing import TypeAlias

import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvm_split.passes.schedule.blocks import dividing_lanes, extent_of, kernel_of, variables_of
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tiles import MIN_LANES

Block: TypeAlias = SBlockRV
Loop: TypeAlias = LoopRV


def hosted(sch: s_tir.Schedule, sums: str, unpack: str, others: tuple[str, ...] = ()) -> Mapping[str, Block] | None:
    """The blocks by their role, with "host" and "output", what follows inlined; None for a function built otherwise.

    `sums` and `unpack` must be there, each once; of `others`, any may. The host is the last block of the result's
    extents that unpack makes; the output is it, or what moves its elements into another shape.
    """
    root = sch.get_sblock("root")
    roles: dict[str, Block] = {}
    after: list[Block] = []
    for block in sch.get_child_blocks(root):
        role = kernel_of(sch, block)
        if role in roles or role not in ("", sums, unpack, *others):
            return None
        if role:
            roles[role] = block
        if role in ("", unpack):
            after.append(block)
    extents = [_extents(sch, block) for block in after]
    if not {sums, unpack} <= set(roles) or len(sch.get_output_blocks(root)) != 1 or None in extents:
        return None
    space = _extents(sch, roles[unpack])
    host = max(i for i, other in enumerate(extents) if other == space)
    for i, block in enumerate(after[:-1]):
        if i != host:
            sch.compute_inline(block)
    return {**roles, "host": after[host], "output": after[-1]}


def hosted_again(sch: s_tir.Schedule, sums: str) -> Mapping[str, Block]:
    """What `hosted` found, in another schedule of the function that it left, as `merge_rows` begins one."""
    root = sch.get_sblock("root")
    roles = {kernel_of(sch, block): block for block in sch.get_child_blocks(root)}
    (host,), (output,) = sch.get_consumers(roles[sums]), sch.get_output_blocks(root)
    return {**{role: block for role, block in roles.items() if role}, "host": host, "output": output}


def _extents(sch: s_tir.Schedule, block: Block) -> tuple[int, ...] | None:
    """Extents of an elementwise block; None of a reduction or of extents that are no numbers."""
    variables = sch.get(block).iter_vars
    plain = all(v.iter_type == tirx.IterVar.DataPar and isinstance(v.dom.extent, tirx.IntImm) for v in variables)
    return tuple(int(v.dom.extent) for v in variables) if plain else None


def merge_rows(sch: s_tir.Schedule, block: Block, keep: int = 0) -> s_tir.Schedule:
    """The block of an elementwise kernel with one dimension between the first `keep` and the last.

    In a schedule of its own, in simple form: only there do the indices tell compute_at which rows a tile needs.
    """
    *extents, _ = (_extents(sch, block) or ())[keep:]

    def merged(*index: tirx.Var) -> list[tirx.Expr]:
        row = index[keep]
        for extent, i in zip(extents[1:], index[keep + 1 : -1], strict=True):
            row = row * extent + i
        return [*index[:keep], row, index[-1]]

    if len(extents) > 1:
        sch.transform_block_layout(block, tirx.IndexMap.from_func(merged, ndim=keep + len(extents) + 1))
    return s_tir.Schedule(tirx.transform.StmtSimplify()(sch.mod))


def as_vectors(sch: s_tir.Schedule, written_out: tuple[Loop, ...], channels: Loop, lanes: int) -> None:
    """Vectors of `lanes` channels, all of them and the other loops written out."""
    vectors, lane = sch.split(channels, [None, lanes])
    sch.vectorize(lane)
    for loop in (vectors, *written_out):
        sch.unroll(loop)


def write_back(sch: s_tir.Schedule, channel: Loop, channels: int, lanes: int) -> bool:
    """Vectors as long as divide the channels, so that none of them crosses the end.

    False, and none, where those are short: LLVM does what it can, or `whole_tiles` makes some.
    """
    lanes = gcd(channels, lanes)
    if lanes >= MIN_LANES:
        as_vectors(sch, (), channel, lanes)
    return lanes >= MIN_LANES


def whole_tiles(func: tirx.PrimFunc, channel: tirx.Var, channels: int, lanes: int) -> tirx.PrimFunc:
    """Write in vectors where a tile of `channels` is whole, one by one where it crosses the end.

    Given:   for channel in 32: where 32 * tile + channel < 197: out[...] = sums[...]
    Result:  if 32 * tile + 31 < 197: for vector: for lane: out[...] = sums[...]    vectors, unrolled
             else: as it was
    """

    def write(loop: tirx.For) -> tirx.Stmt:
        if not loop.loop_var.same_as(channel) or not isinstance(loop.body, s_tir.SBlockRealize):
            return loop
        realize = loop.body
        conditions = _conjunction(realize.predicate)
        ends = [each for each in conditions if channel in variables_of(each)]
        if not ends:
            return loop
        others = [each for each in conditions if channel not in variables_of(each)]
        vector, lane = tirx.Var("vector", channel.ty), tirx.Var("lane", channel.ty)
        values = [_replaced(value, channel, vector * lanes + lane) for value in realize.iter_values]
        inner = s_tir.SBlockRealize(values, tirx.all(*others) if others else tirx.const(True), _copied(realize.block))
        number = partial(tirx.const, dtype=str(channel.ty))
        body = tirx.For(lane, number(0), number(lanes), tirx.ForKind.VECTORIZED, inner)
        body = tirx.For(vector, number(0), number(channels // lanes), tirx.ForKind.UNROLLED, body)
        whole = tirx.all(*(_replaced(each, channel, number(channels - 1)) for each in ends))
        return tirx.IfThenElse(whole, body, loop)

    return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.For, write)]))


def _replaced(expr: tirx.Expr, var: tirx.Var, value: tirx.Expr) -> tirx.Expr:
    return tvm_ffi.structural_map(expr, [(tirx.Var, lambda each: value if each.same_as(var) else each)])


def _copied(block: s_tir.SBlock) -> s_tir.SBlock:
    """The block with iterators of its own: a function defines each variable once."""
    fresh = {each.var: tirx.Var(each.var.name, each.var.ty) for each in block.iter_vars}
    copy = [(tirx.Var, lambda var: fresh.get(var, var))]
    iterators = [tirx.IterVar(each.dom, fresh[each.var], each.iter_type) for each in block.iter_vars]
    reads, writes = (
        [tvm_ffi.structural_map(each, copy) for each in regions] for regions in (block.reads, block.writes)
    )
    body = tvm_ffi.structural_map(block.body, copy)
    return s_tir.SBlock(iterators, reads, writes, f"{block.name_hint}_whole", body, annotations=block.annotations)


def _conjunction(condition: tirx.Expr) -> list[tirx.Expr]:
    if isinstance(condition, tirx.And):
        return [*_conjunction(condition.a), *_conjunction(condition.b)]
    return [condition]


def pad_at(sch: s_tir.Schedule, pad: Block, task: Loop, machine: Machine) -> None:
    """The padded data, made by whoever reads them where rows are whole vectors; else in a pass of their own."""
    if not pad_by_reader(sch, pad, task, machine):
        *rows, _, _ = sch.get_loops(pad)
        sch.parallel(sch.fuse(*rows) if len(rows) > 1 else rows[0])


def pad_by_reader(sch: s_tir.Schedule, pad: Block, task: Loop, machine: Machine) -> bool:
    """Pad in the task that reads it, which is less work than fetching it; False where rows are no vectors."""
    block = sch.get(pad)
    lanes = dividing_lanes(machine, str(block.writes[0].source.dtype), int(block.iter_vars[-1].dom.extent))
    if lanes < MIN_LANES:
        return False
    sch.compute_at(pad, task, preserve_unit_loops=True)
    sch.vectorize(sch.split(sch.get_loops(pad)[-1], [None, lanes])[1])
    return True


def copy_out(sch: s_tir.Schedule, roles: Mapping[str, Block]) -> None:
    """What only moves elements behind the kernel, in parallel: LLVM makes the vectors."""
    if sch.get(roles["output"]) != sch.get(roles["host"]):
        loops = sch.get_loops(roles["output"])
        sch.parallel(sch.fuse(*loops[:-1]) if len(loops) > 1 else loops[0])


def extents_are(sch: s_tir.Schedule, loops: list[Loop], wanted: list[int]) -> bool:
    """Whether the loops have those extents, which compute_at finds only where it understands what is read."""
    known = all(isinstance(sch.get(loop).extent, tirx.IntImm) for loop in loops)
    return known and [extent_of(sch, loop) for loop in loops] == wanted


def channels_made(sch: s_tir.Schedule, kept: list[Loop], pixels: int, channels: int) -> int | None:
    """How many channels of a tile compute_at put the sums of: all, or 1 where the result has a single one; else None.

    `kept` are the loops over what is not summed; those outside of the tile must be of one step.
    """
    outside = [1] * (len(kept) - 2)
    return next((n for n in (channels, 1) if extents_are(sch, kept, [*outside, pixels, n])), None)
