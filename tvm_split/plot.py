"""Predicted against measured seconds as a picture: what lies on the diagonal was predicted right.

matplotlib is an extra: `pip install 'tvm-split[plot]'`. No TVM.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_split.bundle_folder import check_writable
from tvm_split.errors import PlotError

SUFFIXES = (".png", ".svg")
#: relative errors whose lines are drawn beside the diagonal, and how
LINES = {0.0: "-", 0.1: "--", 0.25: ":"}
#: inches of one panel, and columns of the legend's names below all of them
PANEL, COLUMNS = 5.0, 4
INSTALL = "pip install 'tvm-split[plot]'"


@dataclass(frozen=True, slots=True)
class Pair:
    """What was predicted and measured of one thing, in seconds. group: the network or rule that gives its colour."""

    group: str
    predicted_s: float
    measured_s: float


def check_plot(path: Path) -> None:
    """What can be told before any work. PlotError: a suffix that is none of SUFFIXES, no such folder, no matplotlib.
    BundleError: a folder that cannot be written to."""
    if path.suffix.lower() not in SUFFIXES:
        raise PlotError(
            f"--plot {path}: the suffix is '{path.suffix}'; expected {' or '.join(SUFFIXES)}, which says what kind of "
            "picture it is"
        )
    if path.is_dir():
        raise PlotError(f"--plot {path}: that is a folder; give a file in it")
    if not path.absolute().parent.is_dir():
        raise PlotError(f"--plot {path}: there is no folder {path.parent}; make it, or give another name")
    check_writable(path, "--plot: no picture can be written at")
    _matplotlib()


def save_plot(path: Path, title: str, panels: Mapping[str, Iterable[Pair]]) -> None:
    """Write the picture: a panel for each name that has pairs, on two logarithmic axes of one range, with the diagonal
    and the lines of LINES; a group has one colour in all panels. Pairs with a number that is not above 0 have no place
    on such axes and are left out. PlotError when nothing is left, and as `check_plot`.
    """
    check_plot(path)
    drawn = {name: [pair for pair in pairs if _has_place(pair)] for name, pairs in panels.items()}
    drawn = {name: pairs for name, pairs in drawn.items() if pairs}
    if not drawn:
        raise PlotError(f"--plot {path}: nothing was both predicted and measured in {', '.join(panels) or 'it'}")
    figure_module = _matplotlib()
    figure = figure_module.Figure(figsize=(PANEL * len(drawn), PANEL + 1), layout="constrained")
    figure.suptitle(title)
    groups = list(dict.fromkeys(pair.group for pairs in drawn.values() for pair in pairs))
    colours = {group: f"C{i}" for i, group in enumerate(groups)} if len(groups) <= 10 else _many(groups)
    for axes, (name, pairs) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        _panel(axes, name, pairs, colours)
    marks: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        marks |= {label: handle for handle, label in zip(handles, labels, strict=True)}
    ordered = sorted(marks, key=lambda label: label not in colours)
    figure.legend([marks[label] for label in ordered], ordered, loc="outside lower center", ncols=COLUMNS, fontsize=8)
    figure.savefig(path, dpi=150)


def _panel(axes: Any, name: str, pairs: Sequence[Pair], colours: Mapping[str, Any]) -> None:
    low, high = _range(pairs)
    for error, style in LINES.items():
        for i, factor in enumerate(dict.fromkeys((1 + error, 1 - error))):
            label = None if i else f"\N{PLUS-MINUS SIGN}{error:.0%}" if error else "as predicted"
            axes.plot([low, high], [low * factor, high * factor], style, color="grey", linewidth=1, label=label)
    for group, own in _by_group(pairs):
        measured, predicted = [pair.measured_s for pair in own], [pair.predicted_s for pair in own]
        axes.scatter(measured, predicted, s=12, color=colours[group], alpha=0.7, label=group)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal", title=name,
             xlabel="measured, seconds", ylabel="predicted, seconds")  # fmt: skip


def _by_group(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    for group in dict.fromkeys(pair.group for pair in pairs):
        yield group, [pair for pair in pairs if pair.group == group]


def _range(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Limits of both axes, a little beyond all numbers."""
    every = [value for pair in pairs for value in (pair.predicted_s, pair.measured_s)]
    return min(every) / 1.5, max(every) * 1.5


def _has_place(pair: Pair) -> bool:
    return all(math.isfinite(value) and value > 0 for value in (pair.predicted_s, pair.measured_s))


def _many(groups: Sequence[str]) -> dict[str, Any]:
    """Colours of more groups than the usual ten: round the wheel."""
    wheel = importlib.import_module("matplotlib").colormaps["hsv"]
    return {group: wheel(i / len(groups)) for i, group in enumerate(groups)}


def _matplotlib() -> Any:
    """The part of it that needs no screen. PlotError that says how to install it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise PlotError(f"--plot needs matplotlib ({error}); {INSTALL}, or leave --plot out") from None
