"""Measuring through a tracker and an RPC server, both processes here on 127.0.0.1."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from tvm import rpc

from tvm_split.cli import cli
from tvm_split.errors import BundleError, LinkDownError
from tvm_split.measure import measure_bundle, payload_checks, random_inputs
from tvm_split.runtime.tensors import link_stages


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    """HOST:PORT of a tracker with one server of key 'board'."""
    folder = tmp_path_factory.mktemp("rpc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base = [sys.executable, "-m"]
    address = ["--host", "127.0.0.1", "--port"]
    commands = [
        [*base, "tvm.exec.rpc_tracker", *address, str(port), "--port-end", str(port + 1)],
        [
            *base,
            "tvm.exec.rpc_server",
            *address,
            "9400",
            "--port-end",
            "9499",
            "--tracker",
            f"127.0.0.1:{port}",
            "--key",
            "board",
        ],
    ]
    started = []
    try:
        for command in commands:
            with (folder / "log").open("ab") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True))
        deadline = time.monotonic() + 120
        while True:
            try:
                if rpc.connect_tracker("127.0.0.1", port).summary()["queue_info"].get("board"):
                    break
            except (OSError, RuntimeError, KeyError):
                pass
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.3)
        yield f"127.0.0.1:{port}"
    finally:
        for process in started:
            os.killpg(process.pid, 15)  # its own session: the server's workers too
        for process in started:
            process.wait(10)


def test_a_split_on_the_board(split, tracker, x, right):
    result = measure_bundle(split, tracker, "board", repeats=3, inputs={"x": x})
    np.testing.assert_allclose(result.outputs["scores"], right["scores"], rtol=1e-5)
    assert (result.outputs["doubled"] == right["doubled"]).all() and result.outputs["best"] == right["best"]
    assert [(check.tensor, check.unit, check.max_difference, check.differing) for check in result.checks] == [
        ("h", "steps", 0, 0), ("doubled", "value", 0, 0)]  # fmt: skip
    assert len(result.edge_runs_s) == len(result.cloud_runs_s) == 3 and min(result.edge_runs_s) > 0
    assert (result.measured.uplink_s, result.measured.downlink_s) == link_stages(split, split.link)
    edge, uplink, cloud, downlink, total = result.stages
    assert edge.error_percent == pytest.approx(100 * (0.001 - result.measured.edge_s) / result.measured.edge_s)
    assert (edge.predicted_for, edge.measured_on) == ("raspberry-pi-4", "the board board")
    assert uplink.basis == downlink.basis == "computed" and uplink.error_percent is None
    # the cloud half ran here, the prediction is for a c5.xlarge: no error of it, nor of the total
    assert cloud.basis == "elsewhere" and cloud.measured_on.startswith("this machine")
    assert cloud.difference_s is cloud.error_percent is total.error_percent is None


def test_the_command_s_json_has_every_run_and_its_median(split, tracker):
    words = ["measure", str(split.path), "--tracker", tracker, "--edge-key", "board", "--repeats", "3", "--json"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    for side in ("edge", "cloud"):
        assert len(made[f"{side}_runs_s"]) == 3
        assert made["measured"][f"{side}_s"] == sorted(made[f"{side}_runs_s"])[1]
    assert [check["tensor"] for check in made["checks"]] == ["h", "doubled"]


def test_one_board_serves_as_both(split, tracker, x):
    result = measure_bundle(split, tracker, "board", cloud_key="board", repeats=2, inputs={"x": x})
    assert min(result.cloud_runs_s) > 0
    assert result.stages[2].measured_on == "the server board" and result.stages[-1].error_percent is not None


def test_edge_only(edge_only, tracker):
    result = measure_bundle(edge_only, tracker, "board", repeats=2)
    assert result.measured.total_s == result.measured.edge_s and result.stages[-1].difference_s is not None
    assert [check.tensor for check in result.checks] == ["doubled"] and result.cloud_runs_s == []


def test_no_such_board(split, tracker):
    with pytest.raises(LinkDownError, match="no board with key 'other'"):
        measure_bundle(split, tracker, "other", repeats=1, timeout_s=5)
    with pytest.raises(BundleError, match="repeats is 0"):
        measure_bundle(split, tracker, "board", repeats=0)


def test_random_inputs_repeat(split):
    assert (random_inputs(split)["x"] == random_inputs(split)["x"]).all()


def test_a_difference_is_counted_in_steps(part):
    board, host = np.array([0x21, 0x43], np.uint8), np.array([0x21, 0x63], np.uint8)
    (check,) = payload_checks(board, host, [part(4, (4,), "uint8")], 2)
    assert (check.unit, check.max_difference, check.differing, check.elements) == ("steps", 2, 1, 4)


def test_one_nan_is_an_infinite_difference(part):
    floats = part(32, (2,), "float32", scale=None, zero_point=None)
    board, host = (np.array(values, np.float32).view(np.uint8) for values in ([np.nan, np.nan], [np.nan, 1]))
    (check,) = payload_checks(board, host, [floats], 8)
    assert (check.max_difference, check.differing) == (np.inf, 1)
