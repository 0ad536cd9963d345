"""What the schedule rules ask of a function: its blocks, and how the iterators of a block walk through memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir.expr import Call, TensorLoad
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvm_split.passes.kernels.window import KERNEL
from tvm_split.passes.schedule.machine import Machine

#: a kernel of fewer steps stays on one core: starting the others costs some microseconds
PARALLEL_STEPS = 16384
#: LoopPartition then takes the border off the loop, so that the inside has no conditions
PARTITION = "pragma_loop_partition_hint"
Walk = tuple[int | None, ...]
_KINDS = {tirx.IterVar.DataPar: "S", tirx.IterVar.CommReduce: "R"}


@dataclass(frozen=True, slots=True)
class Block:
    """kinds: S (spatial) or R (reduced) for each iterator; strides: of each buffer access, elements for a step of each
    iterator, None where the index is not linear in it. Read accesses first; the last one is the write."""

    rv: SBlockRV
    name: str
    kinds: str
    extents: tuple[int, ...]
    strides: tuple[Walk, ...]
    dtype: str

    @property
    def is_spatial(self) -> bool:
        return "R" not in self.kinds

    @property
    def steps(self) -> int:
        return math.prod(self.extents)

    @property
    def elements(self) -> int:
        """Elements that the block writes."""
        return math.prod(extent for kind, extent in zip(self.kinds, self.extents, strict=True) if kind == "S")

    def reads(self) -> tuple[Walk, ...]:
        return self.strides[:-1]


def opened(func: tirx.PrimFunc) -> s_tir.Schedule:
    """A schedule of the function for rules that leave a hint to LoopPartition: its loops and indices have 32 bits.

    Where TVM narrows a loop of 64 bits later, LoopPartition no longer finds the hint that stands on it. A function of
    64-bit data, or of a buffer with more elements than 32 bits count, stays as it is.
    """
    sch = s_tir.Schedule(func)
    blocks = [sch.get(rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]
    buffers = [region.source for block in blocks for region in (*block.reads, *block.writes)]
    if any("64" in str(buffer.dtype) or not _counted(buffer) for buffer in buffers):
        return sch
    return s_tir.Schedule(tirx.transform.ForceNarrowIndexToInt32()(tvm.IRModule({"main": func}))["main"])


def _counted(buffer: tirx.Buffer) -> bool:
    """Whether 32 bits count the elements. False where a number of them is not known."""
    known = all(isinstance(extent, tirx.IntImm) for extent in buffer.shape)
    return known and math.prod(int(extent) for extent in buffer.shape) < 2**31


def block_of(sch: s_tir.Schedule, rv: SBlockRV) -> Block | None:
    """The block, when each of its iterators is a whole loop of its own with a constant extent; else None."""
    block = sch.get(rv)
    loops = [sch.get(loop) for loop in sch.get_loops(rv)]
    values = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")(sch, rv).iter_values
    if len(loops) != len(block.iter_vars) or len(block.writes) != 1 or not loops:
        return None
    kinds = ""
    for loop, value, iterator in zip(loops, values, block.iter_vars, strict=True):
        plain = isinstance(loop.extent, tirx.IntImm) and isinstance(loop.min, tirx.IntImm) and int(loop.min) == 0
        if not plain or not value.same_as(loop.loop_var) or iterator.iter_type not in _KINDS:
            return None
        kinds += _KINDS[iterator.iter_type]
    variables = [iterator.var for iterator in block.iter_vars]
    regions = [region for region in block.reads if not region.source.same_as(block.writes[0].source)]
    strides = tuple(_strides(region, variables) for region in (*regions, block.writes[0]))
    extents = tuple(int(loop.extent) for loop in loops)
    return Block(rv, str(block.name_hint), kinds, extents, strides, str(block.writes[0].source.dtype))


def _strides(region: tvm.ir.TensorRegion, variables: list[tirx.Var]) -> Walk:
    shape = [int(extent) if isinstance(extent, tirx.IntImm) else 0 for extent in region.source.shape]
    total: list[int | None] = [0] * len(variables)
    for i, span in enumerate(region.region):
        if shape[i] == 1:
            continue  # an axis of one element is never stepped over
        step = math.prod(shape[i + 1 :])
        found = sym.detect_linear_equation(span.min, variables)
        plain = isinstance(span.extent, tirx.IntImm) and int(span.extent) == 1 and 0 not in shape
        if plain and len(found) > len(variables) and all(isinstance(part, tirx.IntImm) for part in found[:-1]):
            parts: list[int | None] = [int(part) * step for part in found[:-1]]
        else:
            used = variables_of(span.min) | variables_of(span.extent)
            parts = [None if variable in used else 0 for variable in variables]
        total = [None if a is None or b is None else a + b for a, b in zip(total, parts, strict=True)]
    return tuple(total)


def variables_of(expr: tvm.ir.Expr) -> set[tirx.Var]:
    found: set[tirx.Var] = set()
    tvm_ffi.structural_walk(expr, (tirx.Var, lambda var: found.add(var)))
    return found


def blocks_of(sch: s_tir.Schedule) -> list[Block] | None:
    """The function's blocks in order; None when one is out of the ordinary (dynamic, nested, hand-written)."""
    found = [block_of(sch, rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]
    return None if not found or None in found else found  # type: ignore[return-value]


def inline_spatial(sch: s_tir.Schedule, kept: Sequence[str] = ()) -> list[Block] | None:
    """Inline each spatial block into what reads it, as long as nothing is computed twice; the blocks that are left.

    Padding counts as nothing. A block that many elements of a reader share (a broadcast) or that two blocks read stays,
    and so does one whose annotation KERNEL is in `kept`.
    """
    for rv in sch.get_child_blocks(sch.get_sblock("root")):
        block, readers = block_of(sch, rv), sch.get_consumers(rv)
        if block is None or not block.is_spatial or not readers or kernel_of(sch, rv) in kept:
            continue
        reading = [block_of(sch, reader) for reader in readers]
        if all(reader is not None and reader.is_spatial for reader in reading):
            steps = sum(reader.steps for reader in reading if reader)
            if steps <= 2 * block.elements or (is_copy(sch, rv) and len(reading) == 1):
                _try(sch.compute_inline, rv)
    return blocks_of(sch)


def kernel_of(sch: s_tir.Schedule, rv: SBlockRV) -> str:
    """The annotation KERNEL of a block; empty without one."""
    return str(sch.get(rv).annotations.get(KERNEL, ""))


def is_copy(sch: s_tir.Schedule, rv: SBlockRV) -> bool:
    """Whether the block only moves elements: a load, possibly under a condition (padding), or of a float16 to widen."""
    body = sch.get(rv).body
    value = body.value if isinstance(body, tirx.BufferStore) else None
    if isinstance(value, Call) and value.op.name == "prim.if_then_else":
        return all(_is_load(part) or isinstance(part, tirx.FloatImm | tirx.IntImm) for part in value.args[1:])
    return _is_load(value)


def _is_load(value: tvm.ir.Expr) -> bool:
    if isinstance(value, tirx.Cast) and str(value.value.ty) == "float16":
        value = value.value
    return isinstance(value, TensorLoad)


def _try(step: object, *args: object) -> bool:
    try:
        step(*args)  # type: ignore[operator]
    except s_tir.ScheduleError:
        return False
    return True


def dividing_lanes(machine: Machine, dtype: str, extent: int) -> int:
    """Lanes of the longest vector, at most a register, of which the axis is a whole number; 1 is the least."""
    return math.gcd(extent, machine.lanes(dtype))


def extent_of(sch: s_tir.Schedule, loop: LoopRV) -> int:
    return int(sch.get(loop).extent)
