"""What a schedule needs to know of a processor, derived from TVM's target."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm.target import codegen

#: vector extension -> (bytes of a register, registers), the widest first
EXTENSIONS = {"avx512f": (64, 32), "avx2": (32, 16), "neon": (16, 32)}
#: processors with 512-bit registers over 256-bit arithmetic: two halves cost what one whole vector costs
SPLIT_512 = ("znver4",)
#: caches of a target that does not tell its own: those of most server processors, and of a Cortex-A72
L1_BYTES, L2_BYTES = 32768, 1048576


@dataclass(frozen=True, slots=True)
class Machine:
    """vector_bytes: width of a vector register; registers: how many there are; caches in bytes, that one core reaches.

    half_vector: time of an operation on half a register, in operations on a whole one. products: registers that hold
    products on their way to the sums.
    """

    vector_bytes: int
    registers: int
    cores: int
    l1_bytes: int = L1_BYTES
    l2_bytes: int = L2_BYTES
    half_vector: float = 1.0
    products: int = 0

    def lanes(self, dtype: str) -> int:
        """Elements of the dtype in one vector register."""
        return self.vector_bytes * 8 // int(tvm.DataType(dtype).bits)


def machine_of(target: tvm.target.Target) -> Machine:
    """The machine of a CPU target, by the vector extension that its processor has.

    The caches are the target's options feature.l1_bytes and feature.l2_bytes (`tvm_target.resolve` sets them).
    """
    cores = int(target.attrs.get("num-cores", 1))
    caches = (int(target.features.l1_bytes or L1_BYTES), int(target.features.l2_bytes or L2_BYTES))
    half = 0.5 if target.attrs.get("mcpu", "") in SPLIT_512 else 1.0
    for feature, (vector_bytes, registers) in EXTENSIONS.items():
        if codegen.target_has_features(feature, target):
            if feature == "neon" and not target.features.is_aarch64:
                registers //= 2  # 32-bit ARM
            return Machine(vector_bytes, registers, cores, *caches, half_vector=half)
    return Machine(16, 16, cores, *caches, products=1)  # SSE2, which every x86-64 has, and no fused multiply-add
