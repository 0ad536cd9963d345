"""Products of two activations: packed, scheduled and compiled as in a network, against float64."""

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.pack_weights import PackWeights
from tvm_split.passes.schedule.batch_matmul import BatchMatmul

UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative


def product(build, a, b, scale=0.125):
    """relu(scale * a @ b), one layer."""

    def body(emit, x, y):
        scaled = emit(relax.op.multiply(emit(relax.op.matmul(x, y)), relax.const(np.float32(scale))))
        return emit(relax.op.nn.relu(scaled))

    return build(body, a, b)


def check(build, check_bits, a_shape, b_shape, seed=0):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in (a_shape, b_shape))
    exact = np.maximum(0.125 * np.matmul(a.astype("float64"), b), 0)
    bound = (a_shape[-1] + 1) * UNIT * 1.01 * 0.125 * np.matmul(np.abs(a).astype("float64"), np.abs(b))
    check_bits(product(build, a_shape, b_shape), (a, b), exact, bound)


CASES = {
    "scores": ((1, 3, 29, 16), (1, 3, 16, 29)), "values": ((1, 3, 29, 29), (1, 3, 29, 16)),
    "whole_tiles": ((2, 64, 32), (2, 32, 64)), "matrices": ((50, 33), (33, 70)), "one_matrix": ((8, 13, 12), (12, 40)),
    "broadcast_b": ((8, 20, 16), (1, 16, 20)), "broadcast_a": ((1, 20, 16), (4, 16, 20)),
    "more_dimensions": ((3, 20, 16), (2, 1, 16, 20)), "both": ((2, 1, 9, 8), (1, 3, 8, 11)),
    "few_rows": ((2, 4, 40), (2, 40, 100)), "one_term": ((5, 1), (1, 9)), "one_row": ((3, 1, 40), (3, 40, 50)),
    "one_column": ((3, 50, 40), (3, 40, 1)), "wide": ((1, 40, 64), (1, 64, 1001)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_within_the_bound_of_the_sum_and_the_same_bits(build, check_bits, case):
    check(build, check_bits, *CASES[case])


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_shape(build, check_bits, data):
    draw = lambda *range_: data.draw(st.integers(*range_))  # noqa: E731
    rows, terms, columns, rank = draw(1, 60), draw(1, 70), draw(1, 90), draw(0, 2)
    extents = [draw(1, 3) for _ in range(rank)]
    lead = [[extent if data.draw(st.booleans()) else 1 for extent in extents] for _ in range(2)]
    check(build, check_bits, (*lead[0], rows, terms), (*lead[1][draw(0, rank) :], terms, columns), draw(0, 99))


@pytest.mark.parametrize("processor", ["avx2", "avx512", "arm"])
def test_the_rule_takes_it_and_multiplies_vectors(build, processors, scheduled, processor):
    target = processors[processor]
    ((rule, kernel),) = scheduled(product(build, (2, 37, 64), (2, 64, 45)), target)
    assert rule == "BatchMatmul"
    func = kernel.with_attr("global_symbol", "main")
    assembly = tvm.compile(tvm.IRModule({"main": func}), target).mod.inspect_source("s")
    vector = {"avx2": r"vfmadd\w+ps\t.*ymm", "avx512": r"vfmadd\w+ps\t.*zmm", "arm": r"fmla\tv\d+\.4s"}[processor]
    scalar = r"\tfmadd\ts" if processor == "arm" else r"\tvfmadd\w+ss\t"
    assert len(re.findall(vector, assembly)) >= 6 and not re.findall(scalar, assembly)


def test_other_functions_are_left_alone(build, processors):
    with processors["avx2"]:
        plain = relax.transform.LegalizeOps()(product(build, (8, 8), (8, 8)))
    funcs = [f for f in plain.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    assert funcs and all(BatchMatmul().apply(func, processors["avx2"], False) is None for func in funcs)


@pytest.mark.parametrize("a, b", [((3, 8), (8, 40)), ((40, 8), (8, 3)), ((8,), (8, 9)), ((9, 8), (8,))])
def test_vectors_and_few_rows_stay(build, processors, caplog, a, b):
    before = build(lambda emit, x, y: emit(relax.op.matmul(x, y)), a, b)
    with caplog.at_level("INFO", "tvm_split.passes"):
        assert PackWeights(processors["avx2"])(before).same_as(before)
    assert "too few rows or columns" in caplog.text
