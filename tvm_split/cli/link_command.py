"""`tvm-split link`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvm_split.cli.command import Progress, SplitCommand
from tvm_split.cli.kinds import Address, Real
from tvm_split.cli.options import JSON, QUIET, shared

if TYPE_CHECKING:
    from tvm_split.plan.problem import Radio
    from tvm_split.runtime.link_probe import Measured

PORT = 9377
VERSION = 1


OPTIONS = (
    click.argument("address", metavar="[HOST[:PORT]]", type=Address(PORT), required=False),
    click.option("--serve", type=click.IntRange(0, 65535), is_flag=False, flag_value=PORT, metavar="[PORT]",
                 help=f"Be the other end, until Ctrl-C, on this port ({PORT}; 0 takes a free one)."),
    click.option("--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS",
                 help="With --serve: the address to listen on; 0.0.0.0 for all of this machine's. It has no password."),
    click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.toml",
                 help="Write the link's description here, for --link FILE.toml."),
    click.option("--force", is_flag=True, help="Replace a file that is there already."),
    click.option("--radio", metavar="LINK",
                 help="Put this link's radio into the description, for --objective energy: 3g, 4g, wifi or a file."),
    click.option("--seconds", type=Real(0.1, 120), default=5.0, show_default=True,
                 help="About how long to measure each direction; a link of long round trips takes longer."),
    click.option("--max-spread", type=Real(0, min_open=True), default=0.3, show_default=True,
                 metavar="SHARE",
                 help="A rate is noise when the quartiles of its transfers are further apart than this share of it; it "
                      "is measured three times, then refused."),
    JSON,
    QUIET,
)  # fmt: skip


@click.command(cls=SplitCommand, short_help="Measure a real link, for --link.")
@shared(OPTIONS)
def link(
    address: tuple[str, int] | None, serve: int | None, bind: str, out: Path | None, force: bool, radio: str | None,
    seconds: float, max_spread: float, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure the link from this machine, the edge, to HOST, the cloud: round trip, rates up and down, path MTU.

    On the cloud machine runs `tvm-split link --serve --bind 0.0.0.0`. What is measured is printed as a link's
    description, or written with --out.
    """
    if (address is None) == (serve is None):
        raise click.UsageError("give HOST[:PORT] to measure the link to it, or --serve to be the other end")
    if not bind:
        raise click.UsageError("--bind is empty; give an address of this machine, or 0.0.0.0 for all of them")
    if serve is not None:
        _serve(bind, serve, as_json, quiet)
        return
    assert address is not None
    if out is not None:
        _check_out(out, force)
    from tvm_split.runtime.link_probe import measure_link
    from tvm_split.targets.measured_link import describe

    antenna = None if radio is None else _radio(radio)
    found = measure_link(*address, seconds, max_spread, Progress(quiet))
    text = describe(found, "measured" if out is None else out.stem, antenna, radio)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"version": VERSION, **found.to_json(), "toml": text}, indent=1))
        return
    _show(found)
    if out is None:
        click.echo(f"\nas a link's description (--out FILE.toml writes it):\n\n{text}", nl=False)
    else:
        click.echo(f"\nwrote {out}; plan with it: tvm-split plan MODEL --link {out}")


def _serve(bind: str, port: int, as_json: bool, quiet: bool) -> None:
    """Serve until Ctrl-C, which is the way to end it, and so no error."""
    import socket

    from tvm_split.errors import LinkDownError
    from tvm_split.runtime.link_server import LinkServer

    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        listener = socket.create_server((bind, port), family=family, backlog=16)
    except OSError as error:
        raise LinkDownError(
            f"cannot listen on {bind}:{port} ({error.strerror or error}); give another port (--serve PORT, 0 for a "
            "free one) or an address of this machine (--bind)"
        ) from None
    with listener:
        found = listener.getsockname()[1]
        if as_json:
            click.echo(json.dumps({"version": VERSION, "bind": bind, "port": found}))
        else:
            click.echo(f"listening on {bind}:{found}; from the edge: tvm-split link HOST:{found}. Ctrl-C stops.")
        say = Progress(quiet)
        try:
            LinkServer(listener, say).serve()
        except KeyboardInterrupt:
            say("stopped")


def _check_out(out: Path, force: bool) -> None:
    if out.suffix != ".toml":
        raise click.UsageError(f"--out {out}: a link's file ends in .toml")
    if out.exists() and not force:
        raise click.UsageError(f"{out} exists already; give another --out, or --force to replace it")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}; create it")


def _radio(name: str) -> Radio:
    """The radio of a link. TargetError when it has none."""
    from tvm_split.errors import TargetError
    from tvm_split.targets import load_link

    found = load_link(name).radio
    if found is None:
        raise TargetError(
            f"link '{name}' (--radio) does not state how its radio's power follows the rate; 3g, 4g, wifi do"
        )
    return found


def _show(found: Measured) -> None:
    from tvm_split import report
    from tvm_split.units import rate, seconds, size

    rows = [("round trip", seconds(found.rtt_s), f"{found.rtt_spread:.0%}", f"{found.pings} small messages")]
    for name, each in (("rate up", found.up), ("rate down", found.down)):
        how = f"{each.transfers} transfers of {size(each.size_bytes)}"
        rows.append((name, rate(each.bytes_per_s), f"{each.spread:.0%}", how))
    mtu = "unknown" if found.path_mtu_bytes is None else f"{found.path_mtu_bytes} bytes"
    rows.append(("path MTU", mtu, "", "as this system found it"))
    report.console().print(report.table(f"to {found.peer}", ("", "median", "spread", "of"), rows))
