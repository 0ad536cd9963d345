"""Find and read targets and links by name, from the packaged folder and the user's own folders.

A folder holds `<target>.toml` and `links/<link>.toml`. Folders, in order: the packaged one, those named in the
environment variable TVM_SPLIT_TARGETS (separated as in PATH), `~/.config/tvm-split/targets` if it exists.
A name found in two folders is an error: which numbers made a plan must never depend on the order of folders.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_split.errors import TargetError
from tvm_split.plan.problem import Link, Radio
from tvm_split.targets.host import host
from tvm_split.targets.rates import FORMS, at_rate, is_rate, named_rate, parse_rate
from tvm_split.targets.spec import TargetSpec, check_fields, number, parse_target, text

ENVIRONMENT = "TVM_SPLIT_TARGETS"
PACKAGED = Path(__file__).resolve().parent
#: watts of the radio at the link's own rates; or the line that they follow from at any rate
WATTS = ("up_w", "down_w")
RADIO = ("up_j_per_bit", "down_j_per_bit", "radio_w")
LINK_REQUIRED = ("name", "description", "up_bits_per_s", "down_bits_per_s", "rtt_s")
LINK_FIELDS = (*LINK_REQUIRED, *WATTS, *RADIO, "sources")


def folders() -> tuple[Path, ...]:
    """Where targets are looked for, each folder once. TargetError when TVM_SPLIT_TARGETS names what is no folder."""
    found = [PACKAGED]
    for name in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise TargetError(f"{ENVIRONMENT} names '{name}', which is not a folder; create it or correct the variable")
        found.append(folder.resolve())
    own = Path("~/.config/tvm-split/targets").expanduser()
    if own.is_dir():
        found.append(own.resolve())
    return tuple(dict.fromkeys(found))


def target_names() -> tuple[str, ...]:
    """Names that `load_target` knows, sorted; "host" is among them. TargetError when two files share a name."""
    return tuple(sorted((*_index("."), "host")))


def link_names() -> tuple[str, ...]:
    """Names that `load_link` knows, sorted. TargetError when two files share a name."""
    return tuple(sorted(_index("links")))


def load_target(name_or_path: str | Path) -> TargetSpec:
    """The target of that name, or of that `.toml` file. "host" is this machine, read from its processor's facts.

    Raises TargetError: unknown name, unreadable file, and a field that is unknown, missing or out of range.
    """
    if str(name_or_path) == "host":
        _index(".")
        return host()
    path = _path(name_or_path, ".", "target", "")
    return parse_target(_read(path), path.name)


def load_link(name_or_path_or_rate: str | Path) -> Link:
    """The link of that name, of that `.toml` file, of that rate, or a named one at a rate (see rates.py).

    Bits there, bytes in the Link. Raises TargetError as `load_target` does.
    """
    wanted = str(name_or_path_or_rate)
    if is_rate(wanted):
        return parse_rate(wanted)
    if (parts := named_rate(wanted)) is not None:
        return at_rate(load_link(parts[0]), parts[1])
    path = _path(wanted, "links", "link", f"; or give a rate, such as {FORMS}")
    return parse_link(_read(path), path.name)


def parse_link(table: Mapping[str, Any], where: str) -> Link:
    """Check a link's table; `where` is the file's name in every message. Raises TargetError."""
    check_fields(table, LINK_FIELDS, LINK_REQUIRED, where)
    text(table, "description", where)
    watts = {name: float(number(table, name, where)) for name in WATTS if name in table}
    return Link(
        name=table["name"],
        up_bytes_per_s=number(table, "up_bits_per_s", where) / 8,
        down_bytes_per_s=number(table, "down_bits_per_s", where) / 8,
        rtt_s=float(number(table, "rtt_s", where, zero=True)),
        radio=_radio(table, where),
        **watts,
    )


def _radio(table: Mapping[str, Any], where: str) -> Radio | None:
    """The radio of a link's table; None when it states none, TargetError when it states a part of it, or watts too."""
    stated = [name for name in RADIO if name in table]
    if not stated:
        return None
    if missing := [name for name in RADIO if name not in table]:
        raise TargetError(f"{where}: {stated[0]} needs {missing[0]} as well; power is {RADIO[2]} + J a bit * bits/s")
    if both := [name for name in WATTS if name in table]:
        raise TargetError(f"{where}: {both[0]} follows from {', '.join(RADIO)}; leave one or the other out")
    up, down, base = (float(number(table, name, where, zero=True)) for name in RADIO)
    return Radio(up * 8, down * 8, base)


def _index(below: str) -> dict[str, Path]:
    """File of every name; TargetError when a name stands in two folders or is the built-in "host"."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / below).glob("*.toml")):
            if path.stem in found:
                raise TargetError(f"'{path.stem}' is defined in {found[path.stem]} and in {path}; rename one of them")
            if below == "." and path.stem == "host":
                raise TargetError(f"'host' is defined in {path}, but that name means this machine; rename the file")
            found[path.stem] = path
    return found


def _path(name_or_path: str | Path, below: str, thing: str, also: str) -> Path:
    wanted = str(name_or_path)
    if wanted.endswith(".toml"):
        return Path(wanted).expanduser()
    known = _index(below)
    if wanted in known:
        return known[wanted]
    names = sorted(known) if thing == "link" else sorted((*known, "host"))
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    raise TargetError(f"unknown {thing} '{wanted}'{hint}; known are {', '.join(names)}; or give a .toml file{also}")


def _read(path: Path) -> Mapping[str, Any]:
    """The file's table, whose name must be the file's own."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}; give the path of a .toml file") from None
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is not TOML: {error}; correct the file") from None
    if "name" in table and table["name"] != path.stem:
        raise TargetError(f"{path}: name is {table['name']!r}; expected the file's own name, '{path.stem}'")
    return table
