"""Half of a network -> a shared library for its target."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.errors import BuildError
from tvm_split.linker import find_linker
from tvm_split.passes.layering import is_constant
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve

FINGERPRINT = "fingerprint"


def weights_digest(mod: tvm.IRModule) -> str:
    """SHA-256 over the module's constants in the order of its functions' names."""
    digest = hashlib.sha256()

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr):
            digest.update(np.ascontiguousarray(expr.value.numpy()))

    for gvar in sorted(mod.get_global_vars(), key=lambda gvar: str(gvar.name_hint)):
        if isinstance(mod[gvar], relax.Function):
            relax.analysis.post_order_visit(mod[gvar], visit)
    return digest.hexdigest()


def with_fingerprint(mod: tvm.IRModule, fingerprint: str) -> tvm.IRModule:
    """Add a function `fingerprint() -> uint8[32]`, so that a half can be asked which bundle it belongs to."""
    value = relax.const(np.frombuffer(bytes.fromhex(fingerprint), np.uint8))
    builder = relax.BlockBuilder()
    with builder.function(FINGERPRINT, []):
        with builder.dataflow():
            out = builder.emit_output(value)
        builder.emit_func_output(out)
    marked = mod.clone()
    marked[relax.GlobalVar(FINGERPRINT)] = builder.get()[FINGERPRINT]
    return marked


def compile_half(mod: tvm.IRModule, spec: TargetSpec, path: Path) -> None:
    """Compile a module of layers for the target and link it to `path`.

    BuildError when the target is simulated, or no linker for its architecture is there. Peak memory is about four
    times the weights.
    """
    if spec.simulated:
        raise BuildError(
            f"target '{spec.name}' is simulated and runs no code; plan for it, or compile for another target"
        )
    linker = find_linker(spec.arch)
    target = resolve(spec)
    try:
        executable = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
    except tvm.error.InternalError as error:
        raise BuildError(f"TVM cannot compile this half for '{spec.name}': {str(error).splitlines()[-1]}") from error
    executable.export_library(str(path), fcompile=linker)
