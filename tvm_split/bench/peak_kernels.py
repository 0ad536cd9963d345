"""The loops that `peaks` times, in TVM's own language: written for LLVM to keep every vector in a register."""

# mypy: ignore-errors
# TVMScript's annotations are values

import tvm
from tvm import s_tir, te
from tvm.script import tirx as T

from tvm_split.passes.kernels.conv2d import term
from tvm_split.passes.schedule.dot import Dot


def multiply_add(symbol: str, threads: int, chains: int, lanes: int, steps: int) -> tvm.ir.BaseFunc:
    """`steps` times x = x * factor + start, on `chains` vectors of each thread; x begins as start.

    (factor: [width], start: [width], out: [threads, width]), width = chains * lanes. All vectors use the first lanes of
    factor and start in the loop.
    """
    width = chains * lanes

    @T.prim_func(s_tir=True)
    def kernel(
        factor: T.Buffer((width,), "float32"),
        start: T.Buffer((width,), "float32"),
        out: T.Buffer((threads, width), "float32"),
    ):
        T.func_attr({"tirx.noalias": True})
        for thread in T.parallel(threads):
            x = T.alloc_buffer((width,), "float32")
            for chain in T.unroll(chains):
                for lane in T.vectorized(lanes):
                    x[chain * lanes + lane] = start[chain * lanes + lane]
            for _step in T.serial(steps):
                for chain in T.unroll(chains):
                    for lane in T.vectorized(lanes):
                        x[chain * lanes + lane] = x[chain * lanes + lane] * factor[lane] + start[lane]
            for chain in T.unroll(chains):
                for lane in T.vectorized(lanes):
                    out[thread, chain * lanes + lane] = x[chain * lanes + lane]

    return kernel.with_attr("global_symbol", symbol)


def dot_products(symbol: str, threads: int, chains: int, steps: int, dot: Dot) -> tvm.ir.BaseFunc:
    """`steps` times the same dot products, added up in `chains` sums of each thread by the instruction.

    (data: [chains, pixels, terms], weights: [lanes, terms], out: int32 [threads, chains, pixels, lanes]); lanes: the
    most that the instruction has.
    """
    lanes = max(dot.lanes)
    data = te.placeholder((chains, dot.pixels, dot.terms), dot.data, name="data")
    weights = te.placeholder((lanes, dot.terms), dot.weight, name="weights")
    step, k = te.reduce_axis((0, steps), "step"), te.reduce_axis((0, dot.terms), "k")
    out = te.compute(
        (threads, chains, dot.pixels, lanes),
        lambda _thread, chain, pixel, lane: te.sum(term(data[chain, pixel, k], weights[lane, k]), axis=[step, k]),
        name="out",
    )
    sch = s_tir.Schedule(te.create_prim_func([data, weights, out]))
    block = sch.get_sblock("out")
    written = sch.cache_write(block, 0, "global")
    thread, chain, pixel, lane, step, k = sch.get_loops(block)
    sch.reorder(thread, step, chain, pixel, lane, k)
    sch.reverse_compute_at(written, thread, preserve_unit_loops=True)
    sch.parallel(thread)
    sch.unroll(chain)
    zero = sch.decompose_reduction(block, step)
    sch.tensorize(pixel if dot.pixels > 1 else lane, dot.intrin(lanes))
    for copied in (zero, written):
        *_, chain, pixel, lane = sch.get_loops(copied)
        sch.unroll(chain)
        sch.unroll(pixel)
        sch.vectorize(lane)
    return sch.mod["main"].with_attr("global_symbol", symbol)


def read(symbol: str, threads: int, elements: int, chains: int, lanes: int, times: int) -> tvm.ir.BaseFunc:
    """The sum of each thread's own block of `elements`, vector by vector, added up `times` times.

    (data: [threads * elements], out: [threads, width]), width = chains * lanes, a divisor of `elements`.
    """
    width = chains * lanes

    @T.prim_func(s_tir=True)
    def kernel(
        data: T.Buffer((threads * elements,), "float32"),
        out: T.Buffer((threads, width), "float32"),
    ):
        T.func_attr({"tirx.noalias": True})
        for thread in T.parallel(threads):
            total = T.alloc_buffer((width,), "float32")
            for chain in T.unroll(chains):
                for lane in T.vectorized(lanes):
                    total[chain * lanes + lane] = T.float32(0)
            for _again in T.serial(times):
                for step in T.serial(elements // width):
                    for chain in T.unroll(chains):
                        for lane in T.vectorized(lanes):
                            total[chain * lanes + lane] = (
                                total[chain * lanes + lane]
                                + data[thread * elements + step * width + chain * lanes + lane]
                            )
            for chain in T.unroll(chains):
                for lane in T.vectorized(lanes):
                    out[thread, chain * lanes + lane] = total[chain * lanes + lane]

    return kernel.with_attr("global_symbol", symbol)
