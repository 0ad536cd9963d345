"""A measured link as a description that `--link` takes: when, where and how it was measured are its sources."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tvm_split.plan.problem import Link, Radio
from tvm_split.targets.link_file import link_toml
from tvm_split.targets.load import RADIO
from tvm_split.units import rate, seconds, size

if TYPE_CHECKING:
    from tvm_split.runtime.link_probe import Measured, Rate


def describe(
    found: Measured, name: str, radio: Radio | None = None, radio_of: str | None = None, when: datetime | None = None
) -> str:
    """The TOML of a link of that name. radio_of: the link whose radio it is; when: now, unless told."""
    date = (when or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    where = f"measured {date}, from {socket.gethostname()} to {found.peer}"
    sources = {
        "up_bits_per_s": f"{where}: {_how(found.up)}",
        "down_bits_per_s": f"{where}: {_how(found.down)}",
        "rtt_s": f"{where}: median of {found.pings} small messages, spread {found.rtt_spread:.0%}",
    } | {field: f"as the link '{radio_of}' has it; not measured" for field in RADIO}
    mtu = "is not known" if found.path_mtu_bytes is None else f"was {found.path_mtu_bytes} bytes"
    comments = (
        f"Measured by `tvm-split link` on {date}. Spreads are the quartiles' distance over the median.",
        f"The path's MTU {mtu}.",
    )
    link = Link(name, found.up.bytes_per_s, found.down.bytes_per_s, found.rtt_s, radio=radio)
    words = f"{rate(link.up_bytes_per_s)} up, {rate(link.down_bytes_per_s)} down, {seconds(link.rtt_s)}"
    return link_toml(link, f"Measured to {found.peer}: {words}", sources, comments)


def _how(found: Rate) -> str:
    return f"median of {found.transfers} transfers of {size(found.size_bytes)}, spread {found.spread:.0%}"
