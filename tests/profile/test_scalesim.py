"""The closed form beside the simulator that it stands for, on small shapes."""

import importlib
import json
from dataclasses import replace

import pytest

from tvm_split.errors import CostError
from tvm_split.profile import scalesim_run
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.profile.scalesim_run import cached, simulate, simulated_cycles
from tvm_split.profile.systolic import array_of, compute_cycles, traffic
from tvm_split.targets import load_target
from tvm_split.targets.systolic import SystolicArray

EYERISS, TPU = (array_of(load_target(name)) for name in ("eyeriss", "tpu"))
TIGHT = SystolicArray(12, 14, "ws", 4, 4, 4, 1e6)
SHAPES = (
    LayerShape(14, 14, 3, 3, 24, 20),
    LayerShape(10, 8, 3, 5, 8, 40, stride_height=2),
    LayerShape(7, 7, 1, 1, 64, 48, 2, 2),
    LayerShape(1, 30, 1, 9, 6, 5, 1, 2),
    LayerShape.matmul(1, 70, 33),
    LayerShape.matmul(40, 70, 33),
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def scalesim():
    return pytest.importorskip("scalesim", reason="pip install scalesim")


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("array", [EYERISS, TPU], ids=["12x14", "256x256"])
def test_the_closed_form_is_one_cycle_more_than_the_simulator_reports(scalesim, array, dataflow):
    array = replace(array, dataflow=dataflow)
    for shape in SHAPES:
        assert simulate(shape, array).cycles == compute_cycles(shape, array) - 1, shape


@pytest.mark.parametrize("array", [EYERISS, replace(TPU, rows=16, cols=16), replace(EYERISS, dataflow="is")])
def test_its_memory_adds_fetches_and_no_cycle(scalesim, array):
    for shape in SHAPES:
        whole, fetched = simulate(shape, array, memory=True), traffic(shape, array)
        assert (whole.cycles, whole.stalls) == (simulate(shape, array).cycles, 0)
        assert (whole.inputs, whole.weights) == (fetched.inputs, fetched.weights)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_fetches_of_operands_that_do_not_fit_are_about_the_simulators(scalesim, dataflow):
    array = replace(TIGHT, dataflow=dataflow)
    for shape in (SHAPES[0], LayerShape(12, 12, 3, 3, 20, 32), LayerShape.matmul(60, 70, 60)):
        whole, fetched = simulate(shape, array, memory=True), traffic(shape, array)
        assert whole.inputs / 1.5 <= fetched.inputs <= whole.inputs * 1.5, shape
        assert whole.weights / 1.5 <= fetched.weights <= whole.weights * 1.5, shape


def test_groups_are_runs_of_one_that_is_simulated_once_and_kept(scalesim, folder, monkeypatch):
    shape = LayerShape(6, 6, 3, 3, 1, 2, groups=32)
    cycles = simulated_cycles(shape, EYERISS)
    assert cycles == 32 * (simulate(replace(shape, groups=1), EYERISS).cycles + 1) == compute_cycles(shape, EYERISS)
    (kept,) = folder.rglob("*.json")
    assert "12-14-ws-108-108-108" in str(kept) and json.loads(kept.read_text())["cycles"] == cycles // 32 - 1
    monkeypatch.setattr(scalesim_run, "simulate", None)
    assert simulated_cycles(replace(shape, groups=5), replace(EYERISS, clock_hz=1.0)) == cycles // 32 * 5
    with pytest.raises(TypeError):
        cached(replace(shape, filters=3), EYERISS)


def test_nothing_is_printed_or_left_behind(scalesim, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate(SHAPES[4], EYERISS, memory=True)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_a_layer_that_it_cannot_hold_is_refused(scalesim):
    with pytest.raises(CostError, match=r"would need about \d+ GiB .*use --costs systolic"):
        simulate(LayerShape.matmul(1, 25_088, 40_960), EYERISS)


def test_without_the_simulator_the_error_says_what_to_install(monkeypatch):
    def refuse(name: str):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(CostError, match=r"pip install 'tvm-split\[systolic\]', or use --costs systolic"):
        simulate(SHAPES[0], EYERISS)

    def missing(name: str):
        raise scalesim_run.PackageNotFoundError(name)

    monkeypatch.setattr(scalesim_run, "version", missing)
    with pytest.raises(CostError, match=r"pip install 'tvm-split\[systolic\]'"):
        cached(SHAPES[0], EYERISS)
