"""The weights of layers, rounded to few bits with regard to what their outputs lose, and what their biases get back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_split.calibration.bias import bias_correction
from tvm_split.calibration.layer_inputs import BUDGET_BYTES, Moments, gather_inputs
from tvm_split.calibration.second_order import damped, second_order
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_readings import Reading
from tvm_split.passes.round_weights import Rounded
from tvm_split.quantizer import Quantizer


def round_layers(
    runner: LayerRunner,
    readings: Mapping[str, Reading],
    batches: Sequence[Mapping[str, np.ndarray]],
    weight_bits: Mapping[str, int],
    held: Mapping[str, Quantizer],
    budget_bytes: int = BUDGET_BYTES,
) -> dict[str, Rounded]:
    """For `RoundWeights`: the weights of each layer in its bits, and the shift of its bias.

    runner, readings: of one float network (`passes.layer_readings`). held: tensor -> its quantiser. A layer in
    `weight_bits` that has no reading, or whose products are beyond the budget, is left to quantize-layers, which takes
    the nearest codes. PlanError and DataError as `second_order` and `gather_inputs`.
    """
    wanted = {name: reading for name, reading in readings.items() if name in weight_bits}
    moments = gather_inputs(runner, wanted, batches, held, budget_bytes)
    return {name: rounded_weights(wanted[name], one, weight_bits[name]) for name, one in moments.items()}


def rounded_weights(reading: Reading, moments: Moments, bits: int) -> Rounded:
    """The layer's weights as codes times scales, of `bits` bits, one scale an output channel.

    A bias takes up the mean of what the outputs lose, so only what varies is made small; without one all is.
    """
    rows = reading.rows()
    codes, scales = second_order(rows, bits, damped(moments.covariances() if reading.biased else moments.second()))
    values = codes.astype(np.float32) * scales[..., np.newaxis]
    return Rounded(reading.from_rows(values), mean_lost(rows, values, moments) if reading.biased else None)


def mean_lost(rows: np.ndarray, values: np.ndarray, moments: Moments) -> np.ndarray:
    """E (W - Wq) x, for each output channel, (G * O,). rows, values: W and Wq, (G, O, K)."""
    groups, outputs, width = rows.shape
    flat = (groups * outputs, width)
    return bias_correction(rows.reshape(flat), values.reshape(flat), moments.means.reshape(-1), "OI", groups)
