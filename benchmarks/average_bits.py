"""Bits of each layer's weights for a given average: the least sum of distortions, all layers at once.

    least  sum_i D_i(b_i)   so that   sum_i s_i b_i <= average * sum_i s_i

with s_i the weights of layer i: a knapsack with one choice a layer (P. Sinha, A. Zoltners, Operations Research 1979),
solved exactly by HiGHS. The Lagrangian of `shoham_gersho` stops at the first step that does not fit, which loses much
where one layer has a quarter of all weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm_split.errors import PlanError
from tvm_split.plan.programme import Programme, Sum

TIME_LIMIT_S = 10.0


def bits_for_average(
    elements: Mapping[str, int], distortion: Mapping[str, Mapping[int, float]], average: float
) -> dict[str, int]:
    """A width of `distortion` for each layer of `elements` (how many weights it has), at most `average` bits a weight.

    A width counts as at least what a wider one does: less at fewer bits is noise. PlanError: not even the narrowest
    widths have so few bits on average; or none was found in `TIME_LIMIT_S`.
    """
    programme, total, spent = Programme(), Sum(), Sum()
    chosen: dict[tuple[str, int], int] = {}
    for name, count in elements.items():
        most = 0.0
        for bits in sorted(distortion[name], reverse=True):
            most = max(most, distortion[name][bits])
            chosen[name, bits] = variable = programme.variable(whole=True)
            total.add(variable, most)
            spent.add(variable, count * bits)
        programme.row([(chosen[name, bits], 1.0) for bits in distortion[name]], 1.0, 1.0)
    programme.at_most(spent, average * sum(elements.values()))
    least = sum(count * min(distortion[name]) for name, count in elements.items())
    found = programme.minimise(total, {}, TIME_LIMIT_S)
    if found.values is None and not found.proven:
        raise PlanError(f"no widths of {average:g} bits on average were found in {TIME_LIMIT_S:g} s")
    if found.values is None:
        raise PlanError(
            f"weights of {average:g} bits on average were asked for; expected at least "
            f"{least / max(sum(elements.values()), 1):g}, which the narrowest widths take"
        )
    return {name: bits for (name, bits), variable in chosen.items() if found.values[variable] > 0.5}
