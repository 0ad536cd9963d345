"""Half of a network -> a shared library for its target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.target import Target, codegen

from tvm_split import lower
from tvm_split.errors import BuildError, last_line
from tvm_split.linker import find_linker
from tvm_split.passes.layering import is_constant
from tvm_split.targets import TargetSpec, host
from tvm_split.tvm_target import resolve

FINGERPRINT = "fingerprint"

#: architecture -> feature as LLVM names it -> as /proc/cpuinfo does; those that a kernel's code may use
LINUX_FEATURES = {
    "x86_64": {
        "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt", "avx": "avx",
        "avx2": "avx2", "fma": "fma", "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm", "movbe": "movbe",
        "gfni": "gfni", "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512cd": "avx512cd", "avx512dq": "avx512dq",
        "avx512vl": "avx512vl", "avx512vbmi": "avx512vbmi", "avx512ifma": "avx512ifma", "avx512vnni": "avx512_vnni",
        "avx512vbmi2": "avx512_vbmi2", "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
        "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq", "avxvnni": "avx_vnni",
    },
    "aarch64": {
        "fp-armv8": "fp", "neon": "asimd", "fullfp16": "asimdhp", "dotprod": "asimddp", "rdm": "asimdrdm",
        "lse": "atomics", "sve": "sve", "sve2": "sve2", "i8mm": "i8mm", "bf16": "bf16", "complxnum": "fcma",
    },
}  # fmt: skip


def weights_digest(mod: tvm.IRModule) -> str:
    """SHA-256 over the module's constants in the order of its functions' names."""
    digest = hashlib.sha256()

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr):
            digest.update(np.ascontiguousarray(expr.value.numpy()).data)

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


@dataclass(frozen=True)
class Processor:
    """What a half is compiled for; `name` is for messages."""

    name: str
    arch: str
    target: Target

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it: architecture, LLVM's name of the processor, features as Linux names them."""
        config = self.target.export()
        names = LINUX_FEATURES[self.arch]
        known = map(str, codegen.llvm_get_cpu_features(self.target)) if self.target.kind.name == "llvm" else ()
        features = sorted(names[feature] for feature in known if feature in names)
        return {"arch": self.arch, "mcpu": str(config.get("mcpu", "")), "features": features}


def device(spec: TargetSpec) -> Processor:
    """The target's processor. BuildError when it is simulated."""
    if spec.simulated:
        raise BuildError(
            f"target '{spec.name}' is simulated and runs no code; plan for it, or compile for another target"
        )
    return Processor(spec.name, spec.arch, resolve(spec))


def baseline() -> Processor:
    """What a twin is compiled for: any processor like this machine's, see `targets/host.py`."""
    arch, mcpu = host.baseline()
    return Processor(f"this machine ({mcpu})", arch, Target({"kind": "llvm", "mcpu": mcpu}))


def compile_half(mod: tvm.IRModule, processor: TargetSpec | Processor, path: Path) -> tvm.IRModule:
    """Compile a module of layers for the target and link it to `path`; return what its code was made of.

    BuildError when the target is simulated, or no linker for its architecture is there. Peak memory is about four
    times the weights.
    """
    if isinstance(processor, TargetSpec):
        processor = device(processor)
    linker, target = find_linker(processor.arch), processor.target
    lowered: list[tvm.IRModule] = []

    def keep(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        lowered.append(lower.pipeline(target)(mod))
        return lowered[0]

    try:
        executable = tvm.compile(mod, target, relax_pipeline=tvm.transform.module_pass(keep, opt_level=0))
    except tvm.error.InternalError as error:
        raise BuildError(f"TVM cannot compile this half for '{processor.name}': {last_line(error)}") from error
    executable.export_library(str(path), fcompile=linker)
    return lowered[0]
