"""From one run over the float network to quantisers: statistics of tensors, ranges, weights, distortion, biases.

All but `network` and `output_network` is NumPy on small records; a run over samples is asked of a `LayerRunner`.
"""
