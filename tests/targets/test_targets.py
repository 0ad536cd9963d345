import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tvm_split.errors import TargetError
from tvm_split.targets import TargetSpec, load_target, target_names
from tvm_split.targets import host as host_module
from tvm_split.targets.load import ENVIRONMENT, PACKAGED
from tvm_split.targets.spec import COUNTS, FIELDS, NUMBERS, REQUIRED, parse_target
from tvm_split.targets.systolic import SystolicArray
from tvm_split.tvm_target import resolve

FILES = sorted(PACKAGED.glob("*.toml"))
CPUS = [path.stem for path in FILES if not load_target(path).simulated]
GOOD = tomllib.loads((PACKAGED / "raspberry-pi-3b-plus.toml").read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_packaged_file_is_named_as_its_target_and_gives_a_source_for_every_number(path):
    spec = load_target(path.stem)
    assert spec.name == path.stem
    assert spec == load_target(path)
    stated = set(tomllib.loads(path.read_text())) - {"name", "description", "kind", "arch", "sources"}
    assert set(spec.sources) == stated
    assert all(text.strip() for text in spec.sources.values())


@pytest.mark.parametrize("name", CPUS)
def test_a_processor_states_its_caches_and_what_kernels_reach(name):
    spec = load_target(name)
    assert spec.l1_bytes < spec.l2_bytes < spec.memory_bytes
    assert (spec.efficiency, spec.layer_overhead_s) == ((0.8, 10e-6) if spec.arch == "x86_64" else (0.5, 30e-6))


def test_the_boards_and_machines_are_all_there():
    assert set(target_names()) == {
        "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano", "jetson-tx2", "cortex-a53-camera",
        "eyeriss", "tpu", "c5.large", "c5.xlarge", "c5.2xlarge", "c5.4xlarge", "c5.9xlarge", "host",
    }  # fmt: skip


def test_simulated_chips_have_the_constants_of_the_auto_split_code_and_nothing_compiles_for_them():
    eyeriss, tpu = load_target("eyeriss"), load_target("tpu")
    assert eyeriss.peak_int8_ops_per_s == pytest.approx(2 * 34.0e9, rel=1e-3)
    assert tpu.peak_int8_ops_per_s == pytest.approx(2 * 96.0e12, rel=1e-3)
    assert eyeriss.memory_bandwidth_bytes_per_s == pytest.approx(1.00e9, rel=1e-3)
    assert tpu.memory_bandwidth_bytes_per_s == pytest.approx(13.0e9, rel=1e-3)
    assert eyeriss.peak_flops_per_s == pytest.approx(eyeriss.peak_int8_ops_per_s / 4)
    for spec in (eyeriss, tpu):
        assert spec.simulated and spec.memory_bytes is None
        with pytest.raises(TargetError, match=f"'{spec.name}' is simulated"):
            resolve(spec)


def test_a_target_is_frozen_and_its_tvm_dict_is_fresh():
    spec = load_target("raspberry-pi-5")
    with pytest.raises(FrozenInstanceError):
        spec.cores = 8
    spec.tvm_target_config["mcpu"] = "changed"
    assert spec.tvm_target_config["mcpu"] == "cortex-a76"
    with pytest.raises(TypeError):
        spec.tvm_target["mcpu"] = "changed"


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named_with_its_file(name):
    table = {key: value for key, value in GOOD.items() if key != name}
    if name in (*REQUIRED, "memory_bytes", "tvm_target", "vector_bits"):
        with pytest.raises(TargetError, match=rf"^pi\.toml: field '{name}' is missing"):
            parse_target(table, "pi.toml")
    else:
        assert isinstance(parse_target(table, "pi.toml"), TargetSpec)


def test_an_unknown_field_is_named_with_its_file_and_the_known_ones():
    with pytest.raises(TargetError, match=r"^rpi4\.toml: unknown field 'memroy'; the fields are name, .*memory_bytes"):
        parse_target(GOOD | {"memroy": 4}, "rpi4.toml")
    with pytest.raises(TargetError, match=r"\[sources\] names the unknown field 'memroy'"):
        parse_target(GOOD | {"sources": {"memroy": "a datasheet"}}, "rpi4.toml")


@pytest.mark.parametrize("bad", [-1, "4", True, float("nan"), float("inf"), [4], 0])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_the_wrong_type_or_sign_is_named(name, bad):
    if bad == 0 and bad is not False and name in ("layer_overhead_s", "idle_w"):
        assert getattr(parse_target(GOOD | {name: bad}, "pi.toml"), name) == 0
        return
    with pytest.raises(TargetError, match=rf"^pi\.toml: {name} is .*expected "):
        parse_target(GOOD | {name: bad}, "pi.toml")


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_must_be_whole(name):
    with pytest.raises(TargetError, match=rf"{name} is 1\.5; expected a whole number above 0"):
        parse_target(GOOD | {name: 1.5}, "pi.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"efficiency": 1.01}, "efficiency is 1.01; expected a share above 0 and at most 1"),
        ({"kind": "fog"}, "kind is 'fog'; expected one of edge, cloud, both"),
        ({"arch": "riscv"}, "arch is 'riscv'; expected one of aarch64, x86_64, simulated"),
        ({"arch": "simulated"}, "a simulated target has no tvm_target"),
        ({"tvm_target": {"mcpu": "cortex-a53"}}, "expected a TVM tag in quotes or a table with a kind"),
        ({"tvm_target": ""}, "expected a TVM tag in quotes or a table with a kind"),
        ({"description": ""}, "description is ''; expected a text in quotes"),
        ({"name": 4}, "name is 4; expected a text in quotes"),
        ({"bits": 8}, "bits is 8; expected a list of some of 2, 3, 4, 6, 8, 16, 32"),
        ({"bits": []}, "bits is []; expected a list of some of"),
        ({"bits": [8, 5]}, "bits is [8, 5]; expected a list of some of"),
        ({"bits": [8.0]}, "bits is [8.0]; expected a list of some of"),
        ({"sources": "a book"}, "sources is 'a book'; expected a table of field name -> text"),
        ({"sources": {"cores": 4}}, "expected a table of field name -> text"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(change, message):
    with pytest.raises(TargetError) as caught:
        parse_target(GOOD | change, "pi.toml")
    assert str(caught.value).startswith("pi.toml: ") and message in str(caught.value)


def test_a_target_may_list_the_bits_that_it_has():
    assert parse_target(GOOD, "pi.toml").bits is None
    assert parse_target(GOOD | {"bits": [32, 8, 8]}, "pi.toml").bits == (8, 32)


def test_a_user_adds_a_target_by_dropping_a_file(own):
    path = own("attic-camera")
    assert load_target("attic-camera").name == load_target(str(path)).name == "attic-camera"
    own("cellar-camera", "home/.config/tvm-split/targets")
    assert {"attic-camera", "cellar-camera", "raspberry-pi-4"} <= set(target_names())


def test_the_same_name_in_two_folders_is_refused_and_both_files_are_named(own):
    path = own("raspberry-pi-4")
    for call in (target_names, lambda: load_target("c5.large"), lambda: load_target("host")):
        with pytest.raises(TargetError, match=r"'raspberry-pi-4' is defined in .* and in ") as e:
            call()
        assert str(path) in str(e.value) and str(PACKAGED / path.name) in str(e.value)


def test_a_folder_named_twice_is_read_once(own, tmp_path, monkeypatch):
    own("attic-camera")
    monkeypatch.setenv(ENVIRONMENT, f"{tmp_path / 'own'}:{tmp_path / 'own'}:")
    assert load_target("attic-camera").cores == 4


def test_host_cannot_be_taken_by_a_file(own):
    own("host")
    with pytest.raises(TargetError, match="that name means this machine; rename the file"):
        load_target("host")


def test_a_folder_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "/no/such/folder")
    with pytest.raises(TargetError, match=f"{ENVIRONMENT} names '/no/such/folder', which is not a folder"):
        target_names()


def test_an_unknown_name_gets_the_closest_and_the_known(own):
    with pytest.raises(
        TargetError, match=r"unknown target 'raspbery-pi-4' \(did you mean 'raspberry-pi-4'\?\)"
    ) as caught:
        load_target("raspbery-pi-4")
    assert all(name in str(caught.value) for name in target_names())
    with pytest.raises(TargetError, match="unknown target 'zzz'; known are"):
        load_target("zzz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cores = = 4", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b'name = "other"', "name is 'other'; expected the file's own name, 'mine'"),
        (b"", "field 'name' is missing"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(TargetError, match=message) as caught:
        load_target(path)
    assert "mine.toml" in str(caught.value)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TargetError, match=r"cannot read .*gone\.toml: No such file"):
        load_target(tmp_path / "gone.toml")


def test_host_is_this_machine():
    spec = load_target("host")
    assert spec.kind == "both" and spec.peak_flops_per_s > 1e9 and 0 < spec.efficiency <= 1
    assert set(spec.sources) <= set(FIELDS)
    assert spec == load_target("host")


def test_host_names_the_clock_that_its_peak_is_computed_from(monkeypatch):
    """A virtual machine: no cpufreq, and the base clock in /proc/cpuinfo, above which the processor may run."""
    cpuinfo = "flags : fma avx512f\ncpu MHz\t\t: 2596.122\nflags : fma avx512f\ncpu MHz\t\t: 2596.122\n"
    monkeypatch.setattr(host_module, "_read", lambda path: cpuinfo if "cpuinfo" == Path(path).name else "")
    monkeypatch.setattr(host_module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(host_module.platform, "machine", lambda: "x86_64")
    spec = load_target("host")
    assert spec.description == "This machine, x86_64, 2 cores at 2.6 GHz"
    assert spec.peak_flops_per_s == pytest.approx(2 * 2.596122e9 * 32)
    assert "in a virtual machine the base clock" in spec.sources["peak_flops_per_s"]


def test_host_without_a_known_clock_or_processor_says_so(monkeypatch):
    monkeypatch.setattr(host_module, "_read", lambda path: "flags : avx512f" if "cpuinfo" == Path(path).name else "")
    with pytest.raises(TargetError, match="tells this machine's clock; write a target file"):
        load_target("host")
    monkeypatch.setattr(host_module, "_read", lambda path: "")
    with pytest.raises(TargetError, match="names none of avx512f, fma"):
        load_target("host")
    monkeypatch.setattr(host_module.platform, "machine", lambda: "riscv64")
    with pytest.raises(TargetError, match="this machine is 'riscv64'"):
        load_target("host")


SYSTOLIC = {
    "rows": 4, "cols": 3, "dataflow": "ws", "ifmap_kib": 1, "filter_kib": 2, "ofmap_kib": 3, "clock_hz": 1e9,
}  # fmt: skip


def test_a_systolic_array_is_read_with_all_its_fields():
    spec = parse_target(GOOD | {"systolic": SYSTOLIC}, "chip.toml")
    assert spec.systolic == SystolicArray(4, 3, "ws", 1, 2, 3, 1e9)
    assert load_target("tpu").systolic == SystolicArray(256, 256, "os", 8192, 8192, 8192, 1464.84375e6)
    assert load_target("raspberry-pi-4").systolic is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows is 0; expected a whole number above 0"),
        ({"cols": 2.5}, "cols is 2.5; expected a whole number"),
        ({"clock_hz": "fast"}, "clock_hz is 'fast'; expected a number"),
        ({"dataflow": "rs"}, "dataflow is 'rs'; expected 'ws' .weights stay., 'os'"),
        ({"depth": 1}, "unknown field 'depth'; the fields are rows, cols, dataflow, ifmap_kib"),
    ],
)
def test_a_wrong_field_of_an_array_is_named(change, says):
    with pytest.raises(TargetError, match=rf"^chip\.toml: \[systolic\]: {says}"):
        parse_target(GOOD | {"systolic": SYSTOLIC | change}, "chip.toml")


def test_an_array_needs_every_field_and_is_a_table():
    for name in SYSTOLIC:
        table = {key: value for key, value in SYSTOLIC.items() if key != name}
        with pytest.raises(TargetError, match=f"field '{name}' is missing"):
            parse_target(GOOD | {"systolic": table}, "chip.toml")
    with pytest.raises(TargetError, match=r"systolic is 'ws'; expected a table"):
        parse_target(GOOD | {"systolic": "ws"}, "chip.toml")
