"""Which of this machine's cores a profile is timed on (`profile --cores`). No TVM; Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tvm_split.errors import CostError


@contextmanager
def on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Within the block this thread, and those that it starts, run on these cores only; on any that the process may use
    with None. To be entered before TVM's pool starts (`runtime.executor.use_threads`), whose threads stay where they
    began. CostError: none are named, or some that this process may not use.
    """
    allowed = os.sched_getaffinity(0)
    if cores is None:
        yield
        return
    if not cores or not allowed.issuperset(cores):
        wrong = ", ".join(str(core) for core in cores if core not in allowed) or "none"
        raise CostError(
            f"the cores to time on (--cores) are {wrong}, which this process may not use; it may use "
            f"{', '.join(map(str, sorted(allowed)))}: name some of these"
        )
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
