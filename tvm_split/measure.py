"""Time a bundle on the board it was compiled for, and check that the board computes what this machine does.

    result = measure_bundle(Bundle.open("bundle"), "127.0.0.1:9190", "rasp4b")
    result.measured, result.predicted, result.stages, result.checks

Whole halves are timed, on the board itself, over TVM's RPC (lab networks only). The link is not: its stages are
computed from the bundle's link and the true number of bytes, and `stages` says so. `run_bundle` measures a link.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_split.bundle import Bundle, TensorSpec
from tvm_split.comparison import Place, Stage, compare
from tvm_split.errors import BundleError
from tvm_split.plan.problem import Timing
from tvm_split.profile.measured import measure_half
from tvm_split.profile.rpc import connect, remote_vm
from tvm_split.runtime.edge import edge_results
from tvm_split.runtime.executor import Half
from tvm_split.runtime.machine import library_here, place_here, role_here
from tvm_split.runtime.payload import check_layout, unpack
from tvm_split.runtime.tensors import check_arrays, check_inputs, dtype_of, link_stages, outputs_named


@dataclass(frozen=True, slots=True)
class Check:
    """A tensor from the board against the same from the host's twin.

    unit: 'steps' for a quantised crossing tensor (difference of codes), 'value' otherwise. max_difference is infinite
    where one is NaN and the other not. `differing` counts elements that are not equal.
    """

    tensor: str
    bits: int
    unit: str
    max_difference: float
    differing: int
    elements: int


@dataclass(frozen=True)
class MeasureResult:
    """Seconds of each stage, medians. stages: predicted beside measured, with the errors; the link's are computed.

    The runs are seconds of single calls.
    """

    measured: Timing
    predicted: Timing
    stages: tuple[Stage, ...]
    checks: tuple[Check, ...]
    outputs: dict[str, np.ndarray]
    edge_runs_s: list[float]
    cloud_runs_s: list[float]


def measure_bundle(
    bundle: Bundle,
    tracker: str,
    edge_key: str,
    cloud_key: str | None = None,
    repeats: int = 5,
    inputs: Mapping[str, np.ndarray] | None = None,
    timeout_s: float = 60.0,
) -> MeasureResult:
    """Run and time the edge half on the board `edge_key`, the cloud half on `cloud_key`'s server or, without one, here.

    `inputs` are the bundle's by name; without them, random ones of seed 0, fit for timing, not for accuracy. The cloud
    half reads the payload that the board made. `timeout_s` is how long to wait for a free board. LinkDownError: no
    tracker, no such board, a session that ended. BundleError: a half that cannot be loaded or fails.
    """
    if repeats < 1:
        raise BundleError(f"repeats is {repeats}; expected 1 or more")
    if bundle.edge_so is None:
        raise BundleError(f"{bundle.path} has no edge half; compile it again")
    arrays = check_inputs(bundle, random_inputs(bundle) if inputs is None else inputs)
    specs = edge_results(bundle)
    twin_library = library_here(bundle, "edge")
    cloud_role = role_here(bundle, "cloud") if bundle.cloud_so is not None and cloud_key is None else None
    with connect(tracker, edge_key, timeout_s) as session:  # closed before the cloud's is opened: both may be one board
        board = remote_vm(session, bundle.edge_so)
        made = check_arrays(board.run(arrays), specs, "output of the edge half on the board")
        edge_runs = board.time(arrays, repeats)
    host = Half(twin_library, fingerprint=bundle.fingerprint)
    twin = check_arrays(host.run(arrays), specs, "output of the edge half's twin")
    split = bundle.cloud_so is not None
    returned, cloud_runs = _cloud(bundle, made[0], tracker, cloud_key, repeats, timeout_s) if split else ([], [])
    checks, at = [], 1 if split else 0  # where the network's own outputs begin
    if split:
        checks += payload_checks(made[0], twin[0], bundle.manifest["payload"]["parts"], bundle.payload_bytes)
    for name, ours, theirs in zip(bundle.edge_outputs, made[at:], twin[at:], strict=True):
        checks.append(_check(name, ours.dtype.itemsize * 8, "value", ours, theirs))
    uplink_s, downlink_s = link_stages(bundle, bundle.link)
    measured = Timing(
        statistics.median(edge_runs), uplink_s, statistics.median(cloud_runs) if split else 0.0, downlink_s
    )
    link = Place(bundle.link.name, "the link's rate", "computed")
    places = {
        "edge": Place(bundle.targets["edge"], f"the board {edge_key}", "measured"),
        "cloud": place_here(bundle, "cloud", cloud_role),
        "uplink": link,
        "downlink": link,
    }
    if cloud_key is not None:
        places["cloud"] = Place(bundle.targets["cloud"], f"the server {cloud_key}", "measured")
    return MeasureResult(
        measured=measured,
        predicted=bundle.predicted,
        stages=compare(bundle.predicted, measured, places),
        checks=tuple(checks),
        outputs=bundle.named(
            dict(zip((*bundle.edge_outputs, *bundle.cloud_outputs), [*made[at:], *returned], strict=True))
        ),
        edge_runs_s=edge_runs,
        cloud_runs_s=cloud_runs,
    )


def random_inputs(bundle: Bundle, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal floats, integers over 0 to 127 (uint8: 0 to 255), fair booleans."""
    generator = np.random.default_rng(seed)
    return {spec.name: _random(spec, generator) for spec in bundle.inputs}


def payload_checks(
    board: np.ndarray, host: np.ndarray, parts: Sequence[Mapping[str, Any]], payload_bytes: int
) -> list[Check]:
    """Compare two payloads, uint8[payload_bytes], tensor by tensor."""
    check_layout(parts, payload_bytes)
    return [
        _check(part["tensor"], part["bits"], "value" if part["scale"] is None else "steps",
               unpack(board, part), unpack(host, part))
        for part in parts
    ]  # fmt: skip


def _cloud(
    bundle: Bundle, payload: np.ndarray, tracker: str, key: str | None, repeats: int, timeout_s: float
) -> tuple[list[np.ndarray], list[float]]:
    assert bundle.cloud_so is not None
    specs = outputs_named(bundle, bundle.cloud_outputs)
    if key is not None:
        with connect(tracker, key, timeout_s) as session:
            server = remote_vm(session, bundle.cloud_so)
            outputs = check_arrays(server.run([payload]), specs, "output of the cloud half")
            return outputs, server.time([payload], repeats)
    library = library_here(bundle, "cloud")
    half = Half(library, fingerprint=bundle.fingerprint)
    outputs = check_arrays(half.run([payload]), specs, "output of the cloud half")
    return outputs, measure_half(library, [payload], repeats)


def _random(spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
    dtype = dtype_of(spec)
    if dtype.kind in "iub":
        high = 2 if dtype.kind == "b" else 256 if dtype == np.uint8 else 128
        return generator.integers(0, high, spec.shape).astype(dtype)
    return generator.standard_normal(spec.shape).astype(dtype)


def _check(name: str, bits: int, unit: str, ours: np.ndarray, theirs: np.ndarray) -> Check:
    both_nan = np.isnan(ours) & np.isnan(theirs) if ours.dtype.kind == "f" else np.zeros(ours.shape, bool)
    differing = (ours != theirs) & ~both_nan
    largest = 0.0
    if differing.any():
        difference = np.abs(ours[differing].astype(np.float64) - theirs[differing].astype(np.float64))
        largest = float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max())
    return Check(name, int(bits), unit, largest, int(np.count_nonzero(differing)), ours.size)
