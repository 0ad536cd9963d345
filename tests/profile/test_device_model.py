import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.profile.made_records import alone_s, halves, layers
from tvm_split.errors import CostError
from tvm_split.profile.device_model import DeviceModel, fit, summary
from tvm_split.profile.records import Records
from tvm_split.profile.source import model_in

DEVICE = {"target": "host", "threads": 1, "kernels": "ab12"}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    records = Records(folder / "host.jsonl", DEVICE)
    for record in layers(60):
        records.add(record)
    for half in halves(12):
        records.add_half(half)
    fit(records, DEVICE, "2026-01-02").save(folder / "host.json")
    return folder / "host.json"


def test_says_what_it_was_fitted_to_and_how_far_off_it_was(path):
    model = DeviceModel.load(path)
    assert (model.device, model.date, model.fitted_to) == (DEVICE, "2026-01-02", {"layers": 60, "halves": 12})
    assert 0 <= model.errors["layers"]["median"] <= model.errors["layers"]["p90"]
    assert 0 < model.errors["halves"]["median"] < model.errors["layers"]["p90"]
    assert model.layers.seconds(layers(5)) == DeviceModel.load(path).layers.seconds(layers(5))


def test_without_halves_a_half_is_the_sum_of_its_layers(tmp_path):
    records = Records(tmp_path / "host.jsonl", DEVICE)
    for record in layers(60):
        records.add(record)
    model = fit(records, DEVICE)
    (half,) = halves(1)
    assert model.errors["halves"] is None
    assert model.composition.half_s(half, alone_s()) == pytest.approx(sum(alone_s()[key] for key in half.keys))


def test_noise_is_not_fitted_to_and_a_half_of_a_layer_without_a_time_is_left_out(tmp_path):
    records = Records(tmp_path / "host.jsonl", DEVICE)
    for record in layers(61):
        records.add(replace(record, spread=0.5) if record.key == "k3" else record)
    for half in halves(12):
        records.add_half(half)
    records.add_half(replace(halves(1)[0], keys=("k0", "nobody's")))
    assert fit(records, DEVICE).fitted_to == {"layers": 60, "halves": 12}


def test_a_model_of_another_kernel_set_is_refused(path):
    with pytest.raises(CostError, match="kernels is 'ab12', expected 'cd'"):
        DeviceModel.load(path).check({"kernels": "cd"}, "the cost model")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "x"}, "no device model"), ({"version": 7}, "version 7"),
     ({"layers": []}, r"the field layers is \[\]; expected dict"),
     ({"composition": {"scale": -1}}, "the composition of"), ({"layers": {"rules": []}}, "profile the device anew")],
)  # fmt: skip
def test_a_damaged_model_is_refused_by_name(path, tmp_path, change, words):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CostError, match=rf"other\.json.*{words}"):
        DeviceModel.load(other)


def test_a_file_of_costs_is_told_from_a_model(path, tmp_path):
    other = tmp_path / "costs.json"
    other.write_text('{"version": 1, "target": "host", "source": "x", "layer_s": {}, "provenance": {}}')
    assert model_in(other) is None and model_in(tmp_path / "none.json") is None
    assert model_in(path).date == "2026-01-02"


def test_summary_takes_sizes_of_errors():
    assert summary([-0.5, 0.1, 0.2]) == {"median": 0.2, "p90": 0.5}
