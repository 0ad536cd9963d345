"""Samples from files: every accepted form, the numbers of the resize, and a clear refusal of the rest."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tvm_split.data import check_batch, load_batches
from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor


def network(*inputs: tuple[str, tuple[int, ...], str]) -> Graph:
    tensors = tuple(Tensor(*given) for given in inputs)
    names = tuple(tensor.name for tensor in tensors)
    return Graph("network", tensors, (), names, names[:1])


FLOATS = network(("x", (1, 2, 3), "float32"))
FRAME = network(("image", (1, 8, 8, 3), "uint8"))
TWO = network(("left", (2,), "float32"), ("right", (1, 3), "int64"))


@pytest.mark.parametrize(("shape", "count"), [((1, 2, 3), 1), ((5, 1, 2, 3), 5), ((5, 2, 3), 5)])
@pytest.mark.parametrize("kind", ["named", "arr_0", "npy"])
def test_shapes(tmp_path, shape, count, kind):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    path = tmp_path / ("a.npy" if kind == "npy" else "a.npz")
    if kind == "npy":
        np.save(path, array)
    else:
        np.savez(path, **{"x" if kind == "named" else "arr_0": array})
    batches = load_batches(path, FLOATS)
    assert [batch["x"].shape for batch in batches] == [(1, 2, 3)] * count
    np.testing.assert_array_equal(np.stack([batch["x"] for batch in batches]).ravel(), array.ravel())


def test_two_inputs_other_arrays_ignored(tmp_path):
    path = tmp_path / "a.npz"
    right = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.savez(path, left=np.array([[1, 2], [3, 4]], np.float32), right=right, other=np.zeros(9))
    batches = load_batches(path, TWO)
    assert list(batches[0]) == ["left", "right"]
    np.testing.assert_array_equal(batches[1]["left"], [3, 4])
    np.testing.assert_array_equal(batches[1]["right"], [[4, 5, 6]])
    assert batches[1]["right"].dtype == np.int64


EXPORTED = network(("serving_default_x_0", (2,), "float32"))
ROWS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.mark.parametrize("name", ["serving_default_x:0", "serving_default_x_0"])
def test_the_name_in_the_model_s_file_serves_as_well(tmp_path, name):
    np.savez(tmp_path / "a.npz", **{name: ROWS, "other:0": ROWS + 1})
    for source in (tmp_path / "a.npz", {name: ROWS, "other:0": ROWS + 1}):
        np.testing.assert_array_equal([batch["serving_default_x_0"] for batch in load_batches(source, EXPORTED)], ROWS)


def test_two_names_of_one_input_are_refused(tmp_path):
    both = {"serving_default_x:0": ROWS, "serving_default_x.0": ROWS + 1}
    np.savez(tmp_path / "a.npz", **both)
    for source in (tmp_path / "a.npz", both):
        with pytest.raises(DataError, match="'serving_default_x_0' may be any of 'serving_default_x:0', 'serving_d"):
            load_batches(source, EXPORTED)


@pytest.mark.parametrize("order", [1, -1])
def test_an_input_s_own_name_comes_before_others_that_may_be_it(tmp_path, order):
    both = dict([("serving_default_x_0", ROWS), ("serving_default_x:0", ROWS + 1)][::order])
    np.savez(tmp_path / "a.npz", **both)
    for source in (tmp_path / "a.npz", both):
        np.testing.assert_array_equal([batch["serving_default_x_0"] for batch in load_batches(source, EXPORTED)], ROWS)


def test_a_name_of_the_model_s_file_is_its_own_input_s(tmp_path):
    """a_0 is an input's name in the file, and what another one's would be as an identifier; so are a-b and a.b."""
    for files, inputs in ((("a:0", "a_0"), ("a_0_1", "a_0")), (("a-b", "a.b"), ("a_b", "a_b_1"))):
        graph = replace(network(*((name, (2,), "float32") for name in inputs)), file_names=files)
        np.savez(tmp_path / "a.npz", **dict(zip(files, (ROWS, -ROWS), strict=True)))
        (batch, *_) = load_batches(tmp_path / "a.npz", graph)
        assert [list(batch[name]) for name in inputs] == [[1, 2], [-1, -2]]
    graph = replace(network(("a_0_1", (2,), "float32"), ("a_0", (2,), "float32")), file_names=("a:0", "a_0"))
    (batch, *_) = load_batches({"a_0": -ROWS, "a_0_1": ROWS}, graph)
    assert [list(batch[name]) for name in graph.inputs] == [[1, 2], [-1, -2]]
    with pytest.raises(DataError, match="no array for input 'a_0'"):
        load_batches({"a:0": ROWS}, graph)  # it is the other input's


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "bool"])
def test_lossless_conversion(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.ones((1, 2, 3), dtype))
    batch = load_batches(tmp_path / "a.npy", FLOATS)[0]
    assert batch["x"].dtype == np.float32 and (batch["x"] == 1).all()


@pytest.mark.parametrize("dtype", ["float64", "int32", "complex64"])
def test_a_lossy_conversion_is_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.ones((1, 2, 3), dtype))
    with pytest.raises(DataError, match=rf"a.npy: .*input 'x', of shape \(1, 2, 3\), is {dtype}; expected float32"):
        load_batches(tmp_path / "a.npy", FLOATS)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2), (5, 1, 3, 2), (), (1, 1, 1, 2, 3)])
def test_a_wrong_shape_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape, np.float32))
    with pytest.raises(DataError, match=r"input 'x' has shape .* expected float32 \(1, 2, 3\), or \(N, 2, 3\) for N"):
        load_batches(tmp_path / "a.npy", FLOATS)


def test_bad_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, left=np.ones((2, 2), np.float32), right=np.ones((3, 3), np.int64))
    with pytest.raises(DataError, match="different numbers of samples: 'left' has 2, 'right' has 3"):
        load_batches(path, TWO)
    np.savez(path, left=np.ones((0, 2), np.float32), right=np.ones((0, 3), np.int64))
    with pytest.raises(DataError, match="there are 0 samples"):
        load_batches(path, TWO)
    np.savez(path, lef=np.ones(2))
    with pytest.raises(DataError, match="no array is named 'left', 'right'; it has 'lef'"):
        load_batches(path, TWO)
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"a.npz: cannot be read as .npz: Object arrays"):
        load_batches(path, FLOATS)
    np.savez(path, x=np.ones((1, 2, 3), np.float32))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a.npz: cannot be read as .npz"):
        load_batches(path, FLOATS)
    np.save(tmp_path / "b.npy", np.ones((1, 2, 3), np.float32))
    with pytest.raises(DataError, match=r"a .npy file serves a network with one input; this one has 'left', 'right'"):
        load_batches(tmp_path / "b.npy", TWO)
    (tmp_path / "b.npy").rename(tmp_path / "c.npz")
    with pytest.raises(DataError, match=r"bare array; name it .npy"):
        load_batches(tmp_path / "c.npz", FLOATS)


def test_bad_paths(tmp_path):
    with pytest.raises(DataError, match=r"nothing.npz: there is no such file"):
        load_batches(tmp_path / "nothing.npz", FLOATS)
    with pytest.raises(DataError, match="this folder has no pictures"):
        load_batches(tmp_path, FRAME)
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(DataError, match=r"the suffix '.txt' is not known; expected .npz, .npy, a picture"):
        load_batches(tmp_path / "a.txt", FLOATS)


@pytest.mark.parametrize("size", [(24, 12), (12, 24), (12, 12), (3, 9)])
def test_a_picture_keeps_its_middle(tmp_path, size):
    """Left half red, upper half green: the crop's centre is the picture's, whatever its shape and size."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 200
    pixels[: height // 2, :, 1] = 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (batch,) = load_batches(tmp_path / "a.png", FRAME)
    got = batch["image"]
    assert got.shape == (1, 8, 8, 3) and got.dtype == np.uint8
    scale = 8 / 0.875 / min(size)
    resized = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 8) // 2, (resized.height - 8) // 2
    np.testing.assert_array_equal(got[0], np.asarray(resized)[top : top + 8, left : left + 8])
    assert got[0, 0, 0].tolist()[1] > 60 and got[0, 7, 7, 1] < 40


def test_an_input_that_is_not_square(tmp_path):
    Image.new("L", (40, 40), 77).save(tmp_path / "a.png")
    (batch,) = load_batches(tmp_path / "a.png", network(("image", (1, 4, 16, 3), "uint8")))
    assert batch["image"].shape == (1, 4, 16, 3) and (batch["image"] == 77).all()


def test_folder_in_order_and_upright(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (9, 9), (2, 2, 2)).save(tmp_path / "sub" / "b.png")
    Image.new("RGB", (9, 9), (1, 1, 1)).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [int(batch["image"][0, 4, 4, 0]) for batch in load_batches(tmp_path, FRAME)] == [1, 2]
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    Image.fromarray(pixels).save(tmp_path / "c.png", exif=exif)
    got = load_batches(tmp_path / "c.png", FRAME)[0]["image"]
    assert got[0, 0].max() < 10 and got[0, 7].min() > 245


def test_bad_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a.png: cannot be read as a picture"):
        load_batches(tmp_path / "a.png", FRAME)
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"its mode is I;16, which has no 8-bit levels"):
        load_batches(tmp_path / "a.png", FRAME)
    with pytest.raises(DataError, match=r"need an input of uint8 \(1, H, W, 3\), but 'x' is float32 \(1, 2, 3\)"):
        load_batches(tmp_path / "a.png", FLOATS)
    with pytest.raises(DataError, match="a picture serves a network with one input"):
        load_batches(tmp_path / "a.png", TWO)


def test_check_batch():
    right, left = np.zeros((1, 3), np.int64), np.ones(2, np.float32)
    assert {name: a.dtype for name, a in check_batch({"right": right, "left": left}, TWO, 0).items()} == {
        "left": np.float32, "right": np.int64
    }  # fmt: skip
    with pytest.raises(DataError, match="sample 7 has no array for input 'right'; it has 'left'"):
        check_batch({"left": left}, TWO, 7)
    with pytest.raises(
        DataError, match=r"sample 7: the array for input 'left' is float64 \(2,\); expected float32 \(2,\)"
    ):
        check_batch({"right": right, "left": left.astype(np.float64)}, TWO, 7)
