"""The loops that `peaks` times, in TVM's own language: written for LLVM to keep every vector in a register."""

# mypy: ignore-errors
# TVMScript's annotations are values

import tvm
from tvm.script import tirx as T


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
