"""Names of schemes, and the bits of a mixed one, on networks small enough to know the answer."""

import numpy as np
import pytest
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import pipeline
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner

RANDOM = np.random.default_rng(3)
W1, W2 = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((5, 7), (7, 3)))
#: of a scale that drowns in the other's
FAINT = (1e-4 * RANDOM.standard_normal((5, 3))).astype(np.float32)


@I.ir_module
class Two:
    """Two branches: the scores are nearly those of the first alone."""

    @R.function
    def main(x: R.Tensor((1, 5), "float32")) -> R.Tensor((1, 3), "float32"):
        with R.dataflow():
            h = R.nn.relu(R.matmul(x, R.const(W1)))
            y = R.matmul(h, R.const(W2))
            f = R.matmul(x, R.const(FAINT))
            z = R.add(y, f)
            R.output(z)
        return z


@pytest.fixture(scope="module")
def schemes(script):
    return script("schemes")


@pytest.fixture(scope="module")
def network():
    mod = pipeline.layers()(Two)
    return mod, LayerRunner(mod), [{"x": RANDOM.standard_normal((1, 5)).astype(np.float32)} for _ in range(9)]


def test_names_of_schemes(schemes):
    named = schemes.Scheme.named
    assert named("W4A8+") == schemes.Scheme("W4A8+", 4, None, 8, False, True)
    assert named("mixed-3.5") == schemes.Scheme("mixed-3.5", None, 3.5, 8, False, False)
    assert named("paper-4+") == schemes.Scheme("paper-4+", None, 4.0, 8, True, True)
    for wrong in ("W9A8", "W4", "mixed", "mixed-4++", "mixed-4."):
        with pytest.raises(PlanError, match=wrong.replace("+", r"\+")):
            named(wrong)


@pytest.mark.parametrize("name", ["mixed-5", "mixed-5+"])
def test_a_layer_that_hardly_counts_gives_its_bits(schemes, network, name, monkeypatch, tmp_path):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    mod, runner, batches = network
    quantiser = schemes.Quantiser(mod, runner, batches)
    found = quantiser.quantised(schemes.Scheme.named(name))
    faint = next(layer for layer, each in quantiser.weights.items() if np.array_equal(each.array, FAINT))
    assert found.bits[faint] == 2
    assert max(found.bits.values()) > 2 and 2 < found.average <= 5
    elements = {layer: each.array.size for layer, each in quantiser.weights.items()}
    spent = sum(elements[layer] * bits for layer, bits in found.bits.items())
    assert found.average == pytest.approx(spent / sum(elements.values()))


def test_by_the_papers_measure_the_faint_layer_gives_too(schemes, network):
    quantiser = schemes.Quantiser(*network)
    found = quantiser.quantised(schemes.Scheme.named("paper-5"))
    faint = next(layer for layer, each in quantiser.weights.items() if np.array_equal(each.array, FAINT))
    assert found.bits[faint] == 2 and found.average <= 5
