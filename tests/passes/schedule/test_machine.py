"""What schedules know of processors."""

import pytest
import tvm

from tvm_split.passes.schedule.machine import Machine, machine_of


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 8}, Machine(64, 32, 8)),
        ({"kind": "llvm", "mcpu": "znver4"}, Machine(64, 32, 1, half_vector=0.5)),
        ({"kind": "llvm", "mcpu": "haswell", "num-cores": 2}, Machine(32, 16, 2)),
        ({"kind": "llvm", "mcpu": "x86-64"}, Machine(16, 16, 1, products=1)),
        ("raspberry-pi/4b-aarch64", Machine(16, 32, 4)),
        ({"kind": "llvm", "mtriple": "armv7l-linux-gnueabihf", "mcpu": "cortex-a7"}, Machine(16, 16, 1)),
    ],
)
def test_machines(target, expected):
    assert machine_of(tvm.target.Target(target)) == expected


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 16), ("int8", 64), ("float16", 32)])
def test_lanes_of_512_bits(dtype, lanes):
    assert Machine(64, 32, 1).lanes(dtype) == lanes
