"""A plan by what the outputs lose: from the cache folder when it is made again, and what users are told."""

import numpy as np
import pytest
from tvm import relax

from tvm_split import workflow
from tvm_split.calibration.output_records import Records
from tvm_split.errors import PlanError
from tvm_split.workflow import Request


@pytest.fixture(scope="module")
def mod(build):
    random = np.random.default_rng(0)

    def body(emit, x):
        h = emit(relax.op.matmul(x, relax.const(random.normal(size=(16, 32)).astype("float32"))), "h")
        r = emit(relax.op.nn.relu(h), "r")
        return emit(relax.op.matmul(r, relax.const(random.normal(size=(32, 6)).astype("float32"))), "y")

    return build(body, (1, 16))


@pytest.fixture
def request_(mod, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path / "cache"))
    rows = np.random.default_rng(1).normal(size=(4, 1, 16)).astype("float32")
    return lambda **more: Request(mod, edge="host", cloud="host", data={"x0": rows}, strategy="exact", **more)


def test_the_planner_gets_what_the_outputs_lose(request_, tmp_path, monkeypatch):
    plain = workflow.plan(request_(edge_bits=(8, 32))).problem.precision
    found = workflow.plan(request_(edge_bits=(8, 32), distortion="output")).problem.precision
    assert set(found.weight_distortion) == set(plain.weight_distortion)
    assert {name: set(row) for name, row in found.tensor_distortion.items()} == {
        name: set(row) for name, row in plain.tensor_distortion.items()
    }
    assert found.weight_distortion != plain.weight_distortion
    assert len(list((tmp_path / "cache" / "output-distortion").iterdir())) == 1
    monkeypatch.setattr(Records, "put", lambda *_: pytest.fail("everything is in the cache folder"))
    assert workflow.plan(request_(edge_bits=(8, 32), distortion="output")).problem.precision == found


def test_a_damaged_cache_is_told(request_, tmp_path):
    found = workflow.plan(request_(edge_bits=(8,), distortion="output"))
    (file,) = (tmp_path / "cache" / "output-distortion").iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    again = workflow.plan(request_(edge_bits=(8,), distortion="output"))
    assert again.problem.precision == found.problem.precision
    assert any("lines are damaged" in warning for warning in again.warnings)


def test_a_float_edge_has_no_use_for_it(request_):
    assert any("--edge-bits" in warning for warning in workflow.plan(request_(distortion="output")).warnings)


def test_another_distortion_is_refused(request_):
    with pytest.raises(PlanError, match="distortion is 'kl'; expected 'mse' or 'output'"):
        request_(distortion="kl")
