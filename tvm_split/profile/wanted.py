"""What a profile is to time, and what it could not. No TVM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to time of each network. integers: its layers and edge halves on 8-bit integers as well, where the device
    has a rate of those. cuts: how many, the whole network one of them. sides: the halves to time at each. tuned:
    folders of `tvm-split tune`, whose trials of these networks' kernels are added."""

    integers: bool = True
    cuts: int = 4
    sides: tuple[str, ...] = ("edge", "cloud")
    tuned: tuple[Path, ...] = ()


EVERYTHING = Plan()


@dataclass
class Outcome:
    """What a profile could not time: layers and halves in words. cut: networks for which the time was too short."""

    refused: list[str]
    cut: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.cut
