"""Names of schemes, what the outputs lose, and the bits of a mixed one, on networks small enough to know the answer."""

import numpy as np
import pytest
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import pipeline
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_alone import layer_alone
from tvm_split.passes.round_weights import Rounded, RoundWeights

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


def test_divergence_of_scores(schemes):
    """Of (1/2, 1/2) and (1/4, 3/4): ln 2 / 2 + ln (2/3) / 2; a shift of all scores changes nothing."""
    exact, rough = np.zeros((1, 2), np.float32), np.log(np.array([[1, 3]], np.float32)) + 50
    assert schemes.divergence(exact, rough) == pytest.approx(np.log(2) / 2 + np.log(2 / 3) / 2, rel=1e-5)
    assert schemes.divergence(rough, rough) == 0


def test_what_the_outputs_lose_is_that_of_the_whole_network_changed(schemes, network):
    mod, runner, batches = network
    names = list(schemes.Quantiser(mod, runner, batches).weights)
    other = {name: Rounded(0.5 * schemes.layer_weights(mod)[name].array) for name in names}
    alone = {name: LayerRunner(layer_alone(RoundWeights({name: other[name]})(mod), name)) for name in names}
    lost = schemes.outputs_lose(runner, alone, batches)
    (output,) = runner.graph.outputs
    for name in names:
        changed = LayerRunner(RoundWeights({name: other[name]})(mod))
        found = [
            schemes.divergence(runner.run(batch, [output])[output], changed.run(batch, [output])[output])
            for batch in batches
        ]
        assert lost[name] == pytest.approx(np.mean(found), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("name", ["mixed-5", "mixed-5+"])
def test_a_layer_that_hardly_counts_gives_its_bits(schemes, network, name):
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
