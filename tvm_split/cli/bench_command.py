"""`tvm-split bench`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tvm_split.cli.command import Progress, SplitCommand
from tvm_split.cli.options import DATABASE, JSON, NETWORK, QUIET, WINOGRAD, shared, target_option
from tvm_split.cli.plan_commands import MODEL_HELP


@click.command(cls=SplitCommand, epilog=MODEL_HELP, short_help="Time a network here beside TVM's default and others.")
@shared(NETWORK)
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    help="int8: quantise MODEL first with onnxruntime's static quantiser (QDQ, per channel), unless it is quantised, "
    "and time our float32 network too. Without it, MODEL as it is.",
)
@target_option("What to compile for; it must run on this machine.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Threads of each engine; without it, every core that the process may use.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Rounds. In each, every engine has a turn of about 0.1 s of calls. Times are medians of all calls.",
)
@click.option(
    "--no-default",
    "default",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave TVM's default pipeline out: its networks may take seconds a call.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Samples: the first is run, and up to 8 calibrate int8. Without it, random numbers.",
)
@WINOGRAD
@DATABASE
@JSON
@QUIET
def bench(
    model: str, precision: str | None, target: str, threads: int | None, repeats: int, default: bool, data: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...], winograd: bool, database: Path | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Time MODEL on this machine as tvm-split compiles it, as TVM does by default, and in onnxruntime.

    They run by turns, each in a process of its own, on the same input. Then each kernel alone: its time, its GFLOP/s,
    and its share of what this machine is measured to do at most.
    """
    from tvm_split.bench.loaded import BenchRequest
    from tvm_split.bench.network import bench as run

    request = BenchRequest(model, precision, target, threads, repeats, default, dict(shapes), data, database, winograd)
    result = run(request, Progress(quiet))
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1, allow_nan=False))
        return
    from tvm_split import report
    from tvm_split.bench.tables import engines_table, layers_table, sentences

    out = report.console()
    out.print(engines_table(result))
    out.print(layers_table(result))
    for line in sentences(result):
        out.print(line)
