"""What pack-weights makes of the convolutions that choose-winograd marked."""

from __future__ import annotations

import numpy as np
from tvm import relax, te

from tvm_split.passes.bindings import static_shape
from tvm_split.passes.kernels.conv2d_winograd import BLOCK, conv2d_winograd, pack_winograd
from tvm_split.passes.pack_others import Packer
from tvm_split.passes.schedule.bands import Blocks, band_of


def winograd(packer: Packer, call: relax.Call, weight: np.ndarray) -> relax.Expr:
    """A convolution of 3x3, NHWC and HWIO, with stride 1."""
    padding = [int(n) for n in call.attrs.padding]
    images, height, width, channels = static_shape(call) or ()
    blocks = Blocks(images, -(-height // BLOCK), -(-width // BLOCK), weight.shape[2], channels)
    tile, rows = band_of(packer.machine, blocks)
    literal = packer.literal(pack_winograd(weight, tile.channels))

    def conv2d(x: te.Tensor, w: te.Tensor) -> te.Tensor:
        return conv2d_winograd(x, w, channels, tile, rows, padding)

    return packer.computed(conv2d, call.args[0], literal)
