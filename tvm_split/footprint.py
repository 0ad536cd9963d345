"""What a compiled half takes, read back from the module that its code is made of, beside what the plan said.

    weights    the constants as they are stored: packed for the kernels, and packed bits at fewer than 8
    storages   that TVM's memory planner gives the virtual machine, the half's results among them
    scratch    of the kernel that takes most workspace

A plan counts the same and the network's inputs, which the caller holds (`plan/evaluate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_split.layer_kernels import MAIN
from tvm_split.passes.layering import is_constant
from tvm_split.scratch import storage_bytes, workspace_bytes


@dataclass(frozen=True, slots=True)
class Footprint:
    weights_bytes: int
    storages_bytes: int
    scratch_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.storages_bytes + self.scratch_bytes


def footprint(lowered: tvm.IRModule, target: tvm.target.Target) -> Footprint:
    """Of a half after all of `lower.passes`. BuildError names a kernel that TVM cannot lower."""
    return Footprint(
        constant_bytes(lowered),
        sum(storage_bytes(lowered)),
        max(workspace_bytes(lowered, target).values(), default=0),
    )


def constant_bytes(lowered: tvm.IRModule) -> int:
    """Bytes of the constants that `main` reads, each once."""
    found: list[relax.Expr] = []

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr) and not any(expr.same_as(other) for other in found):
            found.append(expr)

    relax.analysis.post_order_visit(lowered[MAIN], visit)
    return sum(literal.value.numpy().nbytes for literal in found)
