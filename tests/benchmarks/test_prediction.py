"""benchmarks/prediction.py on records that are made up: its tables, and its picture of the same numbers."""

import json
import statistics
from dataclasses import replace

import pytest

from tests.profile.made_records import halves, layers
from tvm_split.profile.records import Records


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
