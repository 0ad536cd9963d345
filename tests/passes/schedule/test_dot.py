"""Dot product instructions: each does what its description says, and targets get the best that they have."""

import itertools
import re

import numpy as np
import pytest
import tvm
from tvm import s_tir, te
from tvm.script.ir_builder import tirx as T

from tvm_split.passes.schedule.dot import Dot, register, term
from tvm_split.passes.schedule.dot_kinds import DOTS, dot_of
from tvm_split.passes.schedule.dot_x86 import NEEDS

#: a processor that has each kind
MCPU = {
    "avx512vnni": "cascadelake",
    "avx512bw": "skylake-avx512",
    "avxvnni": "alderlake",
    "avx2": "haswell",
    "sse2": "x86-64",
}
KINDS = [(dot, lanes) for dot in NEEDS for lanes in dot.lanes]
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})


def cpu(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name})


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (cpu("znver4"), "avx512vnni"),
        (cpu("cascadelake"), "avx512vnni"),
        (cpu("skylake-avx512"), "avx512bw"),
        (cpu("alderlake"), "avxvnni"),
        (cpu("x86-64-v3"), "avx2"),
        (cpu("x86-64"), "sse2"),
        (tvm.target.Target({"kind": "llvm", "mtriple": "riscv64-linux-gnu", "mcpu": "generic-rv64"}), None),
    ],
    ids=str,
)
def test_a_target_gets_the_best_that_it_has(target, name):
    assert dot_of(target) is (DOTS[name] if name else None)


def test_lanes_without_an_instruction_are_refused():
    with pytest.raises(KeyError, match="'avx2' has no form of 16 lanes"):
        DOTS["avx2"].intrin(16)


def blocks(dot, lanes, steps, stride):
    """`steps` calls, one after the other on the same sums, of pixels `stride` apart."""
    span = dot.pixels * stride
    data = te.placeholder((span, steps * dot.terms), dot.data, name="data")
    weight = te.placeholder((steps, lanes, dot.terms), dot.weight, name="weight")
    step, k = te.reduce_axis((0, steps), "step"), te.reduce_axis((0, dot.terms), "k")

    def element(p, lane):
        value = data[p * stride if dot.pixels > 1 else 0, step * dot.terms + k]
        return te.sum(term(value, weight[step, lane, k]), axis=[step, k])

    return te.create_prim_func([data, weight, te.compute((dot.pixels, lanes), element, name="sums")])


def tensorized(dot, lanes, steps=3, stride=1):
    sch = s_tir.Schedule(blocks(dot, lanes, steps, stride))
    block = sch.get_sblock("sums")
    pixel, lane, step, k = sch.get_loops(block)
    sch.reorder(step, pixel, lane, k)
    sch.decompose_reduction(block, step)
    sch.tensorize(pixel if dot.pixels > 1 else lane, dot.intrin(lanes))
    return sch.mod


def check(dot, lanes, target, values):
    data, weights = values
    found = tvm.runtime.tensor(np.full((dot.pixels, lanes), 99, "int32"))
    arrays = [tvm.runtime.tensor(array) for array in (data, weights)]
    tvm.compile(tensorized(dot, lanes), target=target).mod["main"](*arrays, found)
    flat = weights.transpose(0, 2, 1).reshape(-1, lanes).astype("int64")
    np.testing.assert_array_equal(found.numpy(), data[: dot.pixels].astype("int64") @ flat)


def numbers(dot, lanes, steps=3):
    """Random values of a network's range, and the extremes."""
    low, high = {"uint8": (0, 255), "int16": (0, 255), "int8": (-128, 127)}[dot.data]
    rng = np.random.default_rng(0)
    shapes = (dot.pixels, steps * dot.terms), (steps, lanes, dot.terms)
    yield (
        rng.integers(low, high, shapes[0], dot.data, endpoint=True),
        rng.integers(-128, 127, shapes[1], dot.weight, endpoint=True),
    )
    for value, weight in itertools.product((low, high), (-128, 127)):
        yield np.full(shapes[0], value, dot.data), np.full(shapes[1], weight, dot.weight)


@pytest.mark.parametrize(("dot", "lanes"), KINDS, ids=[f"{dot.name}-{lanes}" for dot, lanes in KINDS])
def test_sums_are_exact(dot, lanes):
    if not tvm.target.codegen.target_has_features(NEEDS[dot], HOST):
        pytest.skip(f"this machine has no {dot.name}")
    for values in numbers(dot, lanes):
        check(dot, lanes, cpu(MCPU[dot.name]), values)


def test_32_bit_arm_has_none():
    assert dot_of(tvm.target.Target({"kind": "llvm", "mtriple": "armv7l-linux-gnueabihf", "mcpu": "cortex-a7"})) is None


@pytest.mark.parametrize(("dot", "lanes"), KINDS, ids=[f"{dot.name}-{lanes}" for dot, lanes in KINDS])
def test_a_call_is_one_instruction(dot, lanes):
    target = cpu(MCPU[dot.name])
    assembly = tvm.compile(tensorized(dot, lanes, steps=1), target=target).mod.inspect_source("s")
    instruction = "vpdpbusd" if "vnni" in dot.name else "v?pmaddwd"
    register_ = {16: "zmm", 8: "ymm", 4: "xmm"}[lanes]
    assert len(re.findall(rf"\t(?:{{vex}} )?{instruction}\t.*{register_}", assembly)) == 1


def _plain(dot, lanes, a, b, c):
    """An instruction of several pixels, spelt out."""
    for p, lane in itertools.product(range(dot.pixels), range(lanes)):
        total = c[p, lane]
        for k in range(dot.terms):
            total = total + term(a[p, k], b[lane, k])
        T.buffer_store(c, total, [p, lane])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_several_pixels_in_a_call(dtype):
    dot = register(Dot(f"test_pixels_{dtype}", terms=8, lanes=(2,), pixels=2, data=dtype), _plain)
    for values in numbers(dot, 2):
        check(dot, 2, HOST, values)
