"""Ranges chosen together, by what the quantised network loses instead of by each tensor's own error.

After Y. Nahshan et al., "Loss aware post-training quantization" (LAPQ), 2019: the tensors' errors interact, so a first
pass picks one criterion for all tensors by the network's loss, and a second goes on from there tensor by tensor. LAPQ's
criteria are the errors to the power p; here they are all methods of `ranges`, and its Powell search over the clipping
points is a coordinate descent over the methods' ranges, which needs no more than a few runs a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tvm_split.calibration.ranges import METHODS, Choice, range_by
from tvm_split.calibration.statistics import Statistics

#: what the network loses with these quantisers: any number, less is better; given by the caller, who can run it
Loss = Callable[[Mapping[str, Choice]], float]


def joint_choices(
    statistics: Mapping[str, Statistics],
    bits: Mapping[str, int],
    loss: Loss,
    methods: Iterable[str] = tuple(METHODS),
    sweeps: int = 0,
) -> dict[str, Choice]:
    """A range for each tensor of `bits`, at its width: never worse, by `loss`, than one method for all of them.

    First each method for all tensors: as many calls of `loss` as there are methods. Then `sweeps` times over the
    tensors, those of the largest error in relation to their range first, one range replaced by another method's where
    that loses less: at most len(methods) calls a tensor; it ends early when a sweep changes nothing. Equal losses keep
    what was there, so the same loss gives the same choices. KeyError for an unknown method, or a tensor without
    statistics.
    """
    found = {
        method: {name: range_by(method, statistics[name], width) for name, width in bits.items()} for method in methods
    }
    losses = {method: loss(choices) for method, choices in found.items()}
    start = min(losses, key=losses.__getitem__)
    chosen, least = dict(found[start]), losses[start]
    order = sorted(chosen, key=lambda name: _relative(chosen[name], statistics[name]), reverse=True)
    for _ in range(sweeps):
        changed = False
        for name in order:
            tried = {chosen[name].quantizer}
            for choices in found.values():
                if choices[name].quantizer in tried:
                    continue
                tried.add(choices[name].quantizer)
                now = loss({**chosen, name: choices[name]})
                if now < least:
                    chosen[name], least, changed = choices[name], now, True
        if not changed:
            break
    return chosen


def _relative(choice: Choice, statistics: Statistics) -> float:
    """Squared error in relation to the values' own squared width; 0 for a tensor that never varied."""
    width = statistics.high - statistics.low
    return choice.mse / (width * width) if width else 0.0
