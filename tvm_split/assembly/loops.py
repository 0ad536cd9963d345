"""Innermost loops of compiled functions, of AArch64 or, in AT&T's syntax, x86-64.

Given:   .LBB0_2:                  Result:  Loop("kernel", ".LBB0_2", (ldr, fmla, subs, b.ne))
             ldr  q0, [x8], #16
             fmla v1.4s, v0.4s, v2.s[0]
             subs x9, x9, #1
             b.ne .LBB0_2

Loops are those of the control flow, whatever the order of the code: a branch back to a block that every way to it leads
through, and the blocks from which that branch is reached. Calls are taken to return.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

LABEL = re.compile(r"^([.\w$]+):")
FUNCTION = re.compile(r"^\s*\.type\s+([.\w$]+),\s*@function", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a processor's assembly says things. comment: what begins one. branch: jumps to a label, its last operand.
    ends: instructions that the next one does not follow."""

    comment: str
    branch: re.Pattern[str]
    ends: tuple[str, ...]


AARCH64 = Syntax("//", re.compile(r"^(b|b\.\w+|cbn?z|tbn?z)$"), ("b", "br", "ret", "brk", "udf"))
X86_64 = Syntax("#", re.compile(r"^j\w+$"), ("jmp", "jmpq", "ret", "retq", "ud2", "int3"))


@dataclass(frozen=True, slots=True)
class Instruction:
    """`fmla v1.4s, v0.4s, v2.s[0]`: name "fmla", operands "v1.4s, v0.4s, v2.s[0]"."""

    name: str
    operands: str

    def __str__(self) -> str:
        return f"{self.name}\t{self.operands}" if self.operands else self.name


@dataclass(frozen=True, slots=True)
class Block:
    """Straight code; `label` is None where it only follows a branch."""

    label: str | None
    code: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop without loops inside: all its blocks, in the order of the code."""

    function: str
    label: str
    body: tuple[Instruction, ...]


def functions(text: str, syntax: Syntax = AARCH64) -> Iterator[tuple[str, tuple[Block, ...]]]:
    """Each function's name and blocks. Directives and comments are left out."""
    starts = {*FUNCTION.findall(text), "end"}
    name, blocks, label, code = "", [], None, []  # type: str, list[Block], str | None, list[Instruction]
    for line in (*text.splitlines(), "end:"):
        line = line.split(syntax.comment)[0].rstrip()
        found = LABEL.match(line)
        if found is None and (not line.strip() or line.strip().startswith(".")):
            continue
        if found is None:
            mnemonic, _, operands = line.strip().partition("\t")
            code.append(Instruction(mnemonic, operands.strip()))
        if found or syntax.branch.match(code[-1].name) or code[-1].name in syntax.ends:
            if code or label:
                blocks.append(Block(label, tuple(code)))
            label, code = None, []
        if found and found[1] in starts:
            if any(block.code for block in blocks):
                yield name, tuple(blocks)
            name, blocks = found[1], []
        elif found:
            label = found[1]


def successors(blocks: tuple[Block, ...], syntax: Syntax = AARCH64) -> list[tuple[int, ...]]:
    at = {block.label: i for i, block in enumerate(blocks) if block.label}
    found = []
    for i, block in enumerate(blocks):
        last = block.code[-1] if block.code else None
        to = [i + 1] if i + 1 < len(blocks) and (last is None or last.name not in syntax.ends) else []
        target = at.get(last.operands.split(",")[-1].strip()) if last and syntax.branch.match(last.name) else None
        found.append((*to, *([] if target is None else [target])))
    return found


def dominators(follows: list[tuple[int, ...]]) -> dict[int, set[int]]:
    """Of each block that is reached from the first: the blocks that every way to it leads through, itself too."""
    reached, todo = {0}, [0]
    while todo:
        new = set(follows[todo.pop()]) - reached
        reached |= new
        todo += new
    before: dict[int, list[int]] = {i: [] for i in reached}
    for i in reached:
        for j in follows[i]:
            before[j].append(i)
    found = {i: {0} if i == 0 else set(reached) for i in reached}
    changed = True
    while changed:
        changed = False
        for i in sorted(reached - {0}):
            new = set.intersection(*(found[j] for j in before[i])) | {i}
            changed |= new != found[i]
            found[i] = new
    return found


def loops(follows: list[tuple[int, ...]]) -> Mapping[int, frozenset[int]]:
    """The blocks of each loop by its first."""
    over = dominators(follows)
    found: dict[int, set[int]] = {}
    for i in over:
        for head in set(follows[i]) & over[i]:
            body, todo = found.setdefault(head, {head}), [i]
            while todo:
                block = todo.pop()
                if block not in body:
                    body.add(block)
                    todo += [j for j in over if block in follows[j]]
    return {head: frozenset(body) for head, body in found.items()}


def innermost_loops(text: str, syntax: Syntax = AARCH64) -> list[Loop]:
    """The innermost loops of every function, in order."""
    found = []
    for name, blocks in functions(text, syntax):
        nest = loops(successors(blocks, syntax))
        for head, body in sorted(nest.items()):
            if not any(other in body for other in nest if other != head):
                code = tuple(instruction for i in sorted(body) for instruction in blocks[i].code)
                found.append(Loop(name, blocks[head].label or name, code))
    return found


def hot_loop(text: str, work: Callable[[Loop], int], syntax: Syntax = AARCH64) -> Loop | None:
    """The innermost loop with the most work in one turn, the first of equal ones; None when no loop does any."""
    return max((loop for loop in innermost_loops(text, syntax) if work(loop)), key=work, default=None)
