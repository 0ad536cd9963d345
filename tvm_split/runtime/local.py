"""Run a bundle on this machine as it would run in the field: two processes and a link between them.

    result = run_bundle(Bundle.open("bundle"), {"image": image}, link=links["wifi"])
    result.outputs["logits"], result.measured.total_s

Both halves run on this machine's processor, so edge_s is this machine's, not the device's: `measure` asks a real board.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_split.bundle import Bundle
from tvm_split.errors import BundleError
from tvm_split.plan.problem import Link, Timing
from tvm_split.runtime.edge import load_arrays, save_arrays
from tvm_split.runtime.processes import Child, link_json, wait_for
from tvm_split.runtime.tensors import check_inputs

START_S = 120.0


@dataclass(frozen=True)
class RunResult:
    """Outputs by name, of the last run; the median of each stage over the runs; every run's stages. Seconds."""

    outputs: dict[str, np.ndarray]
    measured: Timing
    runs: list[Timing]


def run_bundle(
    bundle: Bundle,
    inputs: Mapping[str, np.ndarray],
    repeats: int = 3,
    link: Link | None = None,
    shaped: bool = True,
    threads: int | None = None,
    timeout_s: float = 120.0,
) -> RunResult:
    """Run the bundle `repeats` times, after one uncounted run, over `link` (the bundle's own by default).

    shaped=False sends at loopback's speed. A bundle of which nothing crosses runs its edge process alone, and its link
    stages are 0 s.
    `timeout_s` is what one message may take besides the link's own time, the cloud's computing included. Both processes
    are gone when this returns or raises.

    BundleError: inputs that are not the bundle's, halves that do not match or fail. LinkDownError: a process died, with
    the end of its stderr, or fell silent.
    """
    if repeats < 1:
        raise BundleError(f"repeats is {repeats}; expected 1 or more")
    arrays = check_inputs(bundle, inputs)
    common = ["--timeout", repr(timeout_s)]
    if threads is not None:
        common += ["--threads", str(threads)]
    if shaped:
        common += ["--shape", link_json(link or bundle.link)]
    with tempfile.TemporaryDirectory(prefix="tvm-split-run-") as name, ExitStack() as children:
        folder = Path(name)
        save_arrays(folder / "in.npz", dict(zip((spec.name for spec in bundle.inputs), arrays, strict=True)))
        edge_args = [str(bundle.path), "--inputs", str(folder / "in.npz"), "--outputs", str(folder / "out.npz"),
                     "--repeats", str(repeats), *common]  # fmt: skip
        clouds = []
        if bundle.cloud_so is not None:
            cloud = Child("the cloud half", "tvm_split.runtime.cloud", [str(bundle.path), *common], folder)
            clouds.append(children.enter_context(cloud))
            edge_args += ["--connect", f"127.0.0.1:{cloud.message(START_S)['port']}"]
        edge = children.enter_context(Child("the edge half", "tvm_split.runtime.edge", edge_args, folder))
        runs = [Timing.from_json(wait_for(edge, clouds)["run"]) for _ in range(repeats)]
        wait_for(edge, clouds)
        outputs = load_arrays(folder / "out.npz")
    return RunResult(outputs, median_timing(runs), runs)


def median_timing(runs: Sequence[Timing]) -> Timing:
    """The median of each stage by itself; their sum need not be the median of the totals."""
    stages = ("edge_s", "uplink_s", "cloud_s", "downlink_s")
    return Timing(*(statistics.median(getattr(run, stage) for run in runs) for stage in stages))
