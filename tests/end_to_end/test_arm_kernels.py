"""Kernels of every kind on emulated ARM cores, each with its own instructions, against exact references."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split.assembly.layers import ZERO_POINT, Layer, arm_target, integer_network, network, program
from tvm_split.passes.layering import is_constant

UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative
CORES = ("cortex-a72", "cortex-a76", "max")


def layers(rng: np.random.Generator) -> list[Layer]:
    """One of each kind, of random odd sizes."""

    def odd(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    def convolution(kind: str, window: int, stride: int = 1, padding: int | None = None, few: bool = False) -> Layer:
        inner = 3 if few else odd(5, 40)
        padding = window // 2 if padding is None else padding
        return Layer(kind, "", inner, odd(5, 70), odd(7, 18), odd(7, 18), window, stride, padding, batch=odd(1, 3))

    def depthwise(window: int, stride: int) -> Layer:
        channels = odd(2, 12) * 4 + odd(0, 2) * 3
        size = odd(7, 18), odd(7, 18), window, stride, window // 2
        return Layer("depthwise", "", channels, channels, *size, groups=channels)

    return [
        convolution("3x3", 3),
        convolution("3x3, stride 2", 3, 2),
        convolution("3x3, not padded", 3, padding=0),
        convolution("3x3, 3 channels", 3, 2, few=True),
        Layer("3x3, many", "", 4 * odd(16, 20), 4 * odd(16, 20), odd(17, 24), odd(17, 24), 3, padding=1),  # by Winograd
        convolution("5x5", 5),
        convolution("7x7, 3 channels", 7, 2, few=True),
        convolution("1x1", 1),
        convolution("1x1, stride 2", 1, 2),
        depthwise(3, 1),
        depthwise(3, 2),
        depthwise(5, 1),
        depthwise(5, 2),
        Layer("dense", "", odd(9, 200), odd(9, 100), odd(2, 40)),
        Layer("dense, 1 row", "", odd(100, 300), odd(9, 100), 1),
    ]


def sums(layer: Layer, x: np.ndarray, weight: np.ndarray, padded: int = 0) -> np.ndarray:
    """The layer's sums of products, in the arithmetic of the arrays; around the data there is `padded`."""
    if not layer.window:
        return x @ weight
    pad = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=padded)
    windows = np.lib.stride_tricks.sliding_window_view(x, (layer.window, layer.window), (2, 3))
    windows = windows[:, :, :: layer.stride, :: layer.stride]
    if layer.groups > 1:
        return np.einsum("nchwij,cij->nchw", windows, weight[:, 0])
    return np.einsum("nchwij,ocij->nohw", windows, weight)


def constants(mod) -> tuple[np.ndarray, np.ndarray]:
    """The weight and the bias of a network of one layer, in the order of its bindings."""
    calls = [each.value for each in mod["main"].body.blocks[0].bindings if isinstance(each.value, relax.Call)]
    weight, bias = (call.args[1] for call in calls if len(call.args) == 2 and is_constant(call.args[1]))
    return weight.value.numpy(), bias.value.numpy()


def float32(layer: Layer, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact result, and by how much roundings to float32 may change it."""
    x, weight, bias = (each.astype("float64") for each in (x, weight, bias))
    exact = sums(layer, x, weight) + bias
    magnitude = sums(layer, abs(x), abs(weight)) + abs(bias)
    terms = weight.size // layer.outer + 2
    return np.clip(exact, 0, 6) if layer.window else exact, terms * UNIT * 1.01 * magnitude


def float16(layer: Layer, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, float]:
    """Of -1, 0 and 1, whose sums float16 holds exactly; cortex-a72 has no arithmetic for it and converts."""
    x, weight, bias = (each.astype("int64") for each in (x, weight, bias))
    exact = sums(layer, x, weight) + bias
    assert abs(exact).max() < 2048
    return np.clip(exact, 0, 6) if layer.window else exact, 0


def uint8_by_int8(layer: Layer, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, float]:
    """Every sum is exact."""
    x, weight, bias = (each.astype("int64") for each in (x, weight, bias))
    return sums(layer, x, weight, ZERO_POINT) + bias, 0


class Kind(NamedTuple):
    """`network(layer, seed)`; the data, `draw(rng, shape)` for each run; (result, greatest error) of the arrays."""

    network: Callable[[Layer, int], tvm.IRModule]
    draws: Sequence[Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]]
    exact: Callable[[Layer, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | float]]


KINDS = {
    "float32": Kind(
        lambda layer, seed: network(layer, seed=seed),
        [lambda rng, shape: rng.standard_normal(shape).astype("float32")],
        float32,
    ),
    "float16": Kind(
        lambda layer, seed: network(layer, "float16", seed, signs=True),
        [lambda rng, shape: rng.integers(-1, 2, shape).astype("float16")],
        float16,
    ),
    "uint8_by_int8": Kind(  # there is a channel of weights of -128, and the data are of both extremes
        lambda layer, seed: integer_network(layer, seed=seed),
        [
            lambda rng, shape: rng.integers(0, 256, shape, "uint8"),
            lambda rng, shape: rng.choice(np.array([0, 255], "uint8"), shape),
            lambda _rng, shape: np.zeros(shape, "uint8"),
            lambda _rng, shape: np.full(shape, 255, "uint8"),
        ],
        uint8_by_int8,
    ),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind(guest, core, kind, tmp_path):
    rng = np.random.default_rng(int(os.environ.get("TVM_SPLIT_SEED", "20")))
    make, draws, exact = KINDS[kind]
    cases = {f"{i} {layer}": layer for i, layer in enumerate(layers(rng))}
    networks = {name: make(layer, i) for i, (name, layer) in enumerate(cases.items())}
    target = arm_target(core)
    built = guest.Guest.build({name: program(mod, target) for name, mod in networks.items()}, target, tmp_path)
    for draw in draws:
        data = {name: [draw(rng, layer.input_shape)] for name, layer in cases.items()}
        results = built.run(core, data)
        for name, layer in cases.items():
            expected, bound = exact(layer, data[name][0], *constants(networks[name]))
            (found,) = results[name]
            assert found.shape == expected.shape, name
            assert (abs(found - expected) <= bound).all(), name
