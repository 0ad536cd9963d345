"""Equalisation where it helps: layers far out of balance are balanced, others stay, and floats stay the same bits."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import pipeline, prepare
from tvm_split.calibration.equalized import better_of, relative_distortion
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.request import Request


def network(build, balance):
    """Two convolutions; channel i of the tensor between them is made `balance[i]` times too large, and read so less."""
    random = np.random.default_rng(0)
    first, second = (random.normal(size=(8, 8, 1, 1)) for _ in range(2))
    first *= np.reshape(balance, (8, 1, 1, 1))
    second /= np.reshape(balance, (1, 8, 1, 1))

    def body(emit, x):
        made = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, relax.const(first.astype("f"))), "a")), "r")
        return emit(relax.op.nn.conv2d(made, relax.const(second.astype("f"))), "y")

    return build(body, (1, 8, 4, 4))


def test_layers_out_of_balance(build):
    mod = network(build, 4.0 ** np.arange(8))
    asked = Request(mod, equalize=True, edge_bits=(8, 32))
    plain, made = pipeline.layers()(mod), prepare.layered(mod, asked)
    assert relative_distortion(made, 8) < 0.7 * relative_distortion(plain, 8)
    x = {"x0": np.random.default_rng(1).normal(size=(1, 8, 4, 4)).astype("f")}
    runners = [LayerRunner(each) for each in (plain, made)]
    outputs = [next(iter(runner.run(x, runner.graph.outputs).values())) for runner in runners]
    np.testing.assert_array_equal(*outputs)
    tvm.ir.assert_structural_equal(prepare.layered(made, asked), made)


def test_not_where_it_does_not_help(build, caplog):
    plain, other = (pipeline.layers()(network(build, balance)) for balance in (np.ones(8), 4.0 ** np.arange(8)))
    caplog.set_level("INFO", "tvm_split.passes")
    assert better_of(plain, other, 8) is plain and "left as they are" in caplog.text
    assert better_of(other, plain, 8) is plain and "balanced" in caplog.text


def test_the_mean_of_the_layers(build):
    mod = pipeline.layers()(network(build, np.ones(8)))
    found = [relative_distortion(mod, bits) for bits in (2, 4, 8)]
    assert found == sorted(found, reverse=True) and found[0] < 1
    assert relative_distortion(mod, 16) == 0 and len(layer_weights(mod)) == 2


@pytest.mark.parametrize("equalize", [1, "yes"])
def test_what_is_no_choice(equalize):
    with pytest.raises(PlanError, match="equalize"):
        Request("net.onnx", equalize=equalize)
