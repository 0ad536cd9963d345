"""Random cuts of real networks, nothing quantised: the two halves compute the whole, bit for bit."""

import random

import numpy as np
import pytest

CUTS = 2
MAX_RELATIVE_ERROR = 1e-3


class Whole:
    """A network compiled whole, one random input, and its outputs here and in onnxruntime."""

    def __init__(self, name, network, session, folder):
        self.net = network(name)
        graph = self.net.graph
        self.shape = graph.tensor[graph.inputs[0]].shape
        self.image = np.random.default_rng(0).standard_normal(self.shape).astype(np.float32)
        self.outputs = self.net.whole(folder).run([self.image])
        reference = session(name)
        self.expected = reference.run(None, {reference.get_inputs()[0].name: self.image})


@pytest.fixture(scope="module", params=["efficientnet-lite0", "plate-detector"])
def whole(request, network, session, tmp_path_factory):
    return Whole(request.param, network, session, tmp_path_factory.mktemp("whole"))


def test_whole_network_computes_what_onnxruntime_does(whole):
    assert len(whole.outputs) == len(whole.expected)
    for ours, theirs in zip(whole.outputs, whole.expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= MAX_RELATIVE_ERROR * np.abs(theirs).max()


@pytest.mark.parametrize("seed", range(CUTS))
def test_split_network_equals_the_whole_bit_for_bit(whole, seed, tmp_path):
    edge = whole.net.random_cut(random.Random(seed))
    found = whole.net.split(edge, {}, tmp_path).run(whole.image)
    assert len(found) == len(whole.outputs)
    for ours, theirs in zip(found, whole.outputs, strict=True):
        assert np.array_equal(ours, theirs)
