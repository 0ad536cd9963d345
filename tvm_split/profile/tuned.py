"""Trials of `tvm-split tune` as timed layers: what a cost model learns from schedules other than ours.

Given:   a tuner's database of the device's target, and a network whose kernels were tuned
Result:  a Record of each schedule that was tried and ran, of the network, its sample "tuned"

Each trial's schedule is made again from its trace and described as the layer's kernel would be. MetaSchedule's runner
timed it, in repeats of 10 ms and not in rounds as here: whether a trial is noise is told by its own repeats alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import tvm

from tvm_split.errors import CostError
from tvm_split.graph import Graph
from tvm_split.passes.schedule import RULE
from tvm_split.profile.features import describe
from tvm_split.profile.records import Record, Records
from tvm_split.profile.workload import key_of
from tvm_split.targets import TargetSpec
from tvm_split.tune import trials
from tvm_split.tune.apply import by_trace, facts, kernel_key, space_name
from tvm_split.tune.database import Database, TargetFolder
from tvm_split.tune.kernels import Kernel, kernels_of
from tvm_split.tune.space import start_of
from tvm_split.tvm_target import resolve

TUNED = "tuned"


def trials_of(folder: Path, spec: TargetSpec, target: tvm.target.Target) -> TargetFolder:
    """The part of a tuner's database that is of this target. CostError: it has none. TuneError: it is no database."""
    database = Database.open(folder)
    found = database.find(facts(target))
    if found is None:
        others = ", ".join(database.targets()) or "none"
        raise CostError(
            f"{folder} holds no trials for '{spec.name}' as it is compiled for here (its targets: {others}); times of "
            "another target say nothing of this one: leave --tuned out, or profile that target"
        )
    return found


def tuned_records(
    here: TargetFolder, mod: tvm.IRModule, graph: Graph, spec: TargetSpec, target: tvm.target.Target, call_s: float
) -> Iterator[Record]:
    """A record of each distinct trial of the kernels of a module of layers. call_s: what a half's call takes beside.

    Our own schedule is left out: a profile times it. CostError when TVM cannot take a kernel's features.
    """
    for kernel in kernels_of(mod, target):
        yield from _of_kernel(here, kernel, graph, spec, target, call_s)


def add_trials(
    records: Records, here: TargetFolder, mod: tvm.IRModule, graph: Graph, spec: TargetSpec, call_s: float
) -> int:
    """Add those that `records` lacks; how many they are."""
    found = tuned_records(here, mod, graph, spec, resolve(spec), call_s)
    new = [record for record in found if record.key not in records.found]
    for record in new:
        records.add(record)
    return len(new)


def _of_kernel(
    here: TargetFolder, kernel: Kernel, graph: Graph, spec: TargetSpec, target: tvm.target.Target, call_s: float
) -> Iterator[Record]:
    start = start_of(kernel.function, target) if (here.folder / kernel.key).is_dir() else None
    if start is None:
        return
    seen = {kernel_key(start.scheduled)}
    found = trials.read(here.folder / kernel.key / space_name(start))
    for trial in sorted(found, key=lambda trial: trial.seconds):  # of one schedule the least, as what else runs adds
        function = by_trace(start, trial.trace) if math.isfinite(trial.seconds) else None
        if function is None or (made := kernel_key(function)) in seen:
            continue
        seen.add(made)
        whole = function.with_attr("global_symbol", f"tuned_{made}").with_attr(RULE, start.rule)
        described = describe(graph, graph.layer[kernel.layers[0]], (whole,), spec, target, alone=True)
        yield Record(
            key=key_of(whole), network=graph.name, sample=TUNED, seconds=trial.seconds + call_s, spread=trial.spread,
            **asdict(described),
        )  # fmt: skip
