"""What instructions of x86-64 multiply and add, and its hot loops."""

import pytest

from tvm_split.assembly.loops import X86_64, Instruction, innermost_loops
from tvm_split.assembly.x86_64 import hot, multiply_adds, products

PRODUCTS = {
    "vfmadd231ps (%rcx), %zmm3, %zmm0": 16,
    "vfmadd231ps 4(%rcx){1to16}, %zmm3, %zmm0": 16,
    "vfmadd213ps %ymm1, %ymm2, %ymm0": 8,
    "vfnmadd132pd %ymm1, %ymm2, %ymm0": 4,
    "vfmadd231ps %zmm1, %zmm2, %zmm0 {%k1}": 16,
    "vfmadd231ss %xmm1, %xmm2, %xmm0": 1,
    "vpdpbusd %ymm1, %ymm2, %ymm0": 32,
    "vpdpbusd 8(%rax){1to16}, %zmm2, %zmm0": 64,
    "vpmaddwd %ymm1, %ymm2, %ymm0": 16,
    "pmaddwd %xmm1, %xmm0": 8,
    "vmulps %ymm1, %ymm2, %ymm0": 0,
    "imulq %rax, %rcx": 0,
    "vpaddd %ymm1, %ymm2, %ymm0": 0,
}
#: an outer loop, the hot one behind it, one that only copies; LLVM's comments begin lines and end them
CODE = """
	.type	kernel,@function
kernel:                                 # @kernel
# %bb.0:
	xorl	%eax, %eax
.LBB0_1:                                # =>This Loop Header: Depth=1
	movq	$-64, %rcx
.LBB0_2:
	vmovaps	(%rsi,%rcx), %zmm3      # 64-byte Reload
	vfmadd231ps	(%rdi), %zmm3, %zmm0
	vfmadd231ps	4(%rdi){1to16}, %zmm3, %zmm1
	addq	$64, %rcx
	jne	.LBB0_2
# %bb.3:
	incq	%rax
	cmpq	$8, %rax
	jb	.LBB0_1
	jmp	.LBB0_5
.LBB0_4:
	vmovaps	(%rsi), %zmm3
	vmovaps	%zmm3, (%rdx)
	decq	%rax
.LBB0_5:
	testq	%rax, %rax
	jne	.LBB0_4
	vzeroupper
	retq
.Lfunc_end0:
"""


def instruction(text: str) -> Instruction:
    return Instruction(*text.split(" ", 1))


@pytest.mark.parametrize("text", PRODUCTS)
def test_products(text):
    assert products(instruction(text)) == PRODUCTS[text]


def test_loops_are_those_of_the_jumps():
    hottest, copying = innermost_loops(CODE, X86_64)
    assert (hottest.function, hottest.label) == ("kernel", ".LBB0_2")
    assert [each.name for each in hottest.body] == ["vmovaps", "vfmadd231ps", "vfmadd231ps", "addq", "jne"]
    assert hottest.body[0] == Instruction("vmovaps", "(%rsi,%rcx), %zmm3")
    assert sorted(each.name for each in copying.body) == ["decq", "jne", "testq", "vmovaps", "vmovaps"]


def test_the_hot_loop_and_its_multiply_adds():
    loop, found = hot(CODE)
    assert (loop.label, found) == (".LBB0_2", 32)
    assert hot(CODE.replace("vfmadd231ps", "vaddps")) is None


def test_pairs_count_where_nothing_multiplies_and_adds_at_once():
    pair = [instruction("mulps %xmm1, %xmm0"), instruction("addps %xmm0, %xmm2"), instruction("addps %xmm0, %xmm3")]
    assert multiply_adds(pair) == 4
    assert multiply_adds(pair[:1]) == 0
    assert multiply_adds([*pair, instruction("vfmadd231ps %ymm1, %ymm2, %ymm0")]) == 8
    words = [instruction("vpmulld %zmm1, %zmm2, %zmm0"), instruction("vpaddd %zmm0, %zmm3, %zmm3")]
    assert multiply_adds(words) == 16
