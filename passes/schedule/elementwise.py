"""Blocks that compute each element by itself: arithmetic, broadcasts, concatenation, slices, padding, resizing.

    Given:   for n, c, h, w: mul[n, c, h, w] = x[n, c, h, w] * scale[c];   for n, c, h, w: out[...] = mul[...] + bias[c]
    Result:  for c in parallel: for hw: out[c, hw] = x[c, hw] * scale[c] + bias[c]

The result is the same but for one rounding: of a product and a sum in one block LLVM makes one instruction. What fewer
than PARALLEL_STEPS elements cost is less than to wake other cores.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    Block,
    extent_of,
    inline_spatial,
    variables_of,
)

#: elements that one core takes at a time from an axis that is one loop
CHUNK = 4096
#: elements in a row without which LLVM does better with the loops as they are
MIN_RUN = 16
#: elements from which a copy is worth several cores, and the least that one copies at a time
COPY_STEPS, RUN = 65536, 16


class Elementwise(ScheduleRule):
    """Functions all of whose blocks are spatial."""

    def apply(self, func: tirx.PrimFunc, _target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = inline_spatial(sch)
        if blocks is None or not all(block.is_spatial for block in blocks):
            return None
        for block in blocks:
            schedule_spatial(sch, block)
        return sch


class Default(ScheduleRule):
    """Any function: what can be inlined is. Reductions that no rule knows stay as written: in a parallel loop, or with
    their neighbours in one, LLVM makes worse code of them (measured: 1.2 to 8 times slower on one core)."""

    def apply(self, func: tirx.PrimFunc, _target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        inline_spatial(sch)
        return sch


def schedule_spatial(sch: s_tir.Schedule, block: Block) -> None:
    """Make the innermost loop as long as it can be up to CHUNK, and the others parallel when there is enough to do.

    LLVM makes vectors of the innermost loop by itself, and treats its end better than `T.vectorized` does. It cannot
    do so under a condition, nor, in a parallel loop, where an index is looked up or divided: such blocks stay as they
    are. A concatenation becomes one loop for each input first.
    """
    tested, bounds = _conditions(sch, block)
    loops = list(sch.get_loops(block.rv))
    last = len(loops) - 1
    if tested:
        _schedule_concatenation(sch, block, tested, bounds)
        return
    first = last
    while first > 0 and _as_one(block, first - 1, range(first, len(loops))):
        if math.prod(block.extents[first - 1 :]) > CHUNK:
            break
        first -= 1
    step = next((i for i in range(last, first - 1, -1) if block.extents[i] > 1), last)
    if not all(walk[step] in (0, 1) for walk in block.strides):
        return
    inner = sch.fuse(*loops[first:]) if first < last else loops[first]
    outer = loops[:first]
    if block.steps < PARALLEL_STEPS or extent_of(sch, inner) < MIN_RUN:
        return
    if math.prod(block.extents[:first]) == 1:
        chunk = _divisor(extent_of(sch, inner))
        if chunk == extent_of(sch, inner):
            return
        outer = [*outer, sch.split(inner, [None, chunk])[0]]
    sch.parallel(sch.fuse(*outer))


def _schedule_concatenation(sch: s_tir.Schedule, block: Block, tested: set[int], bounds: list[int]) -> None:
    """One loop for each input, in parallel, where what is contiguous is long enough."""
    if len(tested) != 1 or not bounds or block.steps < COPY_STEPS:
        return
    (axis,) = tested
    loops = list(sch.get_loops(block.rv))
    parts = _differences([*bounds, block.extents[axis]])
    after = range(axis + 1, len(loops))
    if min(parts) * math.prod(block.extents[i] for i in after) < RUN:
        return
    if all(_as_one(block, i, range(i + 1, len(loops))) for i in after if i + 1 < len(loops)) and len(after) > 1:
        sch.fuse(*loops[axis + 1 :])
    divided = sch.loop_partition(loops[axis], [*parts[:-1], None])
    if math.prod(block.extents[:axis]) > 1:
        sch.parallel(sch.fuse(*loops[:axis]))
    elif len(after) > 0:
        for part in divided:
            sch.parallel(part)


def _differences(bounds: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise([0, *bounds])]


def _divisor(extent: int) -> int:
    """The largest divisor up to CHUNK; the extent itself when all are small."""
    found = max(i for i in range(1, CHUNK + 1) if extent % i == 0)
    return found if found >= CHUNK // 8 else extent


def _as_one(block: Block, outer: int, inner: range) -> bool:
    """Whether every buffer is walked over the axis `outer` as if it were the same axis as those in it."""
    if block.extents[outer] == 1 or all(block.extents[i] == 1 for i in inner):
        return True
    step = next(i for i in inner if block.extents[i] != 1)  # 0 in a tensor of nothing
    walks = [(walk[outer], walk[step]) for walk in block.strides]
    return all(a is not None and b is not None and a == b * block.extents[step] for a, b in walks)


def _conditions(sch: s_tir.Schedule, block: Block) -> tuple[set[int], list[int]]:
    """Numbers of the iterators that conditions read, and the bounds that they are compared with, in order.

    No bounds: some condition is more than `bound <= iterator`.
    """
    numbers = {iterator.var: i for i, iterator in enumerate(sch.get(block.rv).iter_vars)}
    found: set[int] = set()
    bounds: list[int] = []
    plain = True

    def look(node: Any) -> None:
        nonlocal plain
        if isinstance(node, Call) and node.op.name != "prim.if_then_else":
            return
        condition = node.args[0] if isinstance(node, Call) else node.condition
        found.update(numbers[var] for var in variables_of(condition) if var in numbers)
        if isinstance(condition, tirx.LE) and isinstance(condition.a, tirx.IntImm) and condition.b in numbers:
            bounds.append(int(condition.a))
        else:
            plain = False

    tvm_ffi.structural_walk(sch.get(block.rv).body, [(Call, look), (tirx.Select, look)])
    return found, sorted(set(bounds)) if plain else []
