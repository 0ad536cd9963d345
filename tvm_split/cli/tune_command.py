"""`tvm-split tune`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_split.cli.command import BUG, INTERRUPTED, Failure, Progress, SplitCommand
from tvm_split.cli.kinds import Real
from tvm_split.cli.options import JSON, MODEL, QUIET, WINOGRAD, database_option, shared, target_option
from tvm_split.cli.plan_commands import MODEL_HELP

#: kernels that cannot be tuned, named in one sentence
NAMED = 8

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tvm_split.tune.tuner import TuneResult


@click.command(cls=SplitCommand, epilog=MODEL_HELP, short_help="Search for faster schedules of the costliest layers.")
@shared(MODEL)
@target_option("What to tune for: a name of `tvm-split targets`, or a .toml file.")
@click.option("--tracker", metavar="HOST:PORT", help="RPC tracker of boards to tune on. Lab networks only.")
@click.option("--key", metavar="KEY", help="The boards' key at the tracker.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Schedules to try for each layer, at 1 to 10 s each. Those in the database count.",
)
@click.option("--layers", type=click.IntRange(1), metavar="N", help="Tune the N costliest layers; equal ones are one.")
@click.option(
    "--share",
    type=Real(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    metavar="SHARE",
    help="Without --layers: tune the costliest layers that take this share of the time together.",
)
@WINOGRAD
@database_option("The folder of trials and decisions. Without it, `tuned` in $TVM_SPLIT_CACHE or ~/.cache/tvm-split.")
@JSON
@QUIET
def tune(
    model: str, shapes: tuple[tuple[str, tuple[int, ...]], ...], preprocess: str | None, target: str,
    tracker: str | None, key: str | None, trials: int, layers: int | None, share: float, winograd: bool,
    database: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Try variations of our schedules for the costliest layers of MODEL, on this machine or on boards.

    A schedule is used only where it measured faster than ours, side by side, with equal results. The trials so far are
    kept when this is interrupted or killed, and the next run goes on from there. `compile`, `plan` and `bench` use the
    schedules with --database DIR.
    """
    if (tracker is None) != (key is None):
        raise click.UsageError("--tracker and --key belong together: the tracker's address and the boards' key there")
    from tvm_split.tune import tuner
    from tvm_split.tune.measuring import Board

    board = None if tracker is None or key is None else Board(tracker, key)
    request = tuner.TuneRequest(
        model, target, database, trials, layers, share, dict(shapes), preprocess, board, winograd
    )
    result = tuner.result_for(request)
    try:
        with Bar(quiet) as bar:
            tuner.tune(request, bar, result)
    except KeyboardInterrupt:
        show(result, model, as_json)
        done = f"{len(result.rows)} of {result.wanted} layers are decided"
        raise Failure(f"interrupted; {done}. The same command goes on from here", INTERRUPTED) from None
    show(result, model, as_json)
    if result.crashes and not any(row.decision.ours_s for row in result.rows):
        raise Failure("no layer could be measured; the warnings say why", BUG)


class Bar:
    """A progress bar on a terminal; elsewhere a line a layer."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        console = Console(stderr=True)
        self._lines = Progress(quiet)
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials"),
            TimeElapsedColumn(), console=console, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._lines(text)

    def at(self, name: str, tried: int, wanted: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=wanted)
            if self._bar.disable:
                self._lines(f"tuning {name}: {tried} of {wanted} trials are there")
        self._bar.update(self._tasks[name], completed=tried)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._bar.stop()


def show(result: TuneResult, model: str, as_json: bool) -> None:
    """The result on stdout; crashes on stderr."""
    for crash in result.crashes:
        click.echo(f"warning: {crash}", err=True)
    if as_json:
        click.echo(json.dumps(to_json(result), indent=1, allow_nan=False))
        return
    from rich.table import Table

    from tvm_split import report

    table = Table("layer", "calls", "ours ms", "tuned ms", "ours / tuned", "trials", "failed", "unequal", "decision")
    for row in result.rows:
        found = row.decision
        ratio = found.ours_s / found.tuned_s if found.ours_s and found.tuned_s else None
        table.add_row(
            row.kernel.layers[0], str(len(row.kernel.layers)), _ms(found.ours_s), _ms(found.tuned_s),
            "-" if ratio is None else f"{ratio:.2f}", str(found.tried), str(found.failed), str(found.unequal),
            ("tuned" if found.is_tuned else f"ours: {found.reason}") + (" (before)" if row.kept else ""),
        )  # fmt: skip
    out = report.console()
    out.print(table)
    won = [row for row in result.rows if row.decision.is_tuned]
    saved = sum(row.seconds * (1 - (row.decision.tuned_s or 0) / (row.decision.ours_s or 1)) for row in won)
    part = f", {saved / result.total_s:.1%} of the network's time saved" if result.total_s else ""
    out.print(f"a faster schedule was found for {len(won)} of {len(result.rows)} kernels{part}")
    if result.fixed:
        out.print(fixed_line(result))
    for line in advice(result, model) if won else ():
        out.print(line)


def fixed_line(result: TuneResult) -> str:
    """The kernels that cannot be tuned, by their first layers, costliest first."""
    names = [row.kernel.name for row in result.fixed]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    share = sum(row.seconds for row in result.fixed) / result.total_s if result.total_s else 0
    return f"cannot be tuned ({share:.0%} of the time): {', '.join(names[:NAMED])}{more}"


def advice(result: TuneResult, model: str) -> list[str]:
    """The commands that use the schedules: the target stands on the side that it is for."""
    from tvm_split.targets import load_target
    from tvm_split.targets.host import machine

    spec = load_target(result.target)
    given = f"{shlex.quote(model)} --database {shlex.quote(str(result.database))}"
    given += "" if result.winograd else " --no-winograd"
    sides = ("edge", "cloud") if spec.kind == "both" else (spec.kind,)
    target = shlex.quote(result.target)
    lines = [f"tvm-split compile {given} --{side} {target} -o BUNDLE" for side in sides]
    if spec.arch == machine():
        lines.append(f"tvm-split bench {given}" + ("" if result.target == "host" else f" --target {target}"))
    return ["use them:", *(f"  {line}" for line in lines)]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3f}"


def to_json(result: TuneResult) -> dict[str, Any]:
    """What --json prints. Seconds are of one call."""
    return {
        "version": 1,
        "database": str(result.database),
        "target": result.target,
        "network_s": result.total_s,
        "layers": [
            {
                "layers": list(row.kernel.layers), "kernel": row.kernel.key, "tuned": row.decision.is_tuned,
                "reason": row.decision.reason, "ours_s": row.decision.ours_s, "tuned_s": row.decision.tuned_s,
                "trials": row.decision.tried, "failed": row.decision.failed, "unequal": row.decision.unequal,
                "decided_before": row.kept,
            }
            for row in (*result.fixed, *result.rows)
        ],
        "crashes": list(result.crashes),
    }  # fmt: skip
