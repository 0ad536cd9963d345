"""benchmarks/prediction.py on records that are made up: its tables, and its picture of the same numbers."""

import json
import os
import statistics
from dataclasses import asdict, replace

import pytest

from tests.profile.made_records import alone_s, halves, layers
from tvm_split.bundle import Bundle
from tvm_split.profile import composition, cost_model
from tvm_split.profile.collect import device_facts
from tvm_split.profile.records import Records
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import load_target


def test_tables_and_picture_are_of_the_same_numbers(script, tmp_path, monkeypatch, capsys):
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    for side in ("edge", "cloud"):
        records = Records(tmp_path / f"{side}.records.jsonl", {"target": side})
        for record in layers(180):
            records.add(record)
        for half in halves(24):
            records.add_half(replace(half, side=side))
    prediction = script("prediction")
    figures = []
    right = matplotlib_figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib_figure.Figure, "savefig", lambda figure, *a, **m: (figures.append(figure), right(figure, *a, **m))
    )
    options = ["--minutes", "0", "--folder", str(tmp_path), "--json", str(tmp_path / "p.json")]
    networks = [f"net{i}" for i in range(4)]
    monkeypatch.setattr("sys.argv", ["prediction.py", *networks, *options, "--plot", str(tmp_path / "p.svg")])
    prediction.main()
    assert "regret of the answer" in capsys.readouterr().out and (tmp_path / "p.svg").exists()
    panels = {axes.get_title(): axes for axes in figures[0].axes}
    assert list(panels) == ["layers, edge", "halves, edge", "layers, cloud", "halves, cloud", "answers"]
    found = json.loads((tmp_path / "p.json").read_text())
    dots = {dots.get_label(): dots.get_offsets() for dots in panels["layers, edge"].collections}
    assert list(dots) == ["cost model", "roofline", "line through operations"]
    for rule, points in dots.items():
        table = found["sides"]["edge"][f"layers, {rule}"]
        assert len(points) == table["count"]
        assert statistics.median(abs(y / x - 1) for x, y in points) == pytest.approx(table["median"])
    assert {dots.get_label() for dots in panels["halves, cloud"].collections} == set(networks)
    assert sum(len(dots.get_offsets()) for dots in panels["answers"].collections) == len(found["rows"])


def test_without_a_network_is_without_what_is_near_it_and_what_it_shares(script):
    tables = script("prediction_tables")
    made = layers(6, networks=2)  # net0: k0, k2, k4
    near = replace(made[1], key="near", network="net0", sample="3")
    shared = replace(made[3], sample="7")  # near net1, and equal to a layer of net0's half
    halves_of = [replace(halves(1)[0], network="net0", keys=("k0", "k3")),
                 replace(halves(1)[0], network="net1", keys=("k1", "k5"))]  # fmt: skip
    measured = tables.Measured([*made[:3], shared, *made[4:], near], halves_of, {})
    others = measured.without("net0")
    assert [record.key for record in others.layers] == ["k1", "k5"] and others.halves == halves_of[1:]
    assert {record.key for record in measured.layers_of("net0")} == {"k0", "k3"}


def test_answers_are_planned_compiled_and_run(script, tmp_path):
    """With models that know nothing: predictions are whatever they are, the rest is real."""
    use_threads()  # the pool of this process stays on all cores, though the plan is made on one
    runs, tables = script("prediction_runs"), script("prediction_tables")
    device = device_facts(load_target("host"), 1, None)
    own = [replace(half, network="wakeword-embedding") for half in halves(1)]
    measured = tables.Measured(layers(60), [*halves(24), *own], device)
    model = cost_model.train(measured.layers), composition.fit(halves(24), alone_s())[0]
    errors = {what: {"median": 0.5, "p90": 1.0} for what in ("layers", "halves")}

    def both(value):
        return {"edge": value, "cloud": value}

    rows = runs.ran(
        both(measured), both({"wakeword-embedding": model}), both(errors), both("host"), ["wakeword-embedding"], [20.0],
        max(os.sched_getaffinity(0)), tmp_path,
    )  # fmt: skip
    (row,) = rows
    bundle = Bundle.open(tmp_path / "bundle-wakeword-embedding-20")
    assert row["predicted"] == asdict(bundle.predicted)
    assert row["measured_s"] == pytest.approx(sum(row["measured"].values())) and row["measured"]["edge_s"] > 0
    assert json.loads((bundle.path / "plan.json").read_text())["interval"] is not None  # as of models alone
