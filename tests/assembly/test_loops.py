"""Innermost loops of assembly text: by the control flow, not by the order of the code."""

from tvm_split.assembly.loops import Instruction, functions, hot_loop, innermost_loops

TWO = """
	.type	kernel,@function
kernel:
.Lfunc_begin0:
	mov	x9, #4                          // the outer loop's counter
.LBB0_1:
	mov	x8, #8
.LBB0_2:
	ldr	q0, [x1], #16
	fmla	v1.4s, v0.4s, v2.s[0]
	subs	x8, x8, #1
	b.ne	.LBB0_2
	subs	x9, x9, #1
	b.ne	.LBB0_1
	ret
	.type	.L__tvm_parallel_lambda,@function
.L__tvm_parallel_lambda:
	cbz	x0, .LBB1_3
.LBB1_2:
	sub	x0, x0, #1
	cbnz	x0, .LBB1_2
.LBB1_3:
	ret
.Lfunc_end1:
	.section	.debug_info
"""
# the loop's second half stands behind the function's end, and a part that leaves it stands in between
SCATTERED = """
	.type	f,@function
f:
	mov	x0, #9
	b	.L1
.L3:
	fadd	v0.4s, v0.4s, v1.4s
	ret
.L1:
	tbz	w0, #0, .L2
	fmla	v0.4s, v1.4s, v2.4s
.L2:
	subs	x0, x0, #1
	b.eq	.L3
	b	.L4
.L5:
	brk	#0x1
.L4:
	str	q0, [x1], #16
	b	.L1
"""


def names(body):
    return [instruction.name for instruction in body]


def test_functions_are_those_of_the_directives():
    found = dict(functions(TWO))
    assert list(found) == ["kernel", ".L__tvm_parallel_lambda"]
    assert found["kernel"][0].code == (Instruction("mov", "x9, #4"),)


def test_only_the_innermost_loops():
    inner, other = innermost_loops(TWO)
    assert (inner.function, inner.label, names(inner.body)) == ("kernel", ".LBB0_2", ["ldr", "fmla", "subs", "b.ne"])
    assert (other.label, names(other.body)) == (".LBB1_2", ["sub", "cbnz"])


def test_a_loop_in_pieces_is_whole_and_without_strangers():
    (loop,) = innermost_loops(SCATTERED)
    assert names(loop.body) == ["tbz", "fmla", "subs", "b.eq", "b", "str", "b"]


def test_code_that_nothing_reaches_is_no_loop():
    assert innermost_loops("\t.type\tf,@function\nf:\n\tret\n.L1:\n\tnop\n\tb\t.L1\n") == []


def test_a_branch_back_into_the_middle_is_no_loop_of_that_block():
    """.L2 is reached past .L1 as well: the code is no loop with one entry."""
    text = "\t.type\tf,@function\nf:\n\tcbz\tx0, .L2\n.L1:\n\tnop\n.L2:\n\tsub\tx0, x0, #1\n\tcbnz\tx0, .L1\n\tret\n"
    assert innermost_loops(text) == []


def test_the_hot_loop_has_the_most_work():
    assert hot_loop(TWO, lambda loop: names(loop.body).count("fmla")).label == ".LBB0_2"
    assert hot_loop(TWO, lambda loop: names(loop.body).count("sub")).label == ".LBB1_2"
    assert hot_loop(TWO, lambda loop: names(loop.body).count("sdot")) is None
