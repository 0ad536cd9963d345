"""FoldBatchNorm: numbers within the bound of the pass's docstring, for every layer it knows."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.fold_batch_norm import FoldBatchNorm

U = 2.0**-24


@dataclass(frozen=True)
class Net:
    """batch_norm before or after a layer; `absolute` makes it compute the A of the pass's docstring."""

    kind: str = "conv2d"
    channels: tuple[int, int] = (4, 6)
    groups: int = 1
    size: int = 5
    kernel: int = 3
    padding: int = 0
    strides: int = 1
    dilation: int = 1
    bias: bool = True
    where: str = "after"
    layout: str = "plain"
    shift: bool = True
    norm: tuple[tuple[str, object], ...] = ()
    absolute: bool = False
    seed: int = 0

    @property
    def rank(self) -> int:
        return 0 if self.kind == "matmul" else int(self.kind[4])

    @property
    def products(self) -> int:
        return self.channels[0] // self.groups * self.kernel**self.rank

    def module(self) -> tvm.IRModule:
        random = np.random.default_rng(self.seed)
        last = self.layout == "last" or self.kind == "matmul"
        axis = self.rank + 1 if last else 1
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType(self.shape(), "float32"))
        with builder.function("main", [x]):
            with builder.dataflow():
                y = x
                if self.where == "before":
                    y = self._norm(builder, y, self.channels[0], axis, random)
                y = builder.emit(self._layer(y, random), name_hint="layer")
                if self.bias:
                    shape = [self.channels[1]] + [1] * (0 if last else self.rank)
                    y = builder.emit(relax.op.add(y, self._const(random.standard_normal(shape))))
                if self.where == "after":
                    y = self._norm(builder, y, self.channels[1], axis, random)
                y = builder.emit_output(relax.op.nn.relu(y))
            builder.emit_func_output(y)
        return builder.get()

    def shape(self) -> tuple[int, ...]:
        last = self.layout == "last" or self.kind == "matmul"
        spatial = (self.size,) * self.rank
        return (2, *spatial, self.channels[0]) if last else (2, self.channels[0], *spatial)

    def bound(self, run, x: np.ndarray) -> np.ndarray:
        """2 (n + 8) u A, element by element; ten per cent for terms of second order."""
        size = run(replace(self, absolute=True).module(), np.abs(x))
        return 1.1 * 2 * (self.products + 8) * U * size

    def _const(self, array: np.ndarray) -> relax.Expr:
        return relax.const((np.abs(array) if self.absolute else array).astype("float32"))

    def _norm(self, builder, y, channels, axis, random):
        gamma, beta, mean = random.standard_normal((3, channels))
        variance = relax.const(random.uniform(0.1, 2, channels).astype("float32"))
        gamma, beta = self._const(gamma), self._const(beta * self.shift)
        mean = relax.const((-np.abs(mean) if self.absolute else mean).astype("float32") * np.float32(self.shift))
        options = {"axis": axis, "training": False, "epsilon": 1e-3, **dict(self.norm)}
        norm = builder.emit(relax.op.nn.batch_norm(y, gamma, beta, mean, variance, **options))
        return builder.emit(relax.TupleGetItem(norm, 0), name_hint="norm")

    def _layer(self, y, random):
        i, o = self.channels
        if self.kind == "matmul":
            return relax.op.matmul(y, self._const(random.standard_normal((i, o))))
        letters = "DHW"[3 - self.rank :]
        transposed = self.kind.endswith("transpose")
        pair = (i, o // self.groups) if transposed else (o, i // self.groups)
        weight = random.standard_normal((*pair, *(self.kernel,) * self.rank))
        data, kernel = "NC" + letters, ("IO" if transposed else "OI") + letters
        if self.layout == "last":
            data, kernel, weight = "N" + letters + "C", letters + "IO", np.moveaxis(weight, (1, 0), (-2, -1))
        return getattr(relax.op.nn, self.kind)(
            y, self._const(weight), strides=self.strides, padding=self.padding, dilation=self.dilation,
            groups=self.groups, data_layout=data, kernel_layout=kernel,
        )  # fmt: skip


def check(apply, run, net):
    """The numbers of the folded module are within the bound; returns that module."""
    mod = net.module()
    result = apply(FoldBatchNorm(), mod)
    x = np.random.default_rng(7).standard_normal(net.shape()).astype("float32")
    old, new, bound = run(mod, x), run(result, x), net.bound(run, x)
    assert (np.abs(old - new) <= bound).all(), (np.abs(old - new) / bound).max()
    return result


@pytest.mark.parametrize(
    "net",
    [
        Net("conv1d"),
        Net("conv1d", groups=2, padding=1, strides=2, bias=False),
        Net("conv2d", padding=1, dilation=2),
        Net("conv2d", (6, 6), groups=6),
        Net("conv2d", (4, 8), groups=4, strides=2),
        Net("conv2d", layout="last", padding=1),
        Net("conv2d", norm=(("center", False),)),
        Net("conv2d", norm=(("scale", False),), bias=False),
        Net("conv2d", norm=(("axis", -3),)),
        Net("conv3d", (2, 4), size=4, groups=2),
        Net("conv1d_transpose", (4, 6), strides=2),
        Net("conv2d_transpose", (4, 6), groups=2, strides=2, padding=1),
        Net("conv3d_transpose", (2, 3), size=3, kernel=2),
        Net("matmul", (5, 7), kernel=1),
        Net("matmul", (5, 7), kernel=1, bias=False),
    ],
)
def test_after_a_layer(apply, run, operators, net):
    assert operators(check(apply, run, net)) == [net.kind, "add", "relu"]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Net("conv2d", bias=False), ["conv2d", "add", "relu"]),
        (Net("conv2d"), ["conv2d", "add", "relu"]),
        (Net("conv2d", groups=2, strides=2), ["conv2d", "add", "relu"]),
        (Net("conv2d", layout="last"), ["conv2d", "add", "relu"]),
        (Net("conv1d", (4, 4), groups=4, bias=False), ["conv1d", "add", "relu"]),
        (Net("conv3d", (2, 4), size=4), ["conv3d", "add", "relu"]),
        (Net("matmul", (5, 7), kernel=1), ["matmul", "add", "relu"]),
        (Net("conv2d_transpose", kernel=1, groups=2), ["conv2d_transpose", "add", "relu"]),
        # a shift is not the same at the border, a scale is
        (Net("conv2d", padding=1), ["multiply", "add", "conv2d", "add", "relu"]),
        (Net("conv2d", padding=1, shift=False), ["conv2d", "add", "relu"]),
        (Net("conv2d", padding=1, shift=False, bias=False), ["conv2d", "relu"]),
        (Net("conv2d_transpose", groups=2), ["multiply", "add", "conv2d_transpose", "add", "relu"]),
        (Net("conv2d_transpose", groups=2, shift=False), ["conv2d_transpose", "add", "relu"]),
        (Net("conv2d_transpose", kernel=1, strides=2, bias=False), ["multiply", "add", "conv2d_transpose", "relu"]),
    ],
)
def test_before_a_layer(apply, run, operators, net, expected):
    assert operators(check(apply, run, replace(net, where="before"))) == expected


@st.composite
def nets(draw):
    kind = draw(st.sampled_from(["conv1d", "conv2d", "conv2d", "conv1d_transpose", "conv2d_transpose", "matmul"]))
    groups = 1 if kind == "matmul" else draw(st.integers(1, 3))
    channels = (groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3)))
    kernel = 1 if kind == "matmul" else draw(st.integers(1, 3))
    plain = kind == "matmul" or kind.endswith("transpose") or groups > 1
    return Net(
        kind, channels, groups, size=draw(st.integers(5, 7)), kernel=kernel, bias=draw(st.booleans()),
        padding=0 if kind == "matmul" else draw(st.integers(0, min(1, kernel - 1))), strides=draw(st.integers(1, 2)),
        where=draw(st.sampled_from(["before", "after"])), shift=draw(st.booleans()), seed=draw(st.integers(0, 99)),
        layout="plain" if plain or kind != "conv2d" else draw(st.sampled_from(["plain", "last"])),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(net=nets())
def test_within_the_bound_for_any_layer(apply, run, operators, net):
    assert "batch_norm" not in operators(check(apply, run, net))
