"""Plans from the command line for energy, on a packaged board over a packaged link, and under the cloud's load."""

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from tvm_split.assembly.mca import find_tool
from tvm_split.cli import cli
from tvm_split.errors import CostError

#: Raspberry Pi 4: full load less idle. WiFi: JointDNN's line at 18.88 Mbit/s up and 54.97 down
EDGE_W, UP_W, DOWN_W = 3.7, 5.4791096, 7.6642997


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """Two convolutions, a pooling and ten scores."""
    random = np.random.default_rng(0)
    shapes = {"w0": (16, 3, 3, 3), "w1": (32, 16, 3, 3), "w2": (32, 10)}
    weights = [numpy_helper.from_array(random.standard_normal(s).astype("f4"), name) for name, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w2"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 10])
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    graph = helper.make_graph(nodes, "small", [x], [y], weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


def plan(*words: str):
    return CliRunner().invoke(cli, ["plan", *words, "--quiet"])


def test_the_least_joules_are_chosen(model):
    done = plan(model, "--edge", "raspberry-pi-4", "--link", "wifi", "--objective", "energy", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    taken = []
    for each in made["candidates"]:
        times = each["predicted"]
        joules = EDGE_W * times["edge_s"] + UP_W * times["uplink_s"] + DOWN_W * times["downlink_s"]
        assert each["energy_j"] == pytest.approx(joules, rel=1e-6)
        taken.append(joules)
    assert made["chosen"]["energy_j"] == pytest.approx(min(taken), rel=1e-6)


def test_a_plan_from_machine_code_says_how_long_its_answer_may_take(model):
    """A board and this machine, floats and integers; no model and no board is at hand."""
    try:
        find_tool()
    except CostError as error:
        pytest.skip(str(error))
    asked = ("--edge", "raspberry-pi-4", "--cloud", "host", "--costs", "mca", "--edge-bits", "8,32", "--link", "wifi")
    done = plan(model, *asked, "--json")
    assert done.exit_code == 0, done.output
    assert "cycles by llvm-mca" in done.stderr
    made = json.loads(done.stdout)
    assert 0 < made["interval"]["low_s"] < made["chosen"]["predicted"]["total_s"] < made["interval"]["high_s"]
    done = plan(model, *asked)
    assert "; may take from " in done.stdout and "cycles by llvm-mca" in done.stderr


def test_the_power_of_the_radio_follows_the_rate_of_the_user(model):
    """Cloud-only at 2 Mbit/s: 49,152 bytes up and 40 back; a bit costs 283.17 nJ up, 137.01 nJ down, and the radio
    132.86 mW as long as it is on."""
    done = plan(model, "--link", "wifi@2mbit/0ms", "--objective", "energy", "--json")
    (raw,) = (each for each in json.loads(done.stdout)["candidates"] if each["kind"] == "cloud-only")
    up_bits, down_bits = 49_152 * 8, 40 * 8
    wanted = 283.17e-9 * up_bits + 137.01e-9 * down_bits + 0.13286 * (up_bits + down_bits) / 2e6
    assert raw["payload_bytes"] == 49_152 and raw["energy_j"] == pytest.approx(wanted)


def test_the_table_has_joules_and_says_what_they_are_of(model):
    done = plan(model, "--edge", "raspberry-pi-4", "--link", "wifi", "--objective", "energy")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    for text in (" energy ", "the least energy of the edge", "3.7 W computing, 5.48 W sending, 7.66 W receiving"):
        assert text in said
    assert "Soonest answer by uplink rate" in said
    assert "energy" not in plan(model, "--edge", "raspberry-pi-4", "--link", "wifi").stdout


def test_a_target_without_power_says_what_to_do(model):
    done = plan(model, "--edge", "jetson-nano", "--link", "wifi", "--objective", "energy")
    assert done.exit_code == 2 and "'jetson-nano' has no active_w" in done.stderr


def test_a_busy_cloud_takes_longer_and_says_so(model):
    idle, busy = (plan(model, "--json", *words) for words in ((), ("--cloud-load", "0.5")))
    times = []
    for done in (idle, busy):
        (raw,) = (each for each in json.loads(done.stdout)["candidates"] if each["kind"] == "cloud-only")
        times.append(raw["predicted"]["cloud_s"])
    assert times[1] == pytest.approx(1.5 * times[0])
    assert json.loads(busy.stdout)["cloud_load"] == {"load": 0.5, "factor": 1.5, "service_s": pytest.approx(times[0])}
    assert "cloud_load" not in json.loads(idle.stdout)
    assert "The cloud is busy with others 0.5 of the time" in plan(model, "--cloud-load", "0.5").stdout
