"""All kinds of dot product instruction, and which of them a target gets."""

from __future__ import annotations

import tvm

from tvm_split.passes.schedule import dot_arm, dot_x86
from tvm_split.passes.schedule.dot import Dot

#: every kind by its name, which annotates the kernels that are made for it
DOTS: dict[str, Dot] = {dot.name: dot for dot in (*dot_x86.NEEDS, *dot_arm.NEEDS)}


def dot_of(target: tvm.target.Target) -> Dot | None:
    """The best kind that the target has; None where none is known."""
    found = (choose(target) for choose in (dot_x86.choose, dot_arm.choose))
    return next((dot for dot in found if dot is not None), None)
