"""The figures that benchmarks/packed_weights.py writes, of one small layer."""

import json
import sys

import pytest


def test_every_layer_has_a_row(script, tmp_path, monkeypatch, capsys):
    packed = script("packed_weights")
    name = "EfficientNet-Lite0 depthwise 3x3 14x14 480"
    monkeypatch.setattr(packed, "LAYERS", {name: packed.LAYERS[name]})
    monkeypatch.setattr(packed, "SECONDS", 0.01)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")  # else the script sets it for all tests after this one
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["packed_weights.py", "--bits", "2", "--json", str(path)])
    packed.main()
    found = json.loads(path.read_text())
    assert (found["benchmark"], found["bits"]) == ("packed_weights", 2) and found["mcpu"]
    [row] = found["rows"]
    assert row["layer"] == name and row["int8_s"] > 0
    assert row["ratio"] == pytest.approx(row["packed_s"] / row["int8_s"])
    assert f"packed / int8 {row['ratio']:.2f}" in capsys.readouterr().out
