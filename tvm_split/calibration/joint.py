"""Ranges chosen together, by what the quantised network loses instead of by each tensor's own error.

After Y. Nahshan et al., "Loss aware post-training quantization" (LAPQ), 2019: the tensors' errors interact, so a first
pass picks one criterion for all tensors by the network's loss, and a second goes on from there tensor by tensor. LAPQ's
criteria are the errors to the power p; here they are all methods of `ranges`, and its Powell search over the clipping
points is a coordinate descent over the methods' ranges, which needs no more than a few runs a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tvm_split.calibration.ranges import Choice
from tvm_split.quantizer import Quantizer

#: what the network loses with these quantisers: any number, less is better; given by the caller, who can run it
Loss = Callable[[Mapping[str, Choice]], float]


def joint_choices(found: Sequence[Mapping[str, Choice]], loss: Loss, sweeps: int = 0) -> dict[str, Choice]:
    """A range for each tensor, of those found: never worse, by `loss`, than the best of the ways to find them.

    found: for each way the choice of each tensor; all of the same tensors. First each way for all tensors: as many
    calls of `loss` as there are different ones. Then `sweeps` times over the tensors, those of the largest error in
    relation to their range first, one range replaced by another way's where that loses less: at most len(found) calls
    a tensor; it ends early when a sweep changes nothing. Equal losses keep what was there first, so the same loss gives
    the same choices.
    """
    firsts: dict[tuple[Quantizer, ...], Mapping[str, Choice]] = {}
    for ways in found:
        firsts.setdefault(tuple(choice.quantizer for choice in ways.values()), ways)
    different = list(firsts.values())
    if len(different) == 1:
        return dict(different[0])
    losses = [loss(ways) for ways in different]
    least = min(losses)
    chosen = dict(different[losses.index(least)])
    for _ in range(sweeps):
        changed = False
        for name in sorted(chosen, key=lambda name: _relative(chosen[name]), reverse=True):
            tried = {chosen[name].quantizer}
            for ways in different:
                if ways[name].quantizer in tried:
                    continue
                tried.add(ways[name].quantizer)
                now = loss({**chosen, name: ways[name]})
                if now < least:
                    chosen[name], least, changed = ways[name], now, True
        if not changed:
            break
    return chosen


def _relative(choice: Choice) -> float:
    """Squared error in relation to the range's own squared width; 0 for a tensor that never varied."""
    width = choice.high - choice.low
    return choice.mse / (width * width) if width else 0.0
