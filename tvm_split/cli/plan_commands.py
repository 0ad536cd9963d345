"""`tvm-split plan` and `tvm-split compile`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_split.cli.command import Progress, SplitCommand, log_to_stderr
from tvm_split.cli.options import ALL, OUTPUT, PARETO, REQUEST, check_plot, plot_option, request_of, shared

if TYPE_CHECKING:
    from tvm_split.workflow import PlanResult

MODEL_HELP = """MODEL is an .onnx, .tflite or .pt2 file, or zoo:NAME (see `tvm-split zoo`)."""


@click.command(cls=SplitCommand, epilog=MODEL_HELP, short_help="Show the table of answers; build nothing.")
@shared(REQUEST)
@click.option("--save-costs", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Write the layer times used as edge.json and cloud.json, to edit and give to --costs. Files that "
                   "are there are not written over.")  # fmt: skip
@shared((PARETO, ALL, *OUTPUT))
def plan(save_costs: Path | None, top: int, as_json: bool, explain: bool, quiet: bool, **given: Any) -> None:
    """Price edge-only, cloud-only and the best splits of MODEL in one table, and say which is soonest and why.

    Nothing is built. Times are predictions; `measure` and `run` tell the true ones.
    """
    if explain:
        log_to_stderr()
    from tvm_split import workflow
    from tvm_split.bundle_folder import check_writable

    if save_costs is not None:
        there = [name for name in ("edge.json", "cloud.json") if (save_costs / name).exists()]
        if there:
            raise click.UsageError(
                f"--save-costs {save_costs}: {' and '.join(there)} are there, perhaps edited; give another folder"
            )
        check_writable(save_costs / "edge.json", "--save-costs: no file can be written at")
    result = workflow.plan(request_of(given), Progress(quiet))
    if save_costs is not None:
        from tvm_split.profile.queueing import without_load

        save_costs.mkdir(parents=True, exist_ok=True)
        for name, costs in (("edge", result.problem.edge), ("cloud", without_load(result.problem.cloud))):
            (save_costs / f"{name}.json").write_text(json.dumps(costs.to_json(), indent=1) + "\n")
    show(result, top, as_json)


@click.command(
    "compile", cls=SplitCommand, epilog=MODEL_HELP, short_help="Choose the best answer and compile its halves."
)
@shared(REQUEST)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="BUNDLE",
    help="The folder to write: two libraries, manifest.json, plan.json. It appears only when complete.",
)
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")  # fmt: skip
@click.option("--measure", "measured", is_flag=True,
              help="Compile the finalists and time their halves whole, on the board at --tracker with --edge-key, or "
                   "here with --edge host; choose by the clock. A cloud machine that has no --cloud-key and is not "
                   "this one stays as predicted.")  # fmt: skip
@click.option("--finalists", type=click.IntRange(1), default=3, show_default=True,
              help="With --measure: how many, at the least.")  # fmt: skip
@plot_option("With --measure: draw what was predicted of the finalists' halves against what was timed.")
@shared(OUTPUT)
def compile_command(
    out: Path, force: bool, measured: bool, finalists: int, plot: Path | None, top: int, as_json: bool,
    explain: bool, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Plan MODEL as `plan` does, then compile the chosen answer's halves into the folder BUNDLE."""
    if explain:
        log_to_stderr()
    if out.exists() and not force:
        raise click.UsageError(f"{out} exists already; give another -o, or --force to replace the bundle")
    if plot is not None and not measured:
        raise click.UsageError("--plot draws what --measure times; give --measure too")
    check_plot(plot)
    from tvm_split import workflow

    request = request_of({**given, "measure": finalists if measured else 0})
    made = workflow.compile(request, out, Progress(quiet), force=force)
    show(made.plan, top, as_json)
    if made.finals and not as_json:
        from tvm_split import report, report_finals

        report_finals.print_finals(made.finals, report.console())
    memory, *over = memory_lines(made.bundle.manifest["edge_memory"], made.plan.problem.memory_bytes)
    for line in over:
        click.echo(line, err=True)
    if not as_json:
        click.echo(f"\nwrote {made.bundle.path}:")
        for line in files_of(made.bundle.path):
            click.echo(f"  {line}")
        click.echo(memory)
        click.echo(f"try it here: tvm-split run {made.bundle.path} --input FILE")
    if plot is not None:
        from tvm_split.finals import pairs_of
        from tvm_split.plot import save_plot

        save_plot(plot, f"{made.plan.graph.name}: finalists' halves", pairs_of(made.finals))


def show(result: PlanResult, top: int, as_json: bool) -> None:
    """The result on stdout, as JSON or as table and sentences; warnings on stderr."""
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        from tvm_split.plan_json import to_json

        click.echo(json.dumps(to_json(result), indent=1, allow_nan=False))
        return
    from tvm_split import report
    from tvm_split.report_fronts import lists

    out = report.console()
    report.print_plan(result, out, top)
    for listed in lists(result):
        out.print()
        out.print(listed)


def memory_lines(memory: Mapping[str, int], limit_bytes: int | None) -> list[str]:
    """The edge half's memory as compiled, beside the plan's."""
    from tvm_split.units import size

    made = memory["compiled_bytes"]
    parts = ", ".join(f"{what} {size(memory[f'{what}_bytes'])}" for what in ("weights", "storages", "scratch", "input"))
    lines = [f"edge memory as compiled: {size(made)} ({parts}); planned {size(memory['planned_bytes'])}"]
    if limit_bytes is not None and made > limit_bytes:
        less = size(limit_bytes * limit_bytes // made).replace(" ", "")
        lines.append(
            f"warning: the edge half takes {size(made)}, more than the {size(limit_bytes)} of --memory; plan again "
            f"with --memory {less}"
        )
    return lines


def files_of(folder: Path) -> list[str]:
    """Name and size of each file of a bundle."""
    from tvm_split.units import size

    return [f"{path.name}  {size(path.stat().st_size)}" for path in sorted(folder.iterdir())]
