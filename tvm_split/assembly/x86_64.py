"""What the instructions of an x86-64 loop multiply and add, in AT&T's syntax: the result is the last operand.

vfmadd231ps  (%rcx), %zmm3, %zmm0    16: an element of 32 bits each
vpdpbusd     %ymm1, %ymm2, %ymm0     32: four products to an element
vmulps, vaddps                       a pair, where nothing multiplies and adds at once
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tvm_split.assembly.loops import X86_64, Instruction, Loop, hot_loop

REGISTER = re.compile(r"%([xyz])mm\d+")
REGISTER_BITS = {"x": 128, "y": 256, "z": 512}
FMA = re.compile(r"^vfn?m(?:add|sub)\d{3}([ps])([hsd])$")
ELEMENT_BITS = {"h": 16, "s": 32, "d": 64}
#: dot products, by the bits of their factors
DOTS = {"vpdpbusd": 8, "vpdpbusds": 8, "vpdpbssd": 8, "vpdpwssd": 16, "vpdpwssds": 16, "vpmaddwd": 16, "pmaddwd": 16,
        "vdpbf16ps": 16}  # fmt: skip
MULTIPLY, ADD = (re.compile(rf"^v?(?:{name}([ps])([hsd])|{integer}([wdq]))$") for name, integer in (
    ("mul", "pmull"), ("(?:add|sub)", "p(?:add|sub)")))  # fmt: skip
INTEGER_BITS = {"w": 16, "d": 32, "q": 64}


def products(instruction: Instruction) -> int:
    """Products that one instruction both makes and adds up; 0 of any other."""
    if fused := FMA.match(instruction.name):
        return _lanes(instruction, ELEMENT_BITS[fused[2]], fused[1] == "s")
    factor = DOTS.get(instruction.name)
    return 0 if factor is None else _lanes(instruction, factor)


def multiply_adds(body: Iterable[Instruction]) -> int:
    """Products added up in one turn. Pairs of a multiplication and an addition count only where nothing does both."""
    body = list(body)
    fused = sum(products(instruction) for instruction in body)
    return fused or min(sum(_plain(MULTIPLY, each) for each in body), sum(_plain(ADD, each) for each in body))


def hot(text: str) -> tuple[Loop, int] | None:
    """The innermost loop with the most multiply-adds in a turn, and their number; None when no loop has any."""
    found = hot_loop(text, lambda loop: multiply_adds(loop.body), X86_64)
    return None if found is None else (found, multiply_adds(found.body))


def _plain(wanted: re.Pattern[str], instruction: Instruction) -> int:
    """Elements that a plain multiplication or addition of vector registers makes; 0 of any other."""
    found = wanted.match(instruction.name)
    if found is None:
        return 0
    floats, integers = found[2], found[3]
    bits = ELEMENT_BITS[floats] if floats else INTEGER_BITS[integers]
    return _lanes(instruction, bits, found[1] == "s")


def _lanes(instruction: Instruction, bits: int, scalar: bool = False) -> int:
    registers = REGISTER.findall(instruction.operands)
    if not registers:
        return 0
    return 1 if scalar else REGISTER_BITS[registers[-1]] // bits
