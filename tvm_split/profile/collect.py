"""A profile of one device: what may be compared with it, and its layers and halves timed into one file of records."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm import rpc

from tvm_split.profile.collector import Collector
from tvm_split.profile.cores import on_cores
from tvm_split.profile.records import Records
from tvm_split.profile.timing import processor
from tvm_split.profile.wanted import EVERYTHING, Outcome, Plan, Say
from tvm_split.profile.workload import code_facts
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve

__all__ = ["NOT_IMPORTED", "Collector", "Outcome", "Plan", "collect", "device_facts"]

#: networks of the zoo that TVM's importer refuses (LSTM)
NOT_IMPORTED = ("plate-rec-lstm",)


def device_facts(spec: TargetSpec, threads: int, key: str | None) -> dict[str, Any]:
    """What must be equal for a cost model to hold: target, machine, threads, versions, kernels."""
    where = {"machine": processor() if key is None else f"board {key}", "threads": threads}
    return code_facts(spec, resolve(spec)) | where


def collect(
    spec: TargetSpec, networks: Sequence[str], path: Path, minutes: float, *, threads: int | None = None,
    remotes: Sequence[rpc.RPCSession] = (), key: str | None = None, say: Say = lambda _text: None,
    plan: Plan = EVERYTHING, cores: Sequence[int] | None = None,
) -> tuple[Records, Outcome]:  # fmt: skip
    """Time `spec`, this machine or boards with `key`, for `minutes` at most, into the records file `path`.

    cores: of this machine, those to time on, with a thread on each unless `threads` says otherwise; all by default.
    CostError: nothing of it runs there, the file is of another device, or this process may not use such a core. What
    was timed is in the file even if this is interrupted.
    """
    with on_cores(cores), tempfile.TemporaryDirectory(prefix="tvm-split-profile-") as folder:
        pool = 0 if remotes else use_threads(threads)
        records = Records(path, device_facts(spec, pool, key))
        collector = Collector(spec, records, Path(folder), time.monotonic() + 60 * minutes, remotes, say, plan)
        return records, collector.run(networks)
