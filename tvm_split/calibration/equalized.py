"""Cross-layer equalisation where it helps: weights of layers balanced, if they lose less by few bits then.

equalize-layers changes no float result (its factors are powers of two), but what weights lose when they are quantised:
one scale for each output channel serves weights better that are of one size. Whether they are is measured.
"""

from __future__ import annotations

import numpy as np
import tvm

from tvm_split.calibration.weights import weight_distortion
from tvm_split.passes.bindings import log
from tvm_split.passes.layer_weights import layer_weights


def better_of(plain: tvm.IRModule, equalized: tvm.IRModule, bits: int) -> tvm.IRModule:
    """Of two modules of layers that compute the same the one whose weights lose less at `bits`; `plain` if equal."""
    losses = [relative_distortion(mod, bits) for mod in (plain, equalized)]
    verdict = "balanced" if losses[1] < losses[0] else "left as they are"
    log.info(
        "equalize-layers: at %d bits weights lose %.4g of their squares as they are, %.4g when balanced: %s",
        bits, *losses, verdict,
    )  # fmt: skip
    return equalized if losses[1] < losses[0] else plain


def relative_distortion(mod: tvm.IRModule, bits: int) -> float:
    """Squared error of each layer's weights in relation to their squares, the mean of all layers; 0 without any."""
    found = [
        weight_distortion(each.array, each.weight_axis, bits) / mean
        for each in layer_weights(mod).values()
        if (mean := float(np.square(each.array, dtype=np.float64).mean()))
    ]
    return sum(found) / max(len(found), 1)
