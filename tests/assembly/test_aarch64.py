"""What an instruction does."""

import pytest

from tvm_split.assembly.aarch64 import Counts, count, hot, kind, products
from tvm_split.assembly.loops import Instruction

KINDS = {
    "fmla v16.4s, v0.4s, v17.s[1]": ("fma", 4),
    "fmla v1.8h, v2.8h, v3.h[0]": ("fma", 8),
    "fmls v1.2d, v2.2d, v3.2d": ("fma", 2),
    "sdot v0.4s, v1.16b, v2.4b[3]": ("dot", 16),
    "usdot v0.4s, v1.16b, v2.16b": ("dot", 16),
    "sdot v0.2s, v1.8b, v2.8b": ("dot", 8),
    "usmmla v0.4s, v1.16b, v2.16b": ("dot", 32),
    "smlal v0.8h, v1.8b, v2.8b": ("widening", 8),
    "smlal2 v0.4s, v1.8h, v2.h[1]": ("widening", 4),
    "umull v0.8h, v1.8b, v2.8b": ("widening", 8),
    "smull x9, w8, w9": ("scalar_multiplies", 0),
    "madd w9, w9, w10, w12": ("scalar_multiplies", 0),
    "msub x1, x2, x3, x4": ("scalar_multiplies", 0),
    "fmadd s0, s1, s2, s3": ("scalar_multiplies", 0),
    "fmul s0, s1, v2.s[0]": ("scalar_multiplies", 0),
    "fmla s0, s1, v2.s[0]": ("scalar_multiplies", 0),
    "fnmul d0, d1, d2": ("scalar_multiplies", 0),
    "ldr q17, [x19, #1920]": ("loads", 0),
    "ldur s2, [x19, #-168]": ("loads", 0),
    "ldp q0, q1, [x20, #-48]": ("loads", 0),
    "ld1r { v2.4s }, [x6], #4": ("loads", 0),
    "stp q16, q9, [sp, #192]": ("stores", 0),
    "str q2, [x18, x14]": ("stores", 0),
    "dup v0.4s, v1.s[0]": ("moves", 0),
    "mov v6.16b, v5.16b": ("moves", 0),
    "mov w13, #3360": ("other", 0),
    "fmul v0.4s, v1.4s, v2.4s": ("other", 0),
    "sadalp v0.4s, v1.8h": ("other", 0),
    "mul v0.4s, v1.4s, v2.4s": ("other", 0),
}


def instruction(text):
    return Instruction(*text.split(" ", 1))


@pytest.mark.parametrize("text", KINDS)
def test_kind_and_products(text):
    assert (kind(instruction(text)), products(instruction(text))) == KINDS[text]


def test_counts():
    body = [instruction(text) for text in (*KINDS, "ldr x8, [x29, #-8]", "ldr q1, [spx]")]
    found = count(body)
    assert found == Counts(
        instructions=len(body), multiply_adds=sum(n for _, n in KINDS.values()), fma=3, dot=4, widening=3, loads=6,
        stores=2, spills=1, scalar_multiplies=7, moves=2,
    )  # fmt: skip
    assert found.vector_multiplies == 10 and found.share == 10 / len(body)


def test_no_instruction_has_no_share():
    assert count([]).share == 0


def test_hot_prefers_products_to_instructions():
    text = "\t.type\tf,@function\nf:\n" + "".join(
        f".L{i}:\n{body}\tcbnz\tx0, .L{i}\n"
        for i, body in enumerate(["\tnop\n" * 9 + "\tfmla\tv0.4s, v1.4s, v2.4s\n", "\tsdot\tv0.4s, v1.16b, v2.16b\n"])
    )
    loop, counts = hot(text)
    assert loop.label == ".L1" and counts.multiply_adds == 16
    assert hot("\t.type\tf,@function\nf:\n.L0:\n\tmul\tx0, x1, x2\n\tcbnz\tx0, .L0\n") is None
