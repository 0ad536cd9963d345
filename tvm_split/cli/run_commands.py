"""`tvm-split run` and `tvm-split measure`: a bundle's halves at work, predicted beside measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_split.cli.command import Progress, SplitCommand
from tvm_split.cli.kinds import Real
from tvm_split.cli.options import JSON
from tvm_split.errors import BundleError

if TYPE_CHECKING:
    import numpy as np

    from tvm_split.bundle import Bundle
    from tvm_split.measure import MeasureResult
    from tvm_split.runtime.local import RunResult

BUNDLE = click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
INPUT_HELP = (
    ".npz with one array for each input, .npy, or a picture (for a network that takes the raw uint8 frame: scaled and "
    "cropped). The first sample is run."
)
VERSION = 1


@click.command(cls=SplitCommand, short_help="Run both halves on this machine over a shaped link.")
@BUNDLE
@click.option(
    "--input", "-i", "source", type=click.Path(path_type=Path), required=True, metavar="FILE", help=INPUT_HELP
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Timed runs, after one that is not counted. Times are medians.",
)
@click.option("--link", metavar="LINK", help="Shape to this link instead of the plan's; see `tvm-split links`.")
@click.option("--unshaped", is_flag=True, help="Do not slow the link down: how fast are both halves alone?")
@click.option("--device", "on_device", is_flag=True,
              help="Run the devices' own halves, not their twins: both can run on this machine.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.npz",
              help="Write the outputs, one array for each by name.")  # fmt: skip
@JSON
def run(
    folder: Path, source: Path, repeats: int, link: str | None, unshaped: bool, on_device: bool, save: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run BUNDLE on this machine: both halves as two processes, over a link shaped to the plan's rate.

    Each half is its twin for this machine, so its time is this machine's; only halves for the target "host" run
    themselves. On real boards: `tvm-split measure`.
    """
    if link and unshaped:
        raise click.UsageError("--link and --unshaped exclude each other; give one of them")
    from tvm_split.bundle import Bundle
    from tvm_split.runtime.local import run_bundle
    from tvm_split.targets import load_link

    bundle = Bundle.open(folder)
    chosen = load_link(link) if link else None
    inputs = read_input(bundle, source)
    where = "loopback" if unshaped else f"a link shaped to {(chosen or bundle.link).name}"
    path = "; nothing goes over the link" if bundle.cloud_so is None else f" over {where}"
    Progress()(f"running {bundle.kind} {'once' if repeats == 1 else f'{repeats} times'}{path}")
    result = run_bundle(bundle, inputs, repeats=repeats, link=chosen, shaped=not unshaped, on_device=on_device)
    if save is not None:
        save_outputs(save, result.outputs)
    show(result, {}, as_json)


@click.command(cls=SplitCommand, short_help="Time both halves on real boards, over TVM's RPC.")
@BUNDLE
@click.option(
    "--tracker",
    required=True,
    metavar="HOST:PORT",
    help="The RPC tracker: python3 -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190",
)
@click.option(
    "--edge-key",
    required=True,
    metavar="KEY",
    help="The key the edge board registered with: python3 -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY",
)
@click.option("--cloud-key", metavar="KEY", help="The key of the cloud machine; without it, the cloud half runs here.")
@click.option(
    "--input",
    "-i",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"{INPUT_HELP} Without it, random numbers: enough for times.",
)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Timed runs. Times are medians.")
@click.option("--timeout", "timeout_s", type=Real(min=0, min_open=True), default=60.0, show_default=True,
              metavar="SECONDS", help="How long to wait for a board that is busy.")  # fmt: skip
@JSON
def measure(
    folder: Path, tracker: str, edge_key: str, cloud_key: str | None, source: Path | None, repeats: int,
    timeout_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Time BUNDLE's halves as wholes on real boards, and compare what the board computes with its twin here.

    The link's times are computed from the plan's link. TVM's RPC has no passwords: use it in a trusted network only.
    """
    from tvm_split.bundle import Bundle
    from tvm_split.measure import measure_bundle

    bundle = Bundle.open(folder)
    inputs = None if source is None else read_input(bundle, source)
    Progress()(f"measuring {bundle.kind} on {edge_key} at {tracker}")
    result = measure_bundle(bundle, tracker, edge_key, cloud_key, repeats, inputs, timeout_s)
    checks = [
        {"tensor": c.tensor, "bits": c.bits, "unit": c.unit,
         "max_difference": c.max_difference if math.isfinite(c.max_difference) else None,
         "differing": c.differing, "elements": c.elements}
        for c in result.checks
    ]  # fmt: skip
    runs = {"edge_runs_s": result.edge_runs_s, "cloud_runs_s": result.cloud_runs_s}
    show(result, {"checks": checks, **runs}, as_json)


def read_input(bundle: Bundle, source: Path) -> dict[str, np.ndarray]:
    """The first sample of the file, for the bundle's inputs; DataError says what was expected."""
    from tvm_split.data import load_batches
    from tvm_split.graph import Graph, Tensor

    tensors = tuple(Tensor(spec.name, spec.shape, spec.dtype) for spec in bundle.inputs)
    names = tuple(tensor.name for tensor in tensors)
    return dict(load_batches(source, Graph("inputs", tensors, (), names, names))[0])


def save_outputs(path: Path, outputs: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as .npz under exactly this name; nothing is left of it when the disk is full.

    A link is followed. BundleError for what is there and no regular file: a device would be replaced by a file.
    """
    from tvm_split.runtime.edge import save_arrays

    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BundleError(f"--save {path}: this is no regular file; give another name")
    scratch = path.with_name(f".{path.name}.part")
    try:
        save_arrays(scratch, outputs)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def show(result: RunResult | MeasureResult, extra: dict[str, Any], as_json: bool) -> None:
    from tvm_split import report, report_run

    if as_json:
        described = [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "top5": report_run.top_classes(array)}
            for name, array in result.outputs.items()
        ]
        times = {"predicted": result.predicted.to_json(), "measured": result.measured.to_json()}
        stages = [stage.to_json() for stage in result.stages]
        click.echo(json.dumps({"version": VERSION, **times, "stages": stages, "outputs": described, **extra}, indent=1))
        return
    out = report.console()
    for name, array in result.outputs.items():
        out.print(report_run.output_line(name, array))
    out.print(report_run.comparison(result.stages))
    for line in report_run.comparison_notes(result.stages):
        out.print(line)
    for check in extra.get("checks", ()):
        out.print(report_run.check_line(check))
