"""A tiny bundle, compiled here: edge x -> (payload of 4-bit codes and raw bytes, doubled), cloud payload -> scores."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.target import Target

from tvm_split.bundle import Bundle, write_manifest
from tvm_split.bundle_folder import write_json
from tvm_split.compile_half import with_fingerprint
from tvm_split.linker import find_linker
from tvm_split.plan.problem import Link, Timing
from tvm_split.targets.host import machine

N = 8192
FINGERPRINT = "ab" * 32
GENERIC = {"arch": machine(), "mcpu": "generic", "features": []}
FAST = Link("fast", 4e6, 4e6, 0.01)


@I.ir_module
class EdgeModule:
    @R.function
    def main(x: R.Tensor((8192,), "float32")):
        with R.dataflow():
            codes = R.astype(R.clip(R.round(x * R.const(8.0, "float32")) + R.const(128.0, "float32"), 0, 255), "uint8")
            doubled = x + x
            out = (codes, doubled)
            R.output(out)
        return out


@I.ir_module
class CloudModule:
    @R.function
    def main(payload: R.Tensor((8192,), "uint8")):
        with R.dataflow():
            values = (R.astype(payload, "float32") - R.const(128.0, "float32")) * R.const(0.125, "float32")
            scores = R.sum(R.reshape(values, (8, 1024)), axis=1)
            out = (scores, R.argmax(scores))
            R.output(out)
        return out


@I.ir_module
class WholeModule:
    @R.function
    def main(x: R.Tensor((8192,), "float32")):
        with R.dataflow():
            out = (x + x,)
            R.output(out)
        return out


def export(module: tvm.IRModule, path: Path) -> None:
    tvm.compile(module, target=Target("llvm")).export_library(str(path), fcompile=find_linker(machine()))


def payload_part(bits: int, shape: tuple[int, ...], dtype: str, offset: int = 0, **changes: Any) -> dict[str, Any]:
    """One tensor of a payload as the manifest has it; `changes` replace its fields."""
    size = -(-math.prod(shape) * bits // 8)
    return {"tensor": "h", "shape": list(shape), "dtype": dtype, "bits": bits, "offset": offset, "size_bytes": size,
            "scale": 0.5, "zero_point": 3} | changes  # fmt: skip


PART = payload_part(8, (N,), "uint8", scale=0.125, zero_point=128)
DOUBLED = {"name": "doubled", "tensor": "doubled", "shape": [N], "dtype": "float32", "returned_by": "edge"}
SCORES = {"name": "scores", "tensor": "scores", "shape": [8], "dtype": "float32", "returned_by": "cloud"}
BEST = {"name": "best", "tensor": "best", "shape": [], "dtype": "int64", "returned_by": "cloud"}


def write_bundle(folder: Path, halves: dict[str, Path], **changes) -> Bundle:
    """A bundle around compiled halves (role -> library); `changes` replace the manifest's facts."""
    folder.mkdir(parents=True)
    for role, path in halves.items():
        (folder / f"{role}.so").write_bytes(path.read_bytes())
    write_json(folder / "plan.json", {"chosen": {"predicted": Timing(0.001, 0.01, 0.001, 0.005).to_json()}})
    facts = {
        "fingerprint": FINGERPRINT, "kind": "split", "result_at": "edge", "database": None,
        "inputs": [{"name": "x", "shape": [N], "dtype": "float32"}], "outputs": [SCORES, DOUBLED, BEST],
        "payload": {"bytes": N, "parts": [PART], "codec": None}, "halves": {role: f"{role}.so" for role in halves},
        "edge_memory": dict.fromkeys(
            ("planned_bytes", "compiled_bytes", "weights_bytes", "storages_bytes", "scratch_bytes", "input_bytes"), 1000
        ),
        "compiled_for": {role: GENERIC for role in halves}, "targets": {"edge": "raspberry-pi-4", "cloud": "c5.xlarge"},
        "model": "tiny", "versions": {},
    } | changes  # fmt: skip
    write_manifest(folder, facts, FAST, [*(f"{role}.so" for role in halves), "plan.json"])
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("libraries")
    for name, module in (("edge", EdgeModule), ("cloud", CloudModule), ("whole", WholeModule)):
        export(with_fingerprint(module, FINGERPRINT), folder / f"{name}.so")
    export(WholeModule, folder / "anonymous.so")
    return {path.stem: path for path in folder.glob("*.so")}


@pytest.fixture(scope="session")
def split_halves(libraries) -> dict[str, Path]:
    return {"edge": libraries["edge"], "edge_host": libraries["edge"], "cloud": libraries["cloud"]}


@pytest.fixture(scope="session")
def split(tmp_path_factory, split_halves) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("split") / "bundle", split_halves)


@pytest.fixture(scope="session")
def edge_only(tmp_path_factory, libraries) -> Bundle:
    return write_bundle(
        tmp_path_factory.mktemp("edge") / "bundle", {"edge": libraries["whole"], "edge_host": libraries["whole"]},
        kind="edge-only", outputs=[DOUBLED], payload={"bytes": 0, "parts": [], "codec": None},
    )  # fmt: skip


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(N).astype(np.float32)


def expected(x: np.ndarray) -> dict[str, np.ndarray]:
    codes = np.clip(np.round(x * np.float32(8)) + 128, 0, 255)
    scores = ((codes - 128) * 0.125).reshape(8, 1024).sum(1)
    return {"scores": scores.astype(np.float32), "doubled": x + x, "best": np.array(scores.argmax(), np.int64)}


@pytest.fixture(scope="session")
def make_bundle():
    return write_bundle


@pytest.fixture(scope="session")
def part() -> Callable[..., dict[str, Any]]:
    return payload_part


@pytest.fixture
def right(x) -> dict[str, np.ndarray]:
    """What the network makes of x, in NumPy."""
    return expected(x)
