"""Run a bundle on this machine as it would run in the field: two processes and a link between them.

    result = run_bundle(Bundle.open("bundle"), {"image": image}, link=links["wifi"])
    result.outputs["logits"], result.measured.total_s, result.stages

Both halves run on this machine's processor, from their twins where the bundle has them, so edge_s is this machine's,
not the device's: `measure` asks a real board. Halves for the target "host" run themselves.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tvm_split.bundle import Bundle
from tvm_split.comparison import Place, Stage, compare
from tvm_split.errors import BundleError, LinkDownError
from tvm_split.plan.problem import Link, Timing
from tvm_split.runtime.edge import load_arrays, save_arrays
from tvm_split.runtime.machine import SIDES, place_here, role_here, sides
from tvm_split.runtime.processes import Child, link_json, wait_for
from tvm_split.runtime.tensors import check_inputs, link_stages

START_S = 120.0
#: seconds of link time above which a run is taken for a mistake
LONGEST_RUN_S = 3600.0


@dataclass(frozen=True)
class RunResult:
    """Outputs by name, of the last run; the median of each stage over the runs; every run's stages. Seconds.

    predicted: the plan's, its link stages for the link that was shaped to. stages: both, with errors where they fit.
    """

    outputs: dict[str, np.ndarray]
    measured: Timing
    predicted: Timing
    stages: tuple[Stage, ...]
    runs: list[Timing]


def run_bundle(
    bundle: Bundle | str | Path,
    inputs: Mapping[str, np.ndarray],
    repeats: int = 3,
    link: Link | None = None,
    shaped: bool = True,
    threads: int | None = None,
    timeout_s: float = 120.0,
    on_device: bool = False,
) -> RunResult:
    """Run a bundle, or the one in a folder, `repeats` times after one uncounted run, over `link` (its own by default).

    on_device takes the devices' own halves, not their twins: this machine is one that both can run on.
    shaped=False sends at loopback's speed. A bundle of which nothing crosses runs its edge process alone, and its link
    stages are 0 s.
    `timeout_s` is what one message may take besides the link's own time, the cloud's computing included. Both processes
    are gone when this returns or raises.

    BundleError: inputs that are not the bundle's, halves that cannot run here, do not match or fail. LinkDownError: a
    process died, with the end of its stderr, or fell silent.
    """
    if repeats < 1:
        raise BundleError(f"repeats is {repeats}; expected 1 or more")
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    arrays = check_inputs(bundle, inputs)
    roles = {side: role_here(bundle, side, on_device) for side in sides(bundle)}
    used = link or bundle.link
    seconds = (repeats + 1) * sum(link_stages(bundle, used))
    if shaped and seconds > LONGEST_RUN_S:
        raise LinkDownError(
            f"{repeats} runs over '{used.name}' would take {seconds:.3g} s for the link alone; give a faster link, or "
            "send unshaped"
        )
    common = ["--timeout", repr(timeout_s)]
    if on_device:
        common += ["--device"]
    if threads is not None:
        common += ["--threads", str(threads)]
    if shaped:
        common += ["--shape", link_json(used)]
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
    measured, predicted = median_timing(runs), predicted_over(bundle, used)
    places: dict[str, Place] = {side: place_here(bundle, side, roles.get(side)) for side in SIDES}
    for stage in ("uplink", "downlink"):
        places[stage] = Place(used.name, used.name if shaped else "loopback", "measured" if shaped else "elsewhere")
    return RunResult(outputs, measured, predicted, compare(predicted, measured, places), runs)


def predicted_over(bundle: Bundle, link: Link) -> Timing:
    """The plan's times, with the link stages computed anew when the link is another than the plan's."""
    if link == bundle.link:
        return bundle.predicted
    uplink_s, downlink_s = link_stages(bundle, link)
    return replace(bundle.predicted, uplink_s=uplink_s, downlink_s=downlink_s)


def median_timing(runs: Sequence[Timing]) -> Timing:
    """The median of each stage by itself; their sum need not be the median of the totals."""
    stages = ("edge_s", "uplink_s", "cloud_s", "downlink_s")
    return Timing(*(statistics.median(getattr(run, stage) for run in runs) for stage in stages))
