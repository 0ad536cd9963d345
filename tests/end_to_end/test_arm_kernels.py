"""Kernels of every kind on emulated ARM cores, each with its own instructions, against exact references."""

import os

import numpy as np
import pytest
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


def random() -> np.random.Generator:
    return np.random.default_rng(int(os.environ.get("TVM_SPLIT_SEED", "20")))


@pytest.mark.parametrize("core", CORES)
def test_float32(guest, core, tmp_path):
    rng = random()
    cases = {f"{i} {layer}": layer for i, layer in enumerate(layers(rng))}
    networks = {name: network(layer, seed=i) for i, (name, layer) in enumerate(cases.items())}
    target = arm_target(core)
    built = guest.Guest.build({name: program(mod, target) for name, mod in networks.items()}, target, tmp_path)
    data = {name: [rng.standard_normal(layer.input_shape).astype("float32")] for name, layer in cases.items()}
    results = built.run(core, data)
    for name, layer in cases.items():
        weight, bias = (each.astype("float64") for each in constants(networks[name]))
        x = data[name][0].astype("float64")
        exact = sums(layer, x, weight) + bias
        if layer.window:
            exact = np.clip(exact, 0, 6)
        magnitude = sums(layer, abs(x), abs(weight)) + abs(bias)
        terms = weight.size // layer.outer + 2
        (found,) = results[name]
        assert (abs(found - exact) <= terms * UNIT * 1.01 * magnitude).all(), name


@pytest.mark.parametrize("core", CORES)
def test_float16(guest, core, tmp_path):
    """Of -1, 0 and 1, whose sums float16 holds exactly; cortex-a72 has no arithmetic for it and converts."""
    rng = random()
    cases = {f"{i} {layer}": layer for i, layer in enumerate(layers(rng))}
    networks = {name: network(layer, "float16", i, signs=True) for i, (name, layer) in enumerate(cases.items())}
    target = arm_target(core)
    built = guest.Guest.build({name: program(mod, target) for name, mod in networks.items()}, target, tmp_path)
    data = {name: [rng.integers(-1, 2, layer.input_shape).astype("float16")] for name, layer in cases.items()}
    results = built.run(core, data)
    for name, layer in cases.items():
        weight, bias = (each.astype("int64") for each in constants(networks[name]))
        exact = sums(layer, data[name][0].astype("int64"), weight) + bias
        assert abs(exact).max() < 2048
        np.testing.assert_array_equal(results[name][0], np.clip(exact, 0, 6) if layer.window else exact, err_msg=name)


@pytest.mark.parametrize("core", CORES)
def test_uint8_by_int8(guest, core, tmp_path):
    """Every sum exact, with data of both extremes and a channel of weights of -128."""
    rng = random()
    cases = {f"{i} {layer}": layer for i, layer in enumerate(layers(rng))}
    networks = {name: integer_network(layer, seed=i) for i, (name, layer) in enumerate(cases.items())}
    target = arm_target(core)
    built = guest.Guest.build({name: program(mod, target) for name, mod in networks.items()}, target, tmp_path)
    extremes = np.array([0, 255], "uint8")
    for draw in (lambda shape: rng.integers(0, 256, shape, "uint8"), lambda shape: rng.choice(extremes, shape),
                 lambda shape: np.zeros(shape, "uint8"), lambda shape: np.full(shape, 255, "uint8")):  # fmt: skip
        data = {name: [draw(layer.input_shape)] for name, layer in cases.items()}
        results = built.run(core, data)
        for name, layer in cases.items():
            weight, bias = (each.astype("int64") for each in constants(networks[name]))
            exact = sums(layer, data[name][0].astype("int64"), weight, ZERO_POINT) + bias
            np.testing.assert_array_equal(results[name][0], exact, err_msg=name)
