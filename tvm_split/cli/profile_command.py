"""`tvm-split profile`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvm_split.cli.command import INTERRUPTED, Failure, Progress, SplitCommand
from tvm_split.cli.kinds import Cores, Real
from tvm_split.cli.options import JSON, QUIET, check_plot, plot_option, target_option

if TYPE_CHECKING:
    from tvm_split.profile.collect import Outcome
    from tvm_split.profile.device_model import DeviceModel

#: layers that were too noisy, named in the text
NAMED = 3


@click.command(cls=SplitCommand, short_help="Time layers on a device, and fit what predicts any network's times.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@target_option(
    "What is profiled: this machine, or what the boards are; a name of `tvm-split targets`, or a .toml file."
)
@click.option("--tracker", metavar="HOST:PORT", help="RPC tracker of the boards. Lab networks only.")
@click.option("--key", metavar="KEY", help="The boards' key at the tracker.")
@click.option("--minutes", type=Real(0, min_open=True), default=20.0, show_default=True,
              help="How long to time in this run; what was timed before is not timed again.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Threads of this machine's kernels. [default: one a core]")
@click.option("--cores", type=Cores(), metavar="0,1", help="Time on these cores of this machine only. [default: all]")
@click.option(
    "--tuned",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Learn from the trials of a folder that `tvm-split tune` wrote for this target, too: of the MODELs' "
    "layers on floats. May be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.json",
              help="The model. What was timed is kept beside it as FILE.records.jsonl, from which the next run of the "
                   "same command goes on.")  # fmt: skip
@plot_option("Draw predicted against measured layers and halves of networks held back.")
@JSON
@QUIET
def profile(
    models: tuple[str, ...], target: str, tracker: str | None, key: str | None, minutes: float, threads: int | None,
    cores: tuple[int, ...] | None, tuned: tuple[Path, ...], out: Path, plot: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Time the layers of the MODELs (without any: of all the zoo's networks), their layers in other sizes, and whole
    halves, on this machine or on all boards with KEY at once; fit a cost model to them, and write it.

    `plan` and `compile` take it with `--costs EDGE.json,CLOUD.json`.
    """
    if (tracker is None) != (key is None):
        raise click.UsageError("--tracker and --key belong together: the tracker's address and the boards' key there")
    if key is not None and threads is not None:
        raise click.UsageError("--threads is for this machine; a board's RPC server has its own (TVM_NUM_THREADS)")
    if key is not None and cores is not None:
        raise click.UsageError("--cores is for this machine; start a board's RPC server on some of its cores (taskset)")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}; make it, or give another name")
    if out.exists() and not _is_model(out):
        raise click.UsageError(f"--out {out} is there and is no device model; give another name")
    check_plot(plot)
    from tvm_split import zoo
    from tvm_split.profile import collect, device_model
    from tvm_split.profile.rpc import connect_all
    from tvm_split.profile.source import WAIT_S
    from tvm_split.targets import load_target

    spec, say = load_target(target), Progress(quiet)
    networks = list(models) or [f"zoo:{name}" for name in zoo.names() if name not in collect.NOT_IMPORTED]
    path, wanted = out.with_suffix(".records.jsonl"), collect.Plan(tuned=tuned)
    try:
        if tracker is not None and key is not None:
            with ExitStack() as held:
                sessions = [held.enter_context(each) for each in connect_all(tracker, key, WAIT_S)]
                say(f"{len(sessions)} boards" if len(sessions) > 1 else "one board")
                records, outcome = collect.collect(
                    spec, networks, path, minutes, remotes=sessions, key=key, say=say, plan=wanted
                )
        else:
            records, outcome = collect.collect(
                spec, networks, path, minutes, threads=threads, cores=cores, say=say, plan=wanted
            )
    except KeyboardInterrupt:
        raise Failure(f"interrupted; {path} holds what was timed. The same command goes on from here", INTERRUPTED) \
            from None  # fmt: skip
    say(f"fitting {len(records.found)} layers and {len(records.halves)} halves")
    model, pairs = device_model.fit_with_pairs(records, records.device)
    model.save(out)
    show(model, outcome, out, as_json)
    if plot is not None:
        from tvm_split.plot import save_plot

        save_plot(plot, f"{spec.name}: networks held back", pairs)


def _is_model(path: Path) -> bool:
    from tvm_split.profile.file_kinds import is_device_model

    try:
        return is_device_model(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return False


def show(model: DeviceModel, outcome: Outcome, out: Path, as_json: bool) -> None:
    """What was fitted and how well, on stdout; what was not timed, on stderr."""
    facts = {
        "model": str(out), "device": dict(model.device), "fitted_to": dict(model.fitted_to),
        "errors": dict(model.errors), "refused": outcome.refused, "complete": outcome.complete,
    }  # fmt: skip
    for text in outcome.refused[:NAMED]:
        click.echo(f"warning: {text}", err=True)
    if len(outcome.refused) > NAMED:
        click.echo(f"warning: and {len(outcome.refused) - NAMED} more that could not be timed", err=True)
    if not outcome.complete:
        click.echo(f"warning: the time was too short for all of {', '.join(outcome.cut)}; the same command goes on",
                   err=True)  # fmt: skip
    if as_json:
        click.echo(json.dumps(facts, indent=1, allow_nan=False))
        return
    click.echo(f"{out}: {model.device['target']}, fitted to {model.fitted_to['layers']} layers and "
               f"{model.fitted_to['halves']} halves")  # fmt: skip
    for what, errors in model.errors.items():
        if errors is None:
            click.echo(f"{what}: too few were timed; a half is taken for the sum of its layers")
        else:
            click.echo(f"{what} of networks held back: median error {errors['median']:.1%}, nine of ten within "
                       f"{errors['p90']:.1%}")  # fmt: skip
