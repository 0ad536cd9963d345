"""benchmarks/systolic.py: one shape compared with the simulator, and what counts as a difference."""

import pytest

from tvm_split.profile.layer_shape import LayerShape
from tvm_split.targets.systolic import SystolicArray


def test_a_shape_beside_the_simulator(script, tmp_path, monkeypatch):
    pytest.importorskip("scalesim")
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    systolic = script("systolic")
    array, shape = SystolicArray(12, 14, "ws", 108, 108, 108, 1e9), LayerShape(7, 7, 3, 3, 1, 1, groups=4)
    row = systolic.compare(shape, array, 100)
    assert (row["closed"], row["scalesim"]) == (4 * 85, 4 * 84) and "report" not in row
    row = systolic.compare(shape, array, 1000) | {"shape": {"groups": 4}}
    assert row["report"]["cycles"] == 84 and row["reads_off"] == 0
    assert row["off"] > systolic.MOST and not systolic.wrong(row)
    assert systolic.wrong(row | {"closed": 341 + 4})
