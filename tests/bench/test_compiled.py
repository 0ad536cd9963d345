"""Which kernels a compiled network calls for which layers, and their times by layer."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import frontend, lower, pipeline
from tvm_split.bench.compiled import Arithmetic, Call, arithmetic_of, compile_ours
from tvm_split.bench.engines import Kernels, made_up
from tvm_split.bench.layer_times import BETWEEN, layer_times
from tvm_split.bench.peaks import Limits
from tvm_split.bench.result import Convolution
from tvm_split.bench.worker import Worker
from tvm_split.errors import BuildError
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

SPEC = load_target("host")
LIMITS = Limits(1e9, {1: 1e9})


def test_every_kernel_has_its_layer_rule_and_code(two_layers: Path, tmp_path: Path) -> None:
    mod = pipeline.layers()(frontend.load(two_layers))
    graph = extract_graph(mod)
    calls = compile_ours(mod, SPEC, resolve(SPEC), tmp_path / "net.so")
    of_layer = {call.layer: call for call in calls if call.layer is not None}
    stem, head = graph.layers[0].name, graph.layers[-1].name
    assert {stem, head} <= set(of_layer)
    assert of_layer[stem].rule == of_layer[head].rule == "Packed"
    assert of_layer[stem].arithmetic == Arithmetic(convolution=Convolution((3, 3), 3, 4, 1))
    assert of_layer[head].arithmetic == Arithmetic()
    assert ((1, 5), "float32") in of_layer[head].types
    assert of_layer[stem].size_bytes >= 4 * (3 * 8 * 8 + 4 * 3 * 3 * 3 + 4 * 6 * 6)

    with Worker("the kernels", os.sched_getaffinity(0), Kernels, [tmp_path / "net.so"], 1) as kernels:
        for call in calls:
            assert min(kernels.ask("seconds", call.symbol, call.types, 2, 0)) > 0
        with pytest.raises(BuildError, match="no library has a kernel 'none'"):
            kernels.ask("seconds", "none", (), 1)


def test_a_network_that_cannot_be_compiled_is_a_build_error(
    two_layers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tvm.transform.module_pass(opt_level=0)
    def fail(_mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        raise ValueError("no kernel for this")

    monkeypatch.setattr(lower, "passes", lambda _target: [fail])
    with pytest.raises(BuildError, match=r"cannot be compiled for 'host': .*no kernel for this"):
        compile_ours(pipeline.layers()(frontend.load(two_layers)), SPEC, resolve(SPEC), tmp_path / "net.so")


class FakeKernels:
    """A worker whose kernels take as many seconds as their name says."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, _method: str, symbol: str, _types: object, repeats: int) -> list[float]:
        self.asked.append(symbol)
        return [float(symbol[1:])] * repeats


def network(*layers: Layer) -> Graph:
    made = tuple(Tensor(name, (1,), "float32") for name in ("x", *(layer.outputs[0] for layer in layers)))
    return Graph("net", made, layers, ("x",), (layers[-1].outputs[0],))


def call(symbol: str, layer: str | None, elements: int = 1) -> Call:
    return Call(symbol, layer, (((elements,), "float32"),), None)


def test_rows_are_in_the_network_s_order_with_what_is_between_and_what_is_no_kernel() -> None:
    graph = network(
        Layer("view", "reshape", ("x",), ("a",)),
        Layer("stem", "conv2d", ("a",), ("b",), 5_000_000_000),
        Layer("sort", "sort", ("b",), ("c",)),
        Layer("head", "dense", ("c",), ("d",), 100),
    )
    calls = (call("k1", None), call("k2", "stem"), call("k3", None), call("k4", "head", 500_000_000))
    fake: Any = FakeKernels()
    rows = layer_times(fake, graph, calls, LIMITS)
    assert [(row.name, row.op, row.seconds) for row in rows] == [
        ("k1", BETWEEN, 1.0), ("view", "reshape", None), ("stem", "conv2d", 2.0), ("k3", BETWEEN, 3.0),
        ("sort", "sort", None), ("head", "dense", 4.0),
    ]  # fmt: skip
    assert [row.limit_s for row in rows] == pytest.approx([4e-9, None, 5.0, 4e-9, None, 2.0])
    assert rows[2].share_of_limit == pytest.approx(2.5)


def test_a_layer_of_integers_has_their_limit() -> None:
    graph = network(Layer("stem", "conv2d", ("x",), ("a",), 8_000), Layer("head", "dense", ("a",), ("b",), 8_000))
    fake: Any = FakeKernels()
    limits = Limits(1e9, {1: 1e12}, 4e9)
    rows = layer_times(
        fake, graph, (replace(call("k1", "stem"), arithmetic=Arithmetic(int8=True)), call("k2", "head")), limits
    )
    assert [(row.int8, row.limit_s) for row in rows] == [(True, pytest.approx(2e-6)), (False, pytest.approx(8e-6))]


@pytest.mark.parametrize("out_dtype, integers", [("int32", True), ("float32", False)])
def test_a_layer_whose_products_are_integers_is_told(out_dtype: str, integers: bool) -> None:
    kind = "int8" if integers else "float32"
    x = relax.Var("x", relax.TensorType((2, 4), "uint8" if integers else "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.matmul(x, relax.const(np.ones((4, 3), kind)), out_dtype=out_dtype))
            out = builder.emit_output(relax.op.add(y, relax.const(np.ones((3,), out_dtype))))
        builder.emit_func_output(out)
    assert arithmetic_of(builder.get()["main"]) == Arithmetic(integers)


def test_a_kernel_called_twice_is_timed_once_and_a_layer_s_work_is_counted_once() -> None:
    graph = network(Layer("stem", "conv2d", ("x",), ("a",), 100))
    fake: Any = FakeKernels()
    rows = layer_times(fake, graph, (call("k1", "stem"), call("k1", "stem"), call("k2", "stem")), LIMITS)
    assert fake.asked == ["k1", "k2"]
    assert [row.flops for row in rows] == [100, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_made_up_arguments_have_their_type(dtype: str) -> None:
    made = made_up((2, 3), dtype)
    assert made.shape == (2, 3) and str(made.dtype) == dtype
    assert np.isfinite(made.astype(np.float64)).all() and (made.dtype.kind == "f") == bool(made.any())
