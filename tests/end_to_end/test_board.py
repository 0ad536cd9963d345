"""The payload that an ARM board makes, beside the one that the same half makes here: of floats within a step, of
integers with weights of all widths the same bytes.

eval "$(python tests/board/emulated_board.py up)"
python -m pytest tests/end_to_end/test_board.py
"""

from dataclasses import asdict
from itertools import cycle

import numpy as np
import pytest

from tvm_split import extract, pipeline
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.compile_half import baseline, compile_half
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.pack_cut import read_layout
from tvm_split.profile.rpc import connect, remote_vm
from tvm_split.random_samples import random_batches
from tvm_split.runtime.executor import Half
from tvm_split.runtime.payload import unpack
from tvm_split.targets import load_target

WAIT_S = 120
NETWORKS = ["efficientnet-lite0", "plate-detector"]
PREPROCESS = {"efficientnet-lite0": "efficientnet-lite0", "plate-detector": "plate"}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_board_payload_is_within_one_step_of_the_hosts(board, network, name, bits, tmp_path):
    net = network(name, PREPROCESS[name])
    image = random_batches(net.graph, 1, seed=0)[0][net.graph.inputs[0]]
    edge = net.narrow_cut(0.1, 0.3)
    half, _ = net.halves(edge, net.quantizers(edge, bits, [image]))
    compile_half(half, load_target("raspberry-pi-4"), tmp_path / "board.so")
    compile_half(half, baseline(), tmp_path / "host.so")
    with connect(board.tracker, board.key, timeout_s=WAIT_S) as session:
        theirs = remote_vm(session, tmp_path / "board.so").run([image])[0]
    ours = Half(tmp_path / "host.so").run([image])[0]
    assert theirs.shape == ours.shape
    parts = [asdict(part) for part in read_layout(half)]
    assert parts
    for part in parts:
        assert part["bits"] == bits
        here, there = (unpack(payload, part).astype(np.int64) for payload in (ours, theirs))
        assert np.ptp(here) > 1  # a payload of one value would prove nothing
        assert np.abs(here - there).max() <= 1


def test_a_mixed_half_makes_the_same_bytes(board, network, tmp_path):
    """Layers with weights of 2, 3, 4, 6 and 8 bits by turns, all tensors at 8, what crosses at 4."""
    net = network("efficientnet-lite0", "efficientnet-lite0")
    image = random_batches(net.graph, 1, seed=0)[0][net.graph.inputs[0]]
    edge = net.narrow_cut(0.4, 0.7)
    half, _ = net.halves(edge, net.quantizers(edge, 4, [image]))
    statistics = gather(net.runner, calibratable(net.graph), [{net.graph.inputs[0]: image}])
    calibrated = Calibrated.of(net.mod, net.graph, statistics)
    inside = extract.graph(half).tensor.keys()
    held = {name: each for name, each in calibrated.everywhere(8).items() if name in inside}
    bits = dict(zip([name for name in edge if name in calibrated.weights], cycle((2, 3, 4, 6, 8)), strict=False))
    assert len(bits) > 20
    mixed = pipeline.quantized()(AnnotatePrecision(bits, held)(half))
    compile_half(mixed, load_target("raspberry-pi-4"), tmp_path / "board.so")
    compile_half(mixed, baseline(), tmp_path / "host.so")
    with connect(board.tracker, board.key, timeout_s=WAIT_S) as session:
        theirs = remote_vm(session, tmp_path / "board.so").run([image])[0]
    ours = Half(tmp_path / "host.so").run([image])[0]
    assert len(np.unique(ours)) > 16
    np.testing.assert_array_equal(theirs, ours)
