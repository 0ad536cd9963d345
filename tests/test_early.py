"""What is wrong whatever the network is, or as soon as its layers are known, is told before anything is compiled."""

from pathlib import Path

import pytest

from tvm_split import early, workflow
from tvm_split.errors import BundleError, SplitError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.request import Request

NO_WATTS = "target 'jetson-nano' has no active_w"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"strategy": "luck"}, "there is no planner 'luck'"),
        ({"edge": "no-such-board"}, "no-such-board"),
        ({"objective": "energy", "edge": "jetson-nano"}, NO_WATTS),
        ({"edge_bits": (8,), "tensor_bits": {"*": 5}}, "cannot have 5 bits"),
        ({"cut_bits": (9,)}, "a crossing tensor cannot have 9 bits; the widths are 1, 2, 3"),
        ({"tensor_bits": {"*": 9}}, "a crossing tensor cannot have 9 bits"),
        ({"preprocess": "no-such"}, "no-such"),
        ({"data": Path("no.npz")}, "no.npz: there is no such file; expected .npz"),
        ({"data": "no_such_module:samples"}, "no_such_module:samples: ModuleNotFoundError"),
        ({"metric": "no_such_module:score"}, "no_such_module:score: ModuleNotFoundError"),
        ({"tracker": "localhost:9190"}, "a tracker or board was given"),
    ],
)
def test_told_before_the_model_is_read(asked: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "prepare", lambda _: pytest.fail("the model was read"))
    with pytest.raises(SplitError) as caught:
        workflow.plan(Request("no.onnx", **asked))  # type: ignore[arg-type]
    assert says in str(caught.value)


TENSORS = tuple(Tensor(name, (1, 4), "float32") for name in ("x", "a", "b"))
GRAPH = Graph("net", TENSORS, (Layer("a", "op", ("x",), ("a",)), Layer("b", "op", ("a",), ("b",))), ("x",), ("b",))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"pins": {"c*": "edge"}}, "pin 'c*=edge' (--pin, pins) matches no layer"),
        ({"pins": {"a": "cloud", "b": "edge"}}, "layer 'a' is pinned to the cloud, but layer 'b'"),
        ({"tensor_bits": {"c": 4}}, "'c' in --bits (tensor_bits) matches no layer"),
    ],
)
def test_told_before_anything_is_compiled(asked: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "prepare", lambda _: (None, GRAPH))
    monkeypatch.setattr(workflow, "samples_of", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(SplitError) as caught:
        workflow.plan(Request("m.onnx", **asked))  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_a_request_without_fault_passes() -> None:
    link, edge, cloud = early.before_reading(Request("m.onnx", tensor_bits={"a": 5}))
    assert (link.name, edge.name, cloud.name) == ("4g", "raspberry-pi-4", "c5.xlarge")
    early.check_names(Request("m.onnx", tensor_bits={"a": 5}, pins={"a": "edge"}), GRAPH)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_place_that_cannot_be_written_is_told_before_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    monkeypatch.setattr(workflow, "plan", lambda *_: pytest.fail("planning was begun"))
    folder = tmp_path / "there"
    if read_only:
        folder.mkdir()
        monkeypatch.setattr("tvm_split.bundle_folder.os.access", lambda path, _mode: path != folder)
    else:
        folder.write_text("a file")
    says = "cannot be written to" if read_only else "is no folder"
    with pytest.raises(BundleError, match=f"no bundle can be written at .*: .*there {says}"):
        workflow.compile(Request("m.onnx"), folder / "new" / "bundle")
