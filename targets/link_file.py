"""A link as TOML, in the form of `targets/links/*.toml`: what `load_link` reads, with a source for each number."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping

from tvm_split.plan.problem import Link
from tvm_split.targets.load import RADIO, parse_link


def link_toml(link: Link, description: str, sources: Mapping[str, str], comments: tuple[str, ...] = ()) -> str:
    """The text of a link's file; it must be called as the link. Rates are whole bits, seconds have microseconds.

    sources: of up_bits_per_s, down_bits_per_s and rtt_s, and of the radio's three numbers if the link has one. Raises
    TargetError for numbers that no link has.
    """
    values = {
        "up_bits_per_s": f"{round(link.up_bytes_per_s * 8)}",
        "down_bits_per_s": f"{round(link.down_bytes_per_s * 8)}",
        "rtt_s": f"{link.rtt_s:.6f}",
    }
    if link.radio is not None:
        radio = (link.radio.up_j_per_byte / 8, link.radio.down_j_per_byte / 8, link.radio.base_w)
        values |= {name: repr(value) for name, value in zip(RADIO, radio, strict=True)}
    lines = [f"# {_one_line(comment)}" for comment in comments]
    lines += ["", f"name = {_quoted(link.name)}", f"description = {_quoted(description)}"]
    for name, value in values.items():
        lines += [f"# {_one_line(sources[name])}", f"{name} = {value}"]
    lines += ["", "[sources]", *(f"{name} = {_quoted(_one_line(sources[name]))}" for name in values)]
    made = "\n".join(lines).lstrip("\n") + "\n"
    parse_link(tomllib.loads(made), f"{link.name}.toml")
    return made


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON's escapes are among its own, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
