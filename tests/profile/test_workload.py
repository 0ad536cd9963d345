import numpy as np
import pytest
from tvm import relax

from tvm_split import extract, pipeline
from tvm_split.profile.feature_names import NAMES, PER_STORE
from tvm_split.profile.features import ARITHMETIC, aggregated, store_features
from tvm_split.profile.workload import integer_workload, made_up_quantizers, workload
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

SPEC = load_target("host")
TARGET = resolve(SPEC)


@pytest.fixture(scope="module")
def network(build):
    """Two equal convolutions, a third with other channels, a reshape, which is no kernel."""
    random = np.random.default_rng(0)

    def body(emit, x):
        for channels in (16, 16, 32):
            weight = relax.const(random.standard_normal((channels, 16, 3, 3), np.float32))
            x = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, weight, padding=1))))
        return emit(relax.op.reshape(x, [1, 32 * 16 * 16]))

    mod = pipeline.layers()(build(body, (1, 16, 16, 16)))
    return mod, extract.graph(mod, "net")


@pytest.fixture(scope="module")
def work(network):
    return workload(*network, SPEC, TARGET)


def test_equal_kernels_have_one_key_and_are_timed_once(network, work):
    keys = [work.keys[layer.name] for layer in network[1].layers]
    assert keys[0] == keys[1] and len(set(keys)) == 3 and len(list(work.distinct())) == 3
    assert work.keys == workload(*network, SPEC, TARGET).keys  # whatever the kernels are called this time


def test_every_layer_is_described_and_one_that_is_no_kernel_by_its_bytes_alone(network, work):
    last = network[1].layers[-1].name
    assert list(work.described) == [layer.name for layer in network[1].layers]
    for name, found in work.described.items():
        values = dict(zip(NAMES, found.features, strict=True))
        assert values["is_kernel"] == (name != last) and values["moved_bytes"] > 10 and found.base_s > 0
        assert all(np.isfinite(found.features))
    assert work.kernel(last) is None and not any(work.described[last].features[: 2 * PER_STORE])


def test_more_channels_are_more_arithmetic_for_tvm(network, work):
    small, _, large, _ = (work.described[layer.name] for layer in network[1].layers)
    assert sum(large.features[:ARITHMETIC]) > sum(small.features[:ARITHMETIC])


def test_features_are_summed_as_counts_and_the_leading_store_is_the_busiest(work):
    stores = np.zeros((2, PER_STORE))
    stores[0, 0], stores[1, 0], stores[1, 20] = np.log2(1 + 100), np.log2(1 + 300), 5.0
    found = np.array(aggregated(stores))
    assert found[0] == pytest.approx(np.log2(1 + 400)) and found[PER_STORE] == pytest.approx(np.log2(301))
    assert found[PER_STORE + 20] == 5.0
    name = next(work.distinct())
    assert store_features(work.kernel(name).function, TARGET).shape[1] == PER_STORE


def test_on_integers_layers_have_other_kernels(network, work):
    found = integer_workload(*network, SPEC, TARGET)
    names = [layer.name for layer in network[1].layers[:3]]
    assert set(names) <= set(found.keys) and set(found.keys.values()).isdisjoint(work.keys.values())
    assert all(found.described[name].features[NAMES.index("on_integers")] == 1 for name in names)


def test_made_up_quantisers_are_alike_where_codes_must_be():
    found = made_up_quantizers(["a", "b", "c"], [frozenset({"c", "a", "x"})])
    assert found["a"] == found["c"] != found["b"] and set(found) == {"a", "b", "c"}
