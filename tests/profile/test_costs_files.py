"""Costs from files: of another network or target they are refused; edited ones reach the edge's integers too."""

import json
from pathlib import Path

import pytest

from tvm_split import workflow
from tvm_split.costs import Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.profile.costs_file import costs_in
from tvm_split.profile.roofline import integer_roofline, roofline
from tvm_split.profile.source import costs_of, integer_costs
from tvm_split.request import Request
from tvm_split.targets import load_target

EDGE, CLOUD = load_target("raspberry-pi-4"), load_target("c5.xlarge")
TENSORS = tuple(Tensor(name, (1, 64), "float32") for name in ("x", "p", "q"))
GRAPH = Graph("net", TENSORS, (
    Layer("p", "matmul", ("x",), ("p",), weight_bytes=10**6, flops=10**7),
    Layer("q", "matmul", ("p",), ("q",), weight_bytes=3 * 10**6, flops=7 * 10**6),
), ("x",), ("q",))  # fmt: skip


def saved(path: Path, costs: Costs, factor: float = 1.0, **changed: object) -> Path:
    data = costs.to_json()
    data["layer_s"] = {name: factor * seconds for name, seconds in data["layer_s"].items()}
    path.write_text(json.dumps({**data, **changed}))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return saved(tmp_path / "edge.json", roofline(GRAPH, EDGE)), saved(tmp_path / "cloud.json", roofline(GRAPH, CLOUD))


def integers_of(files: tuple[Path, Path]) -> dict[str, float]:
    edge, _, said = costs_of(files, GRAPH, None, EDGE, CLOUD)
    assert said == []
    found = integer_costs(files, edge, None, GRAPH, EDGE)
    assert found is not None
    return dict(found.layer_s)


def test_a_file_that_was_not_edited_gives_the_integers_of_the_data_sheet(files: tuple[Path, Path]) -> None:
    sheet = integer_costs("roofline", roofline(GRAPH, EDGE), None, GRAPH, EDGE)
    assert sheet is not None
    assert integers_of(files) == sheet.layer_s == integer_roofline(GRAPH, EDGE).layer_s


def test_edited_times_reach_the_integers(files: tuple[Path, Path], tmp_path: Path) -> None:
    slow = saved(tmp_path / "slow.json", roofline(GRAPH, EDGE), 1000)
    plain, edited = integers_of(files), integers_of((slow, files[1]))
    assert edited == pytest.approx({name: 1000 * seconds for name, seconds in plain.items()})


def test_files_the_wrong_way_round_are_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(CostError, match=r"cloud\.json holds costs of target 'c5\.xlarge', .* wanted of 'raspberry-pi"):
        costs_of(files[::-1], GRAPH, None, EDGE, CLOUD)


def test_a_target_of_the_user_s_and_scaled_times_are_what_they_are_called(tmp_path: Path) -> None:
    own = tmp_path / "attic.toml"
    packaged = Path(load_target.__code__.co_filename).with_name("raspberry-pi-4.toml").read_text()
    own.write_text(packaged.replace('name = "raspberry-pi-4"', 'name = "attic"', 1))
    spec = load_target(own)
    costs = Costs("attic", "measured on the host, scaled by roofline", roofline(GRAPH, spec).layer_s)
    assert costs_in(saved(tmp_path / "a.json", costs), GRAPH, spec) == costs
    assert costs_in(saved(tmp_path / "b.json", costs, target=str(own)), GRAPH, spec).layer_s == costs.layer_s
    with pytest.raises(CostError, match="'attic', but they are wanted of 'raspberry-pi-4'"):
        costs_in(tmp_path / "a.json", GRAPH, EDGE)


@pytest.mark.parametrize(
    ("layer_s", "says"),
    [
        ({"conv1": 1e-3}, "it has no cost of layer 'p' (2 of 2 lack) and its layer 'conv1' is none of these (1 such)"),
        ({"p": 1e-3}, "it has no cost of layer 'q' (1 of 2 lack)"),
        ({"p": 1e-3, "q": 1e-3, "ghost": 1e-3}, "its layer 'ghost' is none of these (1 such)"),
    ],
)
def test_a_file_of_another_network_is_refused_before_anything_is_compiled(
    layer_s: dict[str, float], says: str, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = saved(tmp_path / "o.json", Costs(EDGE.name, "measured", layer_s, {"graph": "theirs.onnx"}))
    monkeypatch.setattr(workflow, "prepare", lambda _: (None, GRAPH))
    monkeypatch.setattr(workflow, "_judge", lambda *_: None)
    monkeypatch.setattr(workflow, "with_edge_scratch", lambda *_: pytest.fail("layers were compiled"))
    with pytest.raises(CostError) as caught:
        workflow.plan(Request("m.onnx", costs=(other, files[1]), edge_bits=(8, 32)))
    assert f"o.json holds costs of another network ('theirs.onnx') than 'net': {says}" in str(caught.value)


def test_a_file_of_this_network_as_other_options_made_it_is_told_so(tmp_path: Path) -> None:
    other = saved(tmp_path / "o.json", Costs(EDGE.name, "measured", {"p": 1e-3}, {"graph": "net"}))
    with pytest.raises(CostError, match=r"another network \(of that name, or with other options\) than 'net'"):
        costs_in(other, GRAPH, EDGE)
