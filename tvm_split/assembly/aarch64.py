"""What the instructions of an AArch64 loop do, counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tvm_split.assembly.loops import Instruction, Loop, hot_loop

VECTOR = re.compile(r"^v\d+\.(\d+)([bhsd])\b")
SCALAR = re.compile(r"^[bhsdwx]\d+\b")
STACK = re.compile(r"\[sp\b")
#: vector instructions that multiply and add, by how many products go into one element of the result
DOTS = {"sdot": 4, "udot": 4, "usdot": 4, "sudot": 4, "smmla": 8, "ummla": 8, "usmmla": 8}
FMA = ("fmla", "fmls")
#: products of integers twice as long as their factors
WIDENING = re.compile(r"^[su]ml[as]l2?$|^[su]mull2?$")
MULTIPLIES = re.compile(r"^(f?n?mul|f?n?m(add|sub)|[su]mul[lh]|[su]m(add|sub)l|ml[as]|fmla|fmls|sqr?dmulh)$")
MOVES = re.compile(r"^(dup|mov|ins|ext|zip[12]|uzp[12]|trn[12]|rev\d*|tbl|[us]xtl2?|[su]shll2?|fmov)$")
LOADS, STORES = re.compile(r"^(ldu?r|ldp|ldnp|ld\d)"), re.compile(r"^(stu?r|stp|stnp|st\d)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions of a loop. `spills` are loads and stores of the stack, counted among those too.

    multiply_adds: products added up in one turn. vector_multiplies: instructions that make them (fma, dot, widening).
    scalar_multiplies: products of single numbers, addresses among them. moves: what only rearranges vectors.
    """

    instructions: int
    multiply_adds: int
    fma: int
    dot: int
    widening: int
    loads: int
    stores: int
    spills: int
    scalar_multiplies: int
    moves: int

    @property
    def vector_multiplies(self) -> int:
        return self.fma + self.dot + self.widening

    @property
    def share(self) -> float:
        """Part of the instructions that multiplies vectors."""
        return self.vector_multiplies / self.instructions if self.instructions else 0.0


def kind(instruction: Instruction) -> str:
    """One of the fields of Counts, or "other"."""
    name, operands = instruction.name, instruction.operands
    vector = VECTOR.match(operands)
    if vector and name in FMA:
        return "fma"
    if name in DOTS:
        return "dot"
    if vector and WIDENING.match(name):
        return "widening"
    if LOADS.match(name):
        return "loads"
    if STORES.match(name):
        return "stores"
    if MULTIPLIES.match(name) and SCALAR.match(operands):
        return "scalar_multiplies"
    return "moves" if vector and MOVES.match(name) else "other"


def products(instruction: Instruction) -> int:
    """Products that a vector instruction adds up; 0 of any other."""
    vector = VECTOR.match(instruction.operands)
    if vector is None or kind(instruction) not in ("fma", "dot", "widening"):
        return 0
    return int(vector[1]) * DOTS.get(instruction.name, 1)


def count(body: Iterable[Instruction]) -> Counts:
    body = list(body)
    kinds = Counter(kind(instruction) for instruction in body)
    moved = [i for i in body if kind(i) in ("loads", "stores")]
    return Counts(
        instructions=len(body),
        multiply_adds=sum(products(instruction) for instruction in body),
        spills=sum(bool(STACK.search(instruction.operands)) for instruction in moved),
        **{name: kinds[name] for name in ("fma", "dot", "widening", "loads", "stores", "scalar_multiplies", "moves")},
    )


def hot(text: str) -> tuple[Loop, Counts] | None:
    """The innermost loop with the most multiply-adds in a turn; None when no loop multiplies vectors."""
    found = hot_loop(text, lambda loop: sum(products(instruction) for instruction in loop.body))
    return None if found is None else (found, count(found.body))
