"""Can a half run on this machine? Its ELF header tells the architecture, the manifest the processor. No TVM."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tvm_split.bundle import Bundle
from tvm_split.comparison import Place
from tvm_split.errors import BundleError
from tvm_split.plan.problem import Side
from tvm_split.targets.host import HOST, machine

SIDES: tuple[Side, Side] = ("edge", "cloud")
#: e_machine of an ELF header -> the architecture as targets name it
ELF_MACHINES = {62: "x86_64", 183: "aarch64"}


def role_here(bundle: Bundle, side: Side, on_device: bool = False) -> str:
    """Which of the side's halves to load here: its twin before the device's own, which alone `on_device` allows.

    The half of the target "host" is its own device's here, and comes before its twin, which other machines run.
    BundleError when the bundle has none, or when none of them can run on this machine, and why.
    """
    twin = () if on_device else (f"{side}_host",)
    order: tuple[str, ...] = (side, *twin) if bundle.targets[side] == HOST else (*twin, side)
    roles = [role for role in order if bundle.half(role) is not None]
    if not roles:
        raise BundleError(f"{bundle.path} has no {side} half; compile it again")
    reasons = []
    for role in roles:
        reason = obstacle(bundle.path / bundle.manifest["halves"][role], bundle.compiled_for(role).features)
        if reason is None:
            return role
        reasons.append(reason)
    advice = "leave out --device, or run this on the device" if on_device else "compile the bundle on this machine"
    raise BundleError(f"the {side} half cannot run here: {'; '.join(reasons)}; {advice}")


def library_here(bundle: Bundle, side: Side, on_device: bool = False) -> Path:
    """The file of `role_here`."""
    return bundle.path / str(bundle.manifest["halves"][role_here(bundle, side, on_device)])


def sides(bundle: Bundle) -> tuple[Side, ...]:
    """The sides that have something to compute."""
    return SIDES if bundle.cloud_so is not None else SIDES[:1]


def place_here(bundle: Bundle, side: Side, role: str | None) -> Place:
    """Where a side's time comes from when its half `role` runs on this machine; None when it has no half.

    A prediction for the target "host" is one for its own half on this machine.
    """
    target = bundle.targets[side]
    if role is None:
        return Place(target, "nothing to run", "measured")
    what = "the device's own half" if role == side else "the twin"
    place = f"this machine ({what} for {bundle.compiled_for(role).mcpu or bundle.compiled_for(role).arch})"
    return Place(target, place, "measured" if target == HOST and role == side else "elsewhere")


def obstacle(path: Path, features: Iterable[str] = ()) -> str | None:
    """Why this machine cannot run the library, None when nothing speaks against it."""
    arch = architecture(path)
    if arch not in (None, machine()):
        return f"{path.name} is compiled for {arch} and this machine is {machine()}"
    own = processor_features()
    missing = sorted(set(features) - own) if own else []
    if missing:
        return f"{path.name} needs a processor with {', '.join(missing)}, which this one lacks"
    return None


def architecture(path: Path) -> str | None:
    """What a library is compiled for; None when its header does not tell."""
    with path.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return ELF_MACHINES.get(number, f"ELF machine {number}")


def processor_features() -> frozenset[str]:
    """Features of this processor as Linux names them; none when it does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()
