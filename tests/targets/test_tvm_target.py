from dataclasses import replace

import pytest
import tvm
from tvm import te
from tvm.target import Target

from tvm_split.errors import TargetError
from tvm_split.passes.schedule.machine import machine_of
from tvm_split.targets import load_target, target_names
from tvm_split.tvm_target import resolve

RUNNABLE = [name for name in target_names() if not load_target(name).simulated]


@pytest.mark.parametrize("name", RUNNABLE)
def test_tvm_accepts_the_target_and_it_has_the_cores_of_the_file(name):
    spec = load_target(name)
    target = resolve(spec)
    assert isinstance(target, Target) and target.kind.name == "llvm"
    assert int(target.attrs["num-cores"]) == spec.cores
    if spec.arch == "aarch64":
        assert str(target.attrs["mtriple"]).startswith("aarch64-linux-gnu")
        assert target.features.is_aarch64


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_caches_of_the_file_reach_whoever_has_tvm_s_target(name):
    spec = load_target(name)
    target = resolve(spec)
    tag = Target(f"tvm-split/{name}")
    copies = [target, target.with_host(target), Target(target.export()), Target(str(target)), tag]
    for copy in copies:
        assert (copy.features.l1_bytes, copy.features.l2_bytes) == (spec.l1_bytes, spec.l2_bytes)
    assert resolve(replace(spec, l1_bytes=None)).features.l1_bytes is None


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_target_s_tag_is_the_target(name):
    tag, target = Target(f"tvm-split/{name}"), resolve(load_target(name))
    assert dict(tag.export()) == dict(target.export())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("arm/no-such-board", "TVM refuses its tvm_target 'arm/no-such-board'"),
        ({"kind": "llvm", "mcpuu": "cortex-a53"}, "TVM refuses its tvm_target"),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 6}, "cores = 4, but its tvm_target says 6"),
    ],
)
def test_what_tvm_does_not_know_is_refused(config, message):
    with pytest.raises(TargetError, match=message):
        resolve(replace(load_target("raspberry-pi-4"), tvm_target=config))


@pytest.mark.parametrize(
    ("name", "triple", "unknown"),
    [("raspberry-pi-4", "aarch64-linux-gnu", "cortex-a530"), ("c5.large", "x86_64-linux-gnu", "skylake-avx1024")],
)
def test_an_unknown_processor_gets_the_portable_rules_and_a_warning_that_names_it(capfd, name, triple, unknown):
    config = {"kind": "llvm", "mtriple": triple}
    spec = replace(load_target(name), tvm_target=config | {"mcpu": unknown})
    with pytest.warns(UserWarning, match=f"target '{name}': .* knows no processor '{unknown}'"):
        target = resolve(spec)
    assert target.export() == resolve(replace(spec, tvm_target=config)).export() and "mcpu" not in target.attrs
    assert target.features.l2_bytes == spec.l2_bytes
    assert machine_of(target).vector_bytes == 16
    function = te.create_prim_func([te.placeholder((8,), name="x")])
    tvm.compile(tvm.IRModule({"f": function.with_attr("global_symbol", "f")}), target)
    assert "mcpu" not in capfd.readouterr().err  # LLVM has nothing to say of it


def test_native_and_missing_triples_follow_the_machine_that_compiles(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert str(resolve(load_target("c5.large")).attrs["mtriple"]) == "x86_64-linux-gnu"
    with pytest.raises(TargetError, match="with mcpu 'native', but this machine is aarch64"):
        resolve(replace(load_target("c5.large"), tvm_target={"kind": "llvm", "mcpu": "native"}))
