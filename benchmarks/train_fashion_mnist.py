"""Train a small residual network on Fashion-MNIST, and write it as ONNX with the pictures that accuracy.py measures on.

    apt-get install dataset-fashion-mnist;  pip install jax
    python benchmarks/train_fashion_mnist.py FOLDER [--epochs 6] [--calibrating 512]

writes into FOLDER

    fashion-mnist.onnx       seven convolutions with batch norms, two of them in residual blocks each, one linear layer;
                             reads a picture's bytes as float32 (1, 1, 28, 28)
    fashion-mnist-test.npz   the 10,000 test pictures ("image") and their classes ("labels")
    fashion-mnist-train.npz  the first pictures of the training part, to calibrate on, and their classes

Adam (D. Kingma, J. Ba, ICLR 2015), pictures mirrored at random, a rate that falls to nearly 0. One seed: the same
machine gives the same network. About five minutes on two cores; test accuracy 0.92.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from fashion_mnist import FOLDER, pictures
from jax import lax
from onnx import TensorProto, helper, numpy_helper

Values = dict[str, jax.Array]
BATCH, RATE, SEED, CLASSES = 128, 4e-3, 0, 10
#: share of the old in the running means of the batch norms; what is added to their variances
KEPT, EPSILON = 0.9, 1e-5


class Conv(NamedTuple):
    """A 3 x 3 convolution without bias, padded by one, then a batch norm."""

    name: str
    inputs: int
    outputs: int
    stride: int = 1


STEM = Conv("stem", 1, 16)
#: a convolution that halves the picture, then a residual block of two
STAGES = (
    (Conv("down1", 16, 24, 2), Conv("block1a", 24, 24), Conv("block1b", 24, 24)),
    (Conv("down2", 24, 48, 2), Conv("block2a", 48, 48), Conv("block2b", 48, 48)),
)
CONVS = (STEM, *(conv for stage in STAGES for conv in stage))


def first_values(random: np.random.Generator) -> tuple[Values, Values]:
    """Trained values, and the running means and variances of the batch norms."""
    trained, running = {}, {}
    for conv in CONVS:
        shape = (conv.outputs, conv.inputs, 3, 3)
        trained[conv.name] = random.standard_normal(shape) * np.sqrt(2 / (9 * conv.inputs))
        trained |= {f"{conv.name}.scale": np.ones(conv.outputs), f"{conv.name}.shift": np.zeros(conv.outputs)}
        running |= {f"{conv.name}.mean": np.zeros(conv.outputs), f"{conv.name}.var": np.ones(conv.outputs)}
    width = CONVS[-1].outputs
    trained |= {"linear": random.standard_normal((width, CLASSES)) / np.sqrt(width), "bias": np.zeros(CLASSES)}
    return tuple({name: jnp.asarray(value, jnp.float32) for name, value in part.items()} for part in (trained, running))


def network(trained: Values, running: Values, bytes_: jax.Array, training: bool) -> tuple[jax.Array, Values]:
    """Logits (N, 10) of pictures (N, 1, 28, 28), and the batch norms' running values after them."""
    after = dict(running)

    def normed(conv: Conv, x: jax.Array) -> jax.Array:
        x = lax.conv_general_dilated(x, trained[conv.name], (conv.stride,) * 2, ((1, 1), (1, 1)))
        mean, var = running[f"{conv.name}.mean"], running[f"{conv.name}.var"]
        if training:
            new = {"mean": x.mean((0, 2, 3)), "var": x.var((0, 2, 3))}
            for what, value in new.items():
                name = f"{conv.name}.{what}"
                after[name] = KEPT * running[name] + (1 - KEPT) * value
            mean, var = new["mean"], new["var"]
        scale = trained[f"{conv.name}.scale"] / jnp.sqrt(var + EPSILON)
        shift = trained[f"{conv.name}.shift"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = jax.nn.relu(normed(STEM, bytes_ / 255))
    for down, one, two in STAGES:
        x = jax.nn.relu(normed(down, x))
        x = jax.nn.relu(x + normed(two, jax.nn.relu(normed(one, x))))
    return x.mean((2, 3)) @ trained["linear"] + trained["bias"], after


def _loss(trained: Values, running: Values, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Values]:
    logits, after = network(trained, running, x, training=True)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), after


@jax.jit
def step(
    trained: Values, running: Values, first: Values, second: Values, count: jax.Array, rate: jax.Array,
    x: jax.Array, y: jax.Array,
) -> tuple[Values, Values, Values, Values]:  # fmt: skip
    """One step of Adam: `first` and `second` are the gradients' moments, `count` the steps with this one."""
    gradient, running = jax.grad(_loss, has_aux=True)(trained, running, x, y)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    even = jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    trained = jax.tree.map(lambda p, m, v: p - rate * even * m / (jnp.sqrt(v) + 1e-8), trained, first, second)
    return trained, running, first, second


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> tuple[Values, Values]:
    random = np.random.default_rng(SEED)
    trained, running = first_values(random)
    first = second = jax.tree.map(jnp.zeros_like, trained)
    began, count, steps = time.monotonic(), 0, len(x) // BATCH
    for epoch in range(epochs):
        order = random.permutation(len(x))
        for i in range(steps):
            chosen, count = order[i * BATCH : (i + 1) * BATCH], count + 1
            mirrored = random.random(BATCH)[:, None, None, None] < 0.5
            batch = np.where(mirrored, x[chosen][..., ::-1], x[chosen]).astype(np.float32)
            rate = RATE * (1 - count / (epochs * steps)) + RATE / 200
            trained, running, first, second = step(
                trained, running, first, second, float(count), rate, batch, y[chosen]
            )
        jax.block_until_ready(trained)
        print(f"epoch {epoch + 1} of {epochs}: {time.monotonic() - began:.0f} s", flush=True)
    return trained, running


def onnx_model(trained: Values, running: Values) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    values = {name: np.asarray(value) for name, value in {**trained, **running}.items()}
    values[STEM.name] = values[STEM.name] / np.float32(255)  # a picture's bytes are read as they are

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def normed(conv: Conv, x: str) -> str:
        sums = node("Conv", [x, conv.name], f"{conv.name}_sums", kernel_shape=[3, 3], pads=[1] * 4,
                    strides=[conv.stride] * 2)  # fmt: skip
        parts = [f"{conv.name}.{part}" for part in ("scale", "shift", "mean", "var")]
        return node("BatchNormalization", [sums, *parts], f"{conv.name}_normed", epsilon=EPSILON)

    x = node("Relu", [normed(STEM, "image")], "stem_out")
    for down, one, two in STAGES:
        x = node("Relu", [normed(down, x)], f"{down.name}_out")
        inner = node("Relu", [normed(one, x)], f"{one.name}_out")
        x = node("Relu", [node("Add", [x, normed(two, inner)], f"{two.name}_sum")], f"{two.name}_out")
    node("Gemm", [node("Flatten", [node("GlobalAveragePool", [x], "pooled")], "flat"), "linear", "bias"], "logits")
    model = helper.make_model(
        helper.make_graph(
            nodes, "fashion_mnist",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--calibrating", type=int, default=512, help="training pictures to calibrate on")
    parser.add_argument("--data", type=Path, default=FOLDER)
    asked = parser.parse_args()
    (x, y), (test_x, test_y) = pictures("train", asked.data), pictures("t10k", asked.data)
    model = onnx_model(*train(x, y, asked.epochs))
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "fashion-mnist.onnx"
    onnx.save(model, path)
    np.savez_compressed(asked.folder / "fashion-mnist-test.npz", image=test_x, labels=test_y)
    few = slice(asked.calibrating)
    np.savez_compressed(asked.folder / "fashion-mnist-train.npz", image=x[few], labels=y[few])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [int(session.run(None, {"image": one[None].astype(np.float32)})[0].argmax()) for one in test_x]
    print(f"{path}: test accuracy {np.mean(found == test_y):.4f} of {len(test_y)} pictures, by onnxruntime")


if __name__ == "__main__":
    main()
