"""llvm-mca found, asked and read."""

import stat

import pytest

from tvm_split.assembly import mca
from tvm_split.assembly.loops import Instruction
from tvm_split.errors import CostError

OUTPUT = "Iterations:        100\nInstructions:      600\nTotal Cycles:      419\nTotal uOps:        1000\n"


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_a_tool_its_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CostError, match=r"there is none on PATH; install Debian's package llvm-22 .*--costs roofline"):
        mca.find_tool()


def test_the_newest_is_taken(monkeypatch, tmp_path):
    for name in ("llvm-mca", "llvm-mca-14", "llvm-mca-19"):
        script(tmp_path, name, "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mca.find_tool().endswith("llvm-mca-19")
    (tmp_path / "llvm-mca-14").unlink()
    (tmp_path / "llvm-mca-19").unlink()
    assert mca.find_tool().endswith("llvm-mca")


def test_cycles_are_those_of_one_turn():
    assert mca.total_cycles(OUTPUT) == 4.19
    with pytest.raises(CostError, match="no Iterations and Total Cycles: 'nothing'"):
        mca.total_cycles("nothing")


def test_what_it_refuses_is_told(monkeypatch, tmp_path):
    path = script(tmp_path, "llvm-mca", "echo 'error: found an unsupported instruction' >&2; exit 1")
    with pytest.raises(CostError, match="cannot price a loop on 'znver3': error: found an unsupported instruction"):
        mca.cycles(mca.Core(path, "x86_64", "znver3"), [Instruction("nop", "")])
    with pytest.raises(CostError, match="cannot be run"):
        mca.cycles(mca.Core(str(tmp_path / "none"), "x86_64", "znver3"), [Instruction("nop", "")])


def test_cores_by_name_and_what_stands_in(llvm_mca):
    assert mca.core_of(llvm_mca, "aarch64", "cortex-a72", 128).stands_in == ""
    twin = mca.core_of(llvm_mca, "aarch64", "cortex-a76", 128, ("+neon",))
    assert (twin.model, twin.features[0]) == (
        "neoverse-n1",
        "+neon",
    ) and "'cortex-a76' as 'neoverse-n1'" in twin.stands_in
    other = mca.core_of(llvm_mca, "x86_64", "attic-9", 512)
    assert (
        other.model == "x86-64-v4" and "knows no 'attic-9', so its cycles are those of 'x86-64-v4'" in other.stands_in
    )
    assert mca.core_of(llvm_mca, "aarch64", "", 128).stands_in.startswith("the target names no mcpu")


@pytest.mark.parametrize(
    "arch, core, bits, flops",
    [("aarch64", "cortex-a53", 128, 8), ("aarch64", "cortex-a72", 128, 8), ("x86_64", "haswell", 256, 32),
     ("x86_64", "skylake-avx512", 512, 64)],
)  # fmt: skip
def test_independent_multiply_adds_reach_the_peak_of_the_core(llvm_mca, arch, core, bits, flops):
    found = mca.peak_flops_per_cycle(mca.core_of(llvm_mca, arch, core, bits), bits)
    assert found == pytest.approx(flops, rel=0.02)


def test_a_chain_waits_for_itself(llvm_mca):
    """fmla into one register: each waits for the one before, at least three cycles on Cortex-A72."""
    core = mca.core_of(llvm_mca, "aarch64", "cortex-a72", 128)
    alone = [Instruction("fmla", f"v{i}.4s, v0.4s, v1.4s") for i in range(2, 10)]
    chain = [Instruction("fmla", "v2.4s, v0.4s, v1.4s")] * 8
    assert mca.cycles(core, chain) >= 3 * mca.cycles(core, alone) > 0
