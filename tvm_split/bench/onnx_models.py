"""The ONNX file that onnxruntime runs: with every shape fixed, as our import has them, and quantised for int8."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tvm_split.errors import ModelError
from tvm_split.frontend.onnx_fold import modern
from tvm_split.frontend.onnx_shapes import fix_inputs


def with_fixed_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Path:
    """The file itself, or one in `folder` whose open shapes are fixed: onnxruntime plans with them as we do."""
    model = onnx.load(path, load_external_data=False)
    if all(axis.dim_value > 0 for value in _inputs(model) for axis in value.type.tensor_type.shape.dim):
        return path
    model = onnx.load(path)
    fix_inputs(model, shapes, str(path))
    fixed = folder / "fixed.onnx"
    onnx.save(model, fixed, save_as_external_data=True, location="fixed.weights")  # one file holds no more than 2 GB
    return fixed


def quantized(path: Path, samples: Sequence[Sequence[np.ndarray]], folder: Path) -> Path:
    """The network by onnxruntime's static quantiser: QDQ, weights per channel, ranges from `samples`.

    Activations are uint8, which onnxruntime computes on fastest (on x86 by two to three times); its default is int8.
    A sample is one array for each input, in order. ModelError when the quantiser refuses the network.
    """
    begin, ready, made = folder / "modern.onnx", folder / "prepared.onnx", folder / "int8.onnx"
    model = modern(onnx.load(path), str(path))  # per channel needs opset 13
    names = [value.name for value in _inputs(model)]
    reader = _Reader([dict(zip(names, sample, strict=True)) for sample in samples])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            onnx.save(model, begin)  # in one file: `quant_pre_process` loses weights that are beside it
            quant_pre_process(str(begin), str(ready), skip_symbolic_shape=True)  # folds batch norms, as advised
            onnx.save(with_plain_biases(onnx.load(ready)), ready)
            quantize_static(
                str(ready), str(made), reader, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8,
            )  # fmt: skip
    except Exception as error:  # the quantiser raises what its parts raise
        raise ModelError(
            f"{path}: onnxruntime's quantiser refuses the network ({type(error).__name__}: {error}); "
            "bench it with --precision float32, or give a file that is quantised already"
        ) from error
    return made


def with_plain_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed: each node with a constant bias has one of its own, a vector.

    The quantiser copies shared ones itself, as each needs another scale, and calls a copy as the bias and a number:
    which may be what another tensor is called. A Gemm's bias of shape (1, N) it quantises along the wrong axis.
    """
    constants = {weight.name: weight for weight in model.graph.initializer}
    for position, node in enumerate(model.graph.node):
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2 and node.input[2] in constants:
            bias = numpy_helper.to_array(constants[node.input[2]])
            if bias.size == max(bias.shape, default=0):
                node.input[2] = f"bias_of_node_{position}"
                model.graph.initializer.append(numpy_helper.from_array(bias.reshape(-1), node.input[2]))
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    for name in constants.keys() - ends - set(_read(model.graph)):
        model.graph.initializer.remove(constants[name])
    return model


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that the graph's nodes read, those of graphs inside it too."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _read(inner)


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._rest: Iterator[Mapping[str, np.ndarray]] = iter(samples)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._rest, None)
