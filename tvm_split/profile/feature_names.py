"""What the columns of a cost model are called, in order. No TVM; `features` says what they hold."""

from __future__ import annotations

#: TVM's features of one store of a kernel
PER_STORE = 164
OWN = (
    "flops", "moved_bytes", "weight_bytes", "read_elements", "written_elements", "intensity", "compute_s", "memory_s",
    "is_kernel", "on_integers",
)  # fmt: skip
NAMES = (*(f"sum_{i}" for i in range(PER_STORE)), *(f"lead_{i}" for i in range(PER_STORE)), *OWN)
