"""The payload that an ARM board makes, beside the one that the same half makes here.

eval "$(python tests/board/emulated_board.py up)"
python -m pytest tests/end_to_end/test_board.py
"""

from dataclasses import asdict

import numpy as np
import pytest

from tvm_split.compile_half import baseline, compile_half
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
