"""The quantiser of each tensor that is held as integers, one for each set of tensors that are the same codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce

from tvm_split.calibration.ranges import Choice, best_range, range_by
from tvm_split.calibration.statistics import Statistics


def held_choices(
    statistics: Mapping[str, Statistics], bits: Mapping[str, int], groups: Iterable[frozenset[str]],
    method: str | None = None,
) -> dict[str, Choice]:  # fmt: skip
    """For each tensor in `bits` its range and quantiser: the method's (`ranges.METHODS`), or the least error of all.

    groups: sets of tensors with one quantiser (`passes.same_codes`), disjoint: their values count together, and the
    widest of their widths holds for all. KeyError when a tensor has no statistics.
    """
    group_of = {name: group for group in groups for name in group}
    found: dict[frozenset[str], Choice] = {}
    for name in bits:
        group = group_of.get(name, frozenset({name}))
        if group not in found:
            members = [member for member in bits if member in group]
            joined = reduce(Statistics.merge, (_without_channels(statistics[member]) for member in members))
            width = max(bits[member] for member in members)
            found[group] = best_range(joined, width) if method is None else range_by(method, joined, width)
    return {name: found[group_of.get(name, frozenset({name}))] for name in bits}


def _without_channels(statistics: Statistics) -> Statistics:
    """Tensors of one group may have different channels."""
    return statistics if statistics.channel_totals is None else replace(statistics, channel_totals=None)
