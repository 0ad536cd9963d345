"""What a packed kernel has to do in all, as its blocks and their indices say."""

from __future__ import annotations

from math import prod

from tvm import s_tir, sym, tirx

from tvm_split.passes.schedule.hosts import Block
from tvm_split.passes.schedule.tasks import Work
from tvm_split.passes.schedule.tiles import Tile


def work_of(sch: s_tir.Schedule, sums: Block, tile: Tile, others: int, *, copies: bool) -> Work:
    """The work of the block of sums: `others` loops stand outside of pixels and tiles of channels."""
    block = sch.get(sums)
    data, weight, *_ = (read.source for read in block.reads)  # the third: scales of the weights
    tiles = int(weight.shape[0])
    # not the sums' shape: those of an instruction for several pixels lie together
    positions = [int(var.dom.extent) for var in block.iter_vars if var.iter_type == tirx.IterVar.DataPar][-2]
    terms = prod(int(var.dom.extent) for var in block.iter_vars if var.iter_type == tirx.IterVar.CommReduce)
    ahead, each = span(sch, sums, data, tile.pixels, copies=copies)
    made = str(block.writes[0].source.dtype)
    dtype = made if made == "float32" else str(weight.dtype)  # which floats are computed in, however they are stored
    return Work(tile, positions // tile.pixels, tiles, others, terms, ahead, each, copies, dtype)


def span(
    sch: s_tir.Schedule, sums: Block, source: tirx.Buffer, pixels: int, *, copies: bool, axis: int = -2
) -> tuple[int, int]:
    """(a, b): for n times `pixels`, the last but one kept iterator, `sums` reads a + n * b elements of `source`.

    Of one image, one tile of channels and all terms; `axis` may be another iterator than that. Where an index is no sum
    of multiples of iterators, each pixel reads its own terms: so it is in a product over merged rows.
    """
    block = sch.get(sums)
    (region,) = (read for read in block.reads if read.source.same_as(source))
    variables = [iterator.var for iterator in block.iter_vars]
    kept = [iterator.iter_type == tirx.IterVar.DataPar for iterator in block.iter_vars]
    pixel = sum(kept) + axis
    terms = [1 if keep else int(var.dom.extent) for keep, var in zip(kept, block.iter_vars, strict=True)]
    steps = []
    for index in region.region:
        found = sym.detect_linear_equation(index.min, variables)
        if len(found) <= len(variables) or not all(isinstance(step, tirx.IntImm) for step in found[:-1]):
            return 0, pixels * prod(terms)
        steps.append([int(step) for step in found[:-1]])

    def elements(count: int) -> int:
        taken = [count * pixels if i == pixel else extent for i, extent in enumerate(terms)]
        return prod(reach(index, taken) for index in steps)

    def reach(index: list[int], taken: list[int]) -> int:
        """Elements from the first to the last one; if they are not copied, as many as there are when that is fewer."""
        counts = [(step, n) for step, n in zip(index, taken, strict=True) if step]
        whole = 1 + sum(step * (n - 1) for step, n in counts)
        return whole if copies else min(whole, prod(n for _, n in counts))

    each = elements(2) - elements(1)
    return elements(1) - each, each
