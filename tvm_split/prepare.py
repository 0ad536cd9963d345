"""A request's model -> the module of its layers, and its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm

from tvm_split import frontend, pipeline
from tvm_split.calibration.equalized import better_of
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.passes.preprocess import Preprocess
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.request import Request


def prepare(request: Request) -> tuple[tvm.IRModule, Graph]:
    """The module of layers of the request's model, and its graph."""
    mod = frontend.load(request.model, shapes=request.shapes)
    if request.preprocess:
        mod = Preprocess(PreprocessSpec.named(request.preprocess))(mod)
    mod = layered(mod, request)
    return mod, extract_graph(mod, model_name(request.model))


def layered(mod: tvm.IRModule, request: Request) -> tvm.IRModule:
    """The layers of a network, as the request wants them: balanced (`equalize`) where that makes few bits lose less."""
    plain = pipeline.layers(request.winograd)(mod)
    if not request.equalize:
        return plain
    return better_of(plain, pipeline.layers(request.winograd, True)(mod), min(*request.edge_bits, INTEGER_BITS))


def model_name(model: Any) -> str:
    return str(model).removeprefix("zoo:").split("/")[-1] if isinstance(model, str | Path) else "network"
