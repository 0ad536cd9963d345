"""Predicted against measured as a picture: what is drawn where, and what cannot be."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from click.testing import CliRunner

from tests.profile.made_records import halves, layers
from tests.profile.small_network import save
from tvm_split import plot
from tvm_split.cli import cli
from tvm_split.errors import PlotError, SplitError
from tvm_split.plot import Pair, check_plot, save_plot
from tvm_split.profile import collect as collecting
from tvm_split.profile.collect import Outcome
from tvm_split.profile.device_model import fit_with_pairs
from tvm_split.profile.records import Records

PAIRS = {
    "layers": [Pair("net a", 1e-3, 1.1e-3), Pair("net b", 2e-4, 2e-4), Pair("net a", 5e-3, 4e-3)],
    "halves": [Pair("net b", 0.3, 0.2)],
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    made = []

    class Kept(matplotlib_figure.Figure):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(matplotlib_figure, "Figure", Kept)
    return made


def test_every_pair_is_a_point_in_the_colour_of_its_group_between_the_lines(figures, tmp_path):
    save_plot(tmp_path / "p.png", "two nets", PAIRS)
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == ["layers", "halves"]
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in figure.axes)
    left, right = figure.axes
    assert sorted(tuple(xy) for dots in left.collections for xy in dots.get_offsets()) == [
        (2e-4, 2e-4), (1.1e-3, 1e-3), (4e-3, 5e-3)
    ]  # fmt: skip
    colour = {dots.get_label(): tuple(dots.get_facecolor()[0]) for dots in left.collections}
    assert colour["net a"] != colour["net b"] == tuple(right.collections[0].get_facecolor()[0])
    slopes = sorted(line.get_ydata()[0] / line.get_xdata()[0] for line in left.lines)
    assert slopes == pytest.approx([0.75, 0.9, 1.0, 1.1, 1.25])
    assert left.get_xlim() == left.get_ylim() and left.get_xlim()[0] < 2e-4 and left.get_xlim()[1] > 5e-3


def test_the_suffix_says_which_kind_of_picture(tmp_path):
    pytest.importorskip("matplotlib")
    save_plot(tmp_path / "p.png", "t", PAIRS)
    save_plot(tmp_path / "p.SVG", "t", PAIRS)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert ET.parse(tmp_path / "p.SVG").getroot().tag.endswith("svg")


def test_more_networks_than_usual_colours_have_each_their_own(figures, tmp_path):
    save_plot(tmp_path / "p.svg", "t", {"layers": [Pair(f"net{i}", 1e-3 * (i + 1), 1e-3) for i in range(23)]})
    colours = [tuple(dots.get_facecolor()[0]) for dots in figures[0].axes[0].collections]
    assert len(set(colours)) == 23


def test_what_has_no_place_on_logarithmic_axes_is_left_out(figures, tmp_path):
    save_plot(tmp_path / "p.svg", "t", {"edge": [Pair("a", 0.0, 1.0), Pair("a", 1.0, 2.0)], "cloud": []})
    assert [axes.get_title() for axes in figures[0].axes] == ["edge"]
    assert len(figures[0].axes[0].collections[0].get_offsets()) == 1
    with pytest.raises(PlotError, match="nothing was both predicted and measured in edge, cloud"):
        save_plot(tmp_path / "q.svg", "t", {"edge": [Pair("a", 0.0, 0.0)], "cloud": []})
    assert not (tmp_path / "q.svg").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("p.jpg", r"the suffix is '\.jpg'; expected \.png or \.svg"), ("p", "the suffix is ''"),
     ("none/file/p.svg", "no folder"), ("nowhere/p.svg", "there is no folder")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told_before_any_work(tmp_path, name, says):
    (tmp_path / "none").write_text("")
    with pytest.raises(SplitError, match=says):
        check_plot(tmp_path / name)


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name.partition('.')[0]}'")

    monkeypatch.setattr(plot.importlib, "import_module", missing)
    with pytest.raises(PlotError, match=r"needs matplotlib .*pip install 'tvm-split\[plot\]'"):
        check_plot(tmp_path / "p.svg")


def test_nothing_else_needs_matplotlib():
    """It is an extra: what draws no picture imports no module of it."""
    code = (
        "import sys, tvm_split.cli.options, tvm_split.finals, tvm_split.profile.device_model; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def records(tmp_path):
    made = Records(tmp_path / "m.records.jsonl", {"target": "host"})
    for record in layers(60):
        made.add(record)
    for half in halves(12):
        made.add_half(half)
    return made


def test_pairs_are_what_a_model_s_errors_are_of_and_not_in_its_file(records, tmp_path):
    model, pairs = fit_with_pairs(records, records.device)
    for what, count in (("layers", 60), ("halves", 12)):
        errors = sorted(abs(pair.predicted_s / pair.measured_s - 1) for pair in pairs[what])
        assert len(errors) == count and errors[int(0.9 * count)] == pytest.approx(model.errors[what]["p90"])
    assert Counter(pair.group for pair in pairs["halves"]) == Counter(half.network for half in records.halves)
    assert sorted(pair.measured_s for pair in pairs["layers"]) == sorted(r.seconds for r in records.found.values())
    model.save(tmp_path / "m.json")
    assert "pairs" not in json.loads((tmp_path / "m.json").read_text())


def test_profile_draws_layers_and_halves(figures, records, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "collect", lambda *_, **more: (records, Outcome([])))
    picture = tmp_path / "p.svg"
    done = CliRunner().invoke(cli, ["profile", "--out", str(tmp_path / "m.json"), "--plot", str(picture), "-q"])
    assert done.exit_code == 0, done.output
    assert [axes.get_title() for axes in figures[0].axes] == ["layers", "halves"] and picture.exists()
    monkeypatch.setattr(collecting, "collect", lambda *_, **more: pytest.fail("timed before the suffix was looked at"))
    done = CliRunner().invoke(cli, ["profile", "--out", str(tmp_path / "m.json"), "--plot", str(tmp_path / "p.pdf")])
    assert done.exit_code == 2 and "expected .png or .svg" in done.output


def test_compile_draws_the_finalists_that_were_timed(figures, tmp_path):
    model, picture = save(tmp_path), tmp_path / "p.svg"
    options = ["--edge", "host", "--cloud", "host", "--link", "100mbit", "--finalists", "2", "-q"]
    done = CliRunner().invoke(
        cli, ["compile", str(model), "-o", str(tmp_path / "b"), *options, "--measure", "--plot", str(picture)]
    )
    assert done.exit_code == 0, done.output
    assert {axes.get_title() for axes in figures[0].axes} <= {"edge", "cloud"} and picture.exists()
    labels = {dots.get_label() for axes in figures[0].axes for dots in axes.collections}
    assert len(labels) >= 2 and all(label in done.stdout for label in labels)
    done = CliRunner().invoke(cli, ["compile", str(model), "-o", str(tmp_path / "c"), "--plot", str(picture)])
    assert done.exit_code == 2 and "give --measure too" in done.output
