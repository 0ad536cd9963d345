"""Two real processes over a shaped link: right answers, right times, clear errors, nothing left running."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from tvm_split.errors import BundleError, LinkDownError
from tvm_split.plan.problem import Link
from tvm_split.runtime.edge import dial, load_arrays, save_arrays, split_time
from tvm_split.runtime.local import run_bundle

SLOW = Link("slow", 400.0, 400.0)


def children(word: str) -> list[psutil.Process]:
    """This process's children with the word in their command line."""
    found = []
    for child in psutil.Process().children():
        try:
            if any(word in part for part in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert not children("tvm_split.runtime")


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype and array.shape == theirs[name].shape
        np.testing.assert_allclose(array, theirs[name], rtol=1e-5)


def test_a_split_over_its_link(split, x, right):
    result = run_bundle(split, {"x": x}, repeats=2)
    same(result.outputs, right)
    edge, uplink, cloud, downlink, total = result.stages
    assert edge.error_percent is cloud.error_percent is total.error_percent is None
    assert (edge.predicted_for, cloud.predicted_for) == ("raspberry-pi-4", "c5.xlarge")
    assert edge.measured_on == "this machine (the twin for generic)" and "own half" in cloud.measured_on
    assert uplink.error_percent is not None and downlink.difference_s is not None
    assert len(result.runs) == 2 and result.measured.edge_s > 0 and result.measured.cloud_s > 0
    # never faster than the link; a busy machine may be slower
    assert split.link.up_s(split.payload_bytes) <= min(run.uplink_s for run in result.runs) < 1
    assert split.link.down_s(40) * 0.98 <= min(run.downlink_s for run in result.runs) < 1


def test_the_devices_own_halves(split, x, right):
    result = run_bundle(split, {"x": x}, repeats=1, shaped=False, on_device=True)
    same(result.outputs, right)
    assert all("the device's own half" in stage.measured_on for stage in (result.stages[0], result.stages[2]))


def test_a_clone_in_the_current_folder_hides_nothing(split, x, right, tmp_path, monkeypatch):
    (tmp_path / "tvm_split").mkdir()
    (tmp_path / "tvm_split" / "__init__.py").write_text("raise ImportError('not the installed package')\n")
    monkeypatch.chdir(tmp_path)
    same(run_bundle(split, {"x": x}).outputs, right)


def test_unshaped_is_faster(split, x, right):
    result = run_bundle(split, {"x": x}, repeats=3, link=SLOW, shaped=False)
    same(result.outputs, right)
    assert all(stage.difference_s is None for stage in result.stages)
    assert result.measured.total_s < SLOW.up_s(split.payload_bytes) / 4


def test_another_link_is_predicted_anew(split, x):
    other = Link("other", 2e6, 2e6, 0.004)
    predicted = run_bundle(split, {"x": x}, repeats=1, link=other).predicted
    assert (predicted.uplink_s, predicted.downlink_s) == (other.up_s(split.payload_bytes), other.down_s(40))
    assert predicted.edge_s == split.predicted.edge_s


def test_edge_only_needs_no_cloud(edge_only, x, right):
    result = run_bundle(edge_only, {"x": x}, repeats=2)
    same(result.outputs, {"doubled": right["doubled"]})
    assert result.measured.total_s == result.measured.edge_s > 0


def test_results_for_the_cloud_cost_no_downlink(make_bundle, split_halves, x, right, tmp_path):
    result = run_bundle(make_bundle(tmp_path / "b", split_halves, result_at="cloud"), {"x": x}, repeats=1)
    same(result.outputs, right)
    assert result.measured.downlink_s == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {}, "input 'x' is missing; the inputs are 'x', given: none"),
        (lambda x: {"x": x, "y": x}, "input 'y' is none of this bundle's inputs; they are 'x'"),
        (lambda x: {"x": x[:5]}, r"input 'x' is float32\[5\]; expected float32\[8192\]"),
        (lambda x: {"x": x.astype("float64")}, r"input 'x' is float64\[8192\]; expected float32\[8192\]"),
        (lambda x: {"x": list(x)}, "input 'x' is a list; expected a NumPy array"),
    ],
)
def test_wrong_inputs_start_nothing(split, x, change, message):
    with pytest.raises(BundleError, match=message):
        run_bundle(split, change(x))


def test_kill_the_cloud_in_mid_run(split, x):
    def kill():
        wait_until(lambda: children("tvm_split.runtime.edge"), "the edge")
        (cloud,) = children("tvm_split.runtime.cloud")
        wait_until(lambda: any(part.raddr for part in cloud.net_connections()), "its connection to the cloud")
        time.sleep(0.3)
        os.kill(cloud.pid, signal.SIGKILL)

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill)
        with pytest.raises(LinkDownError, match=r"the cloud half .* was killed by SIGKILL"):
            run_bundle(split, {"x": x}, link=SLOW)
        assert killed.result() is None


def test_ctrl_c_takes_both_down(split, x, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tvm_split.runtime.local.wait_for", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_bundle(split, {"x": x})


def test_a_half_of_another_bundle_is_refused(make_bundle, split_halves, x, tmp_path):
    other = make_bundle(tmp_path / "b", split_halves, fingerprint="cd" * 32)
    with pytest.raises(BundleError, match=rf"fingerprint {'ab' * 32}, not to {'cd' * 32}"):
        run_bundle(other, {"x": x})


def test_a_half_that_does_not_fit_says_so(make_bundle, split_halves, libraries, x, tmp_path):
    broken = make_bundle(tmp_path / "b", split_halves | {"cloud": libraries["whole"]})
    with pytest.raises(BundleError, match=r"the cloud half failed: .*cloud.so failed on"):
        run_bundle(broken, {"x": x})


def test_a_library_that_is_none(make_bundle, split_halves, x, tmp_path):
    (tmp_path / "text.so").write_text("not a library, whatever its name says")
    broken = make_bundle(tmp_path / "b", split_halves | {"cloud": tmp_path / "text.so"})
    with pytest.raises(BundleError, match=r"cloud.so cannot be loaded here .*architecture"):
        run_bundle(broken, {"x": x})


def test_the_cloud_serves_on_after_strangers(split, make_bundle, split_halves, x, right, tmp_path):
    """Another bundle's edge and a garbage client are refused; the next edge is served; the process ends with stdin."""
    command = [sys.executable, "-m", "tvm_split.runtime.cloud", str(split.path), "--with-parent"]
    other = make_bundle(tmp_path / "b", split_halves, fingerprint="cd" * 32)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as cloud:
        try:
            address = f"127.0.0.1:{json.loads(cloud.stdout.readline())['port']}"
            with pytest.raises(BundleError, match=f"{'ab' * 32}, this side {'cd' * 32}"):
                dial(address, other, 60)
            dial(address, split, 60)._link.sendall(os.urandom(100))
            save_arrays(tmp_path / "in.npz", {"x": x})
            edge = [sys.executable, "-m", "tvm_split.runtime.edge", str(split.path), "--connect", address, "--inputs",
                    str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"), "--device"]  # fmt: skip
            done = subprocess.run(edge, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, done.stderr
            same(load_arrays(tmp_path / "out.npz"), right)
            cloud.stdin.close()
            assert cloud.wait(10) == 3
            assert b"fingerprint" in cloud.stderr.read()
        finally:
            cloud.kill()


def test_no_cloud_answers(split):
    with pytest.raises(LinkDownError, match=r"no cloud half answers at 127.0.0.1:1 "):
        dial("127.0.0.1:1", split, 5)
    with pytest.raises(LinkDownError, match="expected HOST:PORT"):
        dial("nowhere", split, 5)


def test_arrays_of_any_name(tmp_path):
    arrays = {"file": np.arange(3), "onnx::a/b:0": np.array(True), "args": np.zeros((0, 2), np.uint8)}
    save_arrays(tmp_path / "a.npz", arrays)
    found = load_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays) and all((found[name] == arrays[name]).all() for name in arrays)
    Path(tmp_path / "b.npz").write_text("text")
    with pytest.raises(BundleError, match=r"cannot be read as .npz"):
        load_arrays(tmp_path / "b.npz")


def test_the_time_between_is_split_without_loss():
    # one clock: the cloud's times; two clocks, or a tunnel: RECEIVED ends the uplink
    assert split_time(10.0, 12.5, 16.0, 12.0, 15.0, True) == (2.0, 3.0, 1.0)
    assert split_time(10.0, 12.5, 16.0, 112.0, 115.0, False) == (2.5, 3.0, 0.5)
    assert split_time(10.0, 12.5, 16.0, 112.0, 115.0, True) == (2.5, 3.0, 0.5)
    assert split_time(10.0, 15.5, 16.0, 112.0, 115.0, False) == (3.0, 3.0, 0.0)
    for cloud in ((12.0, 11.0), (0.0, 7.0), (float("nan"), 1.0)):
        with pytest.raises(LinkDownError, match="the cloud says it computed"):
            split_time(10.0, 12.5, 16.0, *cloud, False)
