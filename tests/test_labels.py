"""Labels and where they come from: arrays, folders named after classes, CSV files, a user's function; `limit`."""

import numpy as np
import pytest
from PIL import Image

from tvm_split.data import load_batches, load_labelled
from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor


def network(*inputs: tuple[str, tuple[int, ...], str]) -> Graph:
    tensors = tuple(Tensor(*given) for given in inputs)
    names = tuple(tensor.name for tensor in tensors)
    return Graph("network", tensors, (), names, names[:1])


ROW = network(("x", (1, 2), "float32"))
FRAME = network(("image", (1, 8, 8, 3), "uint8"))
TWO = network(("left", (2,), "float32"), ("right", (1, 3), "int64"))


def picture(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (level, level, level)).save(path)


def levels(samples):
    return [int(batch["image"][0, 4, 4, 0]) for batch in samples.batches]


def rows(samples):
    return [batch["x"].ravel().tolist() for batch in samples.batches]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_beside_arrays(tmp_path, dtype, shape):
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "labels": np.array([4, 0, 9], dtype).reshape(shape)}
    np.savez(tmp_path / "a.npz", **arrays)
    for source in (tmp_path / "a.npz", arrays):
        found = load_labelled(source, ROW)
        assert found.labels.tolist() == [4, 0, 9] and found.labels.dtype == np.int64 and found.total == 3
    assert load_labelled({"x": arrays["x"]}, ROW).labels is None


def test_arr_0_with_labels(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros((3, 2), np.float32), labels=[1, 2, 3])
    assert load_labelled(tmp_path / "a.npz", ROW).labels.tolist() == [1, 2, 3]


def test_an_input_called_labels_is_no_label():
    named = network(("labels", (1, 2), "float32"))
    assert load_labelled({"labels": np.ones((3, 2), np.float32)}, named).labels is None


def test_rows_of_different_lengths_are_no_array():
    rows = [[1], [2, 3], [4]]
    with pytest.raises(DataError, match="data: the labels are no array"):
        load_labelled({"x": np.zeros((3, 2), np.float32), "labels": rows}, ROW)
    with pytest.raises(DataError, match="data: input 'x' is no array"):
        load_labelled({"x": rows}, ROW)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(3),
        np.array([1, 2]),
        np.array(["a", "b", "c"]),
    ],
)
def test_labels_that_are_none(bad):
    with pytest.raises(DataError, match=r"data: the labels are .*expected 3 whole numbers from 0"):
        load_labelled({"x": np.zeros((3, 2), np.float32), "labels": bad}, ROW)


@pytest.mark.parametrize("bad", [np.array([1, 2, -1]), np.array([1, 2, 2**64 - 1], "uint64")])
def test_a_label_that_is_no_class_is_named(bad):
    with pytest.raises(DataError, match=rf"data: the label of sample 2 is {bad[2]}; expected whole numbers from 0 to"):
        load_labelled({"x": np.zeros((3, 2), np.float32), "labels": bad}, ROW)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 9, 10, 11])
def test_a_limit_takes_evenly(limit):
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    found = load_labelled({"x": x, "labels": np.arange(10)}, ROW, limit)
    labels = found.labels.tolist()
    assert found.total == 10 and len(labels) == min(limit, 10) and labels[0] == 0
    assert rows(found) == [[2 * i, 2 * i + 1] for i in labels]
    steps = np.diff([*labels, 10])
    assert steps.max() - steps.min() <= 1
    assert len(load_batches({"x": x}, ROW, limit)) == min(limit, 10)


def test_folders_are_classes(tmp_path):
    for i, name in enumerate(("n02/a.png", "n01/b.png", "n01/deep/c.png", "x/d.png")):
        picture(tmp_path / name, i)
    found = load_labelled(tmp_path, FRAME)
    assert (levels(found), found.labels.tolist(), found.total) == ([1, 2, 0, 3], [0, 0, 1, 2], 4)
    few = load_labelled(tmp_path, FRAME, 2)
    assert (levels(few), few.labels.tolist(), few.total) == ([1, 0], [0, 1], 4)
    picture(tmp_path / "e.png", 9)
    assert load_labelled(tmp_path, FRAME).labels is None


def test_folders_that_are_numbers(tmp_path):
    for name in ("007/a.png", "10/b.png", "2/c.png"):
        picture(tmp_path / name, 1)
    assert load_labelled(tmp_path, FRAME).labels.tolist() == [7, 10, 2]


@pytest.mark.parametrize("heading", ["", "file,label\n", "\ufeffFile, Label\n"])
def test_csv(tmp_path, heading):
    picture(tmp_path / "p" / "b, c.png", 5)
    picture(tmp_path / "a.png", 6)
    path = tmp_path / "labels.csv"
    path.write_text(heading + '"p/b, c.png",17\n\na.png, 0\n', encoding="utf-8")
    found = load_labelled(path, FRAME)
    assert (levels(found), found.labels.tolist(), found.total) == ([5, 6], [17, 0], 2)
    few = load_labelled(path, FRAME, 1)
    assert (levels(few), few.labels.tolist()) == ([5], [17])


def test_bad_csv(tmp_path):
    path = tmp_path / "a.csv"
    picture(tmp_path / "a.png", 1)
    for text, message in (
        ("file,label\n", "there is no line in it"),
        ("a.png,1\na.png,cat\n", r"line 2: 'a.png,cat' is not file,label"),
        ("a.png,1,2\n", r"line 1: 'a.png,1,2' is not file,label"),
        ("a.png,-1\n", "is not file,label"),
        ("b.png,1\n", r"line 1: no file .*b.png; names are relative"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            load_labelled(path, FRAME)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        load_labelled(path, FRAME)


def test_each_label_s_place_is_known_by_file_and_sample_or_picture(tmp_path):
    path, x = tmp_path / "a.npz", np.zeros((4, 2), np.float32)
    np.savez(path, x=x, labels=np.arange(4))
    assert load_labelled(path, ROW, 2).places == [f"{path}: the label of sample {i}" for i in (0, 2)]
    for name in ("7/a.png", "8/b.png"):
        picture(tmp_path / "p" / name, 1)
    assert load_labelled(tmp_path / "p", FRAME).places[1] == f"{tmp_path / 'p'}: the label of {tmp_path / 'p/8/b.png'}"
    csv = tmp_path / "a.csv"
    csv.write_text("p/7/a.png,3000000000\n")
    with pytest.raises(DataError, match=r"a\.csv: the label of .*p/7/a\.png is 3000000000; expected a class's number"):
        load_labelled(csv, FRAME)


FUNCTIONS = """
import itertools
import numpy as np

def arrays():
    for i in range(3):
        yield np.full((1, 2), i, np.float32)

def many():
    return [(np.arange(6, dtype=np.float32).reshape(3, 2), [3, 1, 2]), (np.zeros((1, 2), np.float32), 8)]

def two():
    yield {"left": np.ones(2, np.float32), "right": np.ones((4, 3), np.int64), "other": 0}

def both():
    yield {"left": np.ones(2, np.float32), "right": np.ones((1, 3), np.int64)}, 5

def endless():
    for i in itertools.count():
        yield {"x": np.full((1, 2), i, np.float32)}, np.array([i])

def none():
    return []

def nothing():
    pass

def breaks():
    yield np.zeros((1, 2), np.float32)
    raise RuntimeError("the camera is off")

def mixed():
    yield np.zeros((1, 2), np.float32)
    yield np.zeros((1, 2), np.float32), 1

def late():
    import beside
    yield beside.ROW
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A module of another name in each test, in the current folder."""
    name = f"samples_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function(module):
    found = load_labelled(f"{module}:arrays", ROW)
    assert (rows(found), found.labels, found.total) == ([[0, 0], [1, 1], [2, 2]], None, 3)
    found = load_labelled(f"{module}:many", ROW)
    assert (rows(found), found.labels.tolist()) == ([[0, 1], [2, 3], [4, 5], [0, 0]], [3, 1, 2, 8])
    found = load_labelled(f"{module}:many", ROW, 2)
    assert (rows(found), found.labels.tolist(), found.total) == ([[0, 1], [2, 3]], [3, 1], None)
    found = load_labelled(f"{module}:both", TWO)
    assert list(found.batches[0]) == ["left", "right"] and found.labels.tolist() == [5]
    assert load_labelled(f"{module}:endless", ROW, 5).labels.tolist() == [0, 1, 2, 3, 4]


def test_a_function_may_import_from_the_current_folder_later(module, tmp_path):
    (tmp_path / "beside.py").write_text("import numpy as np\nROW = np.ones((1, 2), np.float32)\n")
    assert rows(load_labelled(f"{module}:late", ROW)) == [[1, 1]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("absent", "has no function 'absent'"),
        ("none", "yields no batch"),
        ("nothing", "returns NoneType; expected batches"),
        ("breaks", "RuntimeError: the camera is off"),
        ("mixed", "batch 1 and those before it: some have labels and some have none"),
        ("two", "batch 0: the inputs have different numbers of samples: 'left' has 1, 'right' has 4"),
        ("both", "batch 0 has no array for input 'x'"),
    ],
)
def test_a_bad_function(module, function, message):
    graph = TWO if function == "two" else ROW
    with pytest.raises(DataError, match=message):
        load_labelled(f"{module}:{function}", graph)


def test_no_such_module():
    with pytest.raises(DataError, match="no_such_module:f: ModuleNotFoundError: No module named 'no_such_module'"):
        load_labelled("no_such_module:f", ROW)


def test_a_file_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").write_text("")
    with pytest.raises(DataError, match=r"the suffix '' is not known; .* or module:function"):
        load_labelled("a:b", ROW)
