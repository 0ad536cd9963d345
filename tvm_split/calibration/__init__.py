"""From one run over the float network to quantisers: statistics of tensors, ranges, weights, distortion, biases.

No TVM is imported here: a run is asked of a `LayerRunner`, all else is NumPy on small records.
"""
