"""benchmarks/licence_plate.py up to the networks: what calibrates them. tests/end_to_end/test_plate.py runs both."""

import numpy as np


def test_frames_have_a_plate_and_crops_are_of_it(script):
    frames, crops = script("licence_plate").rendered(3, seed=5)
    assert (
        frames.shape == (3, 320, 320, 3) and crops.shape == (3, 48, 320, 3) and frames.dtype == crops.dtype == "uint8"
    )
    assert len({each.tobytes() for each in frames}) == 3, "each has its own text, place and background"
    blue = np.array(script("plates").BLUE)
    for crop in crops:
        near = np.abs(crop.astype(int) - blue).max(axis=2) < 30
        assert near[:, :100].mean() > 0.3, "the plate fills the left of the crop"
        assert (crop[:, -20:] == 128).all(), "and grey its right"
    again, _ = script("licence_plate").rendered(3, seed=5)
    np.testing.assert_array_equal(again, frames)
