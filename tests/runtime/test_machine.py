"""Which half this machine can run, and the words for it when it cannot."""

import pytest

from tvm_split.errors import BundleError, TargetError
from tvm_split.runtime import machine
from tvm_split.runtime.machine import architecture, library_here, obstacle, place_here, role_here
from tvm_split.targets import host


@pytest.fixture
def foreign(libraries, tmp_path):
    """A library whose header says another machine."""
    data = bytearray(libraries["edge"].read_bytes())
    data[18:20] = {"x86_64": 183, "aarch64": 62}[machine.machine()].to_bytes(2, "little")
    path = tmp_path / "foreign.so"
    path.write_bytes(data)
    return path


def test_the_architecture_of_a_library(libraries, foreign, tmp_path):
    assert architecture(libraries["edge"]) == machine.machine() != architecture(foreign)
    (tmp_path / "text").write_text("short")
    assert architecture(tmp_path / "text") is None


def test_the_twin_comes_first(split, make_bundle, split_halves, tmp_path):
    assert role_here(split, "edge") == "edge_host" and role_here(split, "edge", on_device=True) == "edge"
    assert role_here(split, "cloud") == "cloud"
    whole = make_bundle(tmp_path / "b", split_halves | {"cloud_host": split_halves["cloud"]})
    assert library_here(whole, "cloud") == whole.path / "cloud_host.so"


def test_a_half_for_this_machine_comes_before_its_twin(make_bundle, split_halves, foreign, tmp_path):
    targets = {"edge": "host", "cloud": "c5.xlarge"}
    made = make_bundle(tmp_path / "b", split_halves, targets=targets)
    assert role_here(made, "edge") == "edge"
    assert [place_here(made, "edge", role).basis for role in ("edge", "edge_host")] == ["measured", "elsewhere"]
    moved = make_bundle(tmp_path / "moved", split_halves | {"edge": foreign}, targets=targets)
    assert role_here(moved, "edge") == "edge_host"


def test_a_bundle_moved_to_the_board_runs_its_own_half(make_bundle, split_halves, foreign, tmp_path):
    moved = make_bundle(tmp_path / "b", split_halves | {"edge_host": foreign})
    assert role_here(moved, "edge") == "edge"


def test_no_half_for_this_machine(make_bundle, split_halves, foreign, tmp_path):
    other = make_bundle(tmp_path / "b", split_halves | {"edge_host": foreign, "edge": foreign})
    arch = architecture(foreign)
    with pytest.raises(BundleError, match=f"edge half cannot run here: edge_host.so is compiled for {arch} .*; edge"):
        library_here(other, "edge")
    with pytest.raises(BundleError, match="leave out --device, or run this on the device"):
        library_here(other, "edge", on_device=True)


def test_a_processor_that_lacks_a_feature(make_bundle, split_halves, libraries, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "processor_features", lambda: frozenset({"avx2", "fma"}))
    assert obstacle(libraries["edge"], ["avx2"]) is None
    needs = {"arch": machine.machine(), "mcpu": "skylake-avx512", "features": ["avx2", "avx512f", "avx512bw"]}
    made = make_bundle(tmp_path / "b", {"edge": libraries["edge"], "cloud": libraries["cloud"]},
                       compiled_for={"edge": needs, "cloud": needs})  # fmt: skip
    with pytest.raises(BundleError, match=r"cloud\.so needs a processor with avx512bw, avx512f, which this one lacks"):
        library_here(made, "cloud")
    monkeypatch.setattr(machine, "processor_features", frozenset)  # Linux does not tell: nothing speaks against it
    assert library_here(made, "cloud").name == "cloud.so"


def test_this_processors_features():
    assert machine.processor_features() & {"sse2", "asimd"}


@pytest.mark.parametrize(
    ("says", "wanted"), [("x86_64", ("x86_64", "x86-64-v3")), ("AMD64", ("x86_64", "x86-64-v3")),
                         ("aarch64", ("aarch64", "generic"))]
)  # fmt: skip
def test_what_twins_are_compiled_for(monkeypatch, says, wanted):
    monkeypatch.setattr("platform.machine", lambda: says)
    assert host.baseline() == wanted


def test_no_twin_for_an_unknown_machine(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(TargetError, match="this machine is 'riscv64'; expected x86_64 or"):
        host.baseline()
