"""Every network of the zoo imports; the small ones give what onnxruntime gives; the LSTM one says why it cannot."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tvm_split import zoo
from tvm_split.errors import ModelError
from tvm_split.frontend import load
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.passes.preprocess import Preprocess

MUST_FAIL = "plate-rec-lstm"


@pytest.mark.parametrize("name", [name for name in zoo.names() if name != MUST_FAIL])
def test_imports_with_the_shapes_that_the_entry_promises(name):
    if name == "wakeword-embedding":
        pytest.importorskip("tflite")
    found = [tuple(int(axis) for axis in parameter.ty.shape.values) for parameter in load(f"zoo:{name}")["main"].params]
    assert found == list(zoo.entry(name).inputs.values())


def test_lstm_is_refused_by_name():
    with pytest.raises(ModelError) as error:
        load(f"zoo:{MUST_FAIL}")
    assert "LSTM  LSTM_0" in str(error.value)
    assert "LSTM  LSTM_4" in str(error.value)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "plate-detector", "ppocr-cls", "magika"])
def test_same_numbers_as_onnxruntime(name, run):
    session = onnxruntime.InferenceSession(str(zoo.fetch(name)))
    random = np.random.default_rng(0)
    inputs = {
        given.name: random.integers(0, 256, given.shape).astype(np.int32)
        if "int32" in given.type
        else random.standard_normal(given.shape).astype(np.float32)
        for given in session.get_inputs()
    }
    for want, got in zip(session.run(None, inputs), run(load(f"zoo:{name}"), *inputs.values()), strict=True):
        assert np.abs(got - want).max() <= 1e-3 * np.abs(want).max()


def test_a_photograph_is_classified_from_its_bytes(run):
    name = "efficientnet-lite0"
    with Image.open(zoo.photo()) as photo:
        frame = np.asarray(photo.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC).crop((16, 16, 240, 240)))
    mod = Preprocess(PreprocessSpec.named(zoo.entry(name).preprocess))(load(f"zoo:{name}"))
    assert run(mod, frame[None])[0].argmax() == 559  # folding chair: the label in the photograph's file name
