"""Networks quantised by onnxruntime: each code beside its integer kernels'; cuts; the bytes that cross."""

import random

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tvm_split import zoo
from tvm_split.frontend.onnx_fold import modern

#: name -> how large its input's numbers are
NETWORKS = {"efficientnet-lite0": 1, "plate-detector": 50}
#: onnxruntime computes a quantised softmax by tables, so its class scores differ by a code
SOFTMAX = {"conf"}
CUTS = 2


class Samples(CalibrationDataReader):
    def __init__(self, name, samples):
        self.rest = iter([{name: sample} for sample in samples])

    def get_next(self):
        return next(self.rest, None)


class Quantized:
    """A network of the zoo in QDQ form with uint8 activations, which onnxruntime computes in integers throughout."""

    def __init__(self, name, network_file, folder):
        ready, self.path = folder / "ready.onnx", folder / f"{name}.onnx"
        source = zoo.fetch(name)
        onnx.save(modern(onnx.load(source), str(source)), folder / "modern.onnx")
        quant_pre_process(str(folder / "modern.onnx"), str(ready), skip_symbolic_shape=True)
        (declared,) = onnx.load(ready).graph.input
        shape = tuple(axis.dim_value or 1 for axis in declared.type.tensor_type.shape.dim)
        draw = np.random.default_rng(0)
        samples = [NETWORKS[name] * draw.standard_normal(shape).astype(np.float32) for _ in range(4)]
        quantize_static(
            str(ready), str(self.path), Samples(declared.name, samples[1:]), quant_format=QuantFormat.QDQ,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        self.image = samples[0]
        self.net = network_file(str(self.path))
        self.outputs = self.net.whole(folder).run([self.image])
        session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        self.names = [output.name for output in session.get_outputs()]
        self.expected = session.run(None, {declared.name: self.image})


@pytest.fixture(scope="module", params=list(NETWORKS))
def quantized(request, network_file, tmp_path_factory):
    return Quantized(request.param, network_file, tmp_path_factory.mktemp("qdq"))


def test_every_code_is_onnxruntimes(quantized):
    for name, ours, theirs in zip(quantized.names, quantized.outputs, quantized.expected, strict=True):
        step = np.diff(np.unique(theirs)).min()
        if name in SOFTMAX:
            assert np.abs(ours - theirs).max() <= 1.01 * step
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_what_goes_from_layer_to_layer_is_uint8(quantized):
    graph = quantized.net.graph
    read = {name for layer in graph.layers for name in layer.inputs if name not in graph.inputs}
    assert {graph.tensor[name].dtype for name in read} == {"uint8"}
    assert not any("conv2d" in layer.op and "quantize" not in layer.op for layer in graph.layers)


@pytest.mark.parametrize("seed", range(CUTS))
def test_split_network_equals_the_whole_bit_for_bit(quantized, seed, tmp_path):
    net = quantized.net
    edge = net.random_cut(random.Random(seed))
    split = net.split(edge, {}, tmp_path)
    crossing = [net.graph.tensor[part.tensor] for part in split.parts]
    assert all(tensor.dtype == "uint8" for tensor in crossing if tensor.name not in net.graph.inputs)
    assert [part.size_bytes for part in split.parts if part.dtype == "uint8"] == [
        tensor.elements for tensor in crossing if tensor.dtype == "uint8"
    ]
    for ours, theirs in zip(split.run(quantized.image), quantized.outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
