"""Look-ups in tables: every code, in vectors of any length, alone and behind packed sums, with and without VBMI."""

import re

import numpy as np
import pytest
import tvm
from tvm import te

from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule import RULE, RULES, schedule

PROCESSORS = {"x86-64": None, "haswell": "avx2", "cascadelake": "avx512vnni", "znver4": "avx512vbmi"}
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
RUNNABLE = [
    cpu for cpu, needs in PROCESSORS.items() if not needs or tvm.target.codegen.target_has_features(needs, HOST)
]
RNG = np.random.default_rng(0)


def processor(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})


def looked_up(shape, dtype, channels_of_table=256, bounded=False):
    x, table = te.placeholder(int64(*shape), "uint8", "x"), te.placeholder(int64(channels_of_table), dtype, "table")

    def entry(*i):
        code = x(*i).astype("int32")
        return table[te.min(te.max(0, code), 255) if bounded else code]

    return te.create_prim_func([x, table, te.compute(x.shape, entry)])


def module(func, cpu):
    found = schedule("layer", func, processor(cpu), RULES)
    return found, tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), processor(cpu)).mod


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("shape", [(1, 41, 41, 24), (3, 128, 64), (5, 331), (4, 1024), (7, 64, 16)])
@pytest.mark.parametrize("cpu", RUNNABLE)
def test_every_code_in_vectors_of_any_length(cpu, shape, dtype, bounded):
    info = np.iinfo(dtype)
    x, table = RNG.integers(0, 256, shape).astype("uint8"), RNG.integers(info.min, info.max + 1, 256).astype(dtype)
    found, mod = module(looked_up(shape, dtype, bounded=bounded), cpu)
    assert str(found.attrs[RULE]) == "Lookup"
    out = tvm.runtime.tensor(np.zeros(shape, dtype))
    mod["main"](*map(tvm.runtime.tensor, (x, table)), out)
    np.testing.assert_array_equal(out.numpy(), table[x])


def test_vectors_are_permutations_of_bytes():
    code = module(looked_up((3, 128, 64), "uint8"), "znver4")[1].inspect_source("s")
    assert re.search(r"vperm[it]2b\t.*zmm", code) and "pinsrb" not in code


def test_tables_of_another_size_are_loads():
    found, _ = module(looked_up((3, 128, 64), "uint8", 512), "znver4")
    assert "look_up" not in found.script().replace("looked_up", "") and "table[" in found.script()


def test_what_is_bounded_by_less_stays_so():
    x, table = te.placeholder(int64(4096), "uint8", "x"), te.placeholder(int64(256), "uint8", "table")
    func = te.create_prim_func([x, table, te.compute(x.shape, lambda i: table[te.min(x[i].astype("int32"), 99)])])
    data, entries = RNG.integers(0, 256, 4096).astype("uint8"), RNG.permutation(256).astype("uint8")
    out = tvm.runtime.tensor(np.zeros(4096, "uint8"))
    module(func, RUNNABLE[-1])[1]["main"](*map(tvm.runtime.tensor, (data, entries)), out)
    np.testing.assert_array_equal(out.numpy(), entries[np.minimum(data, 99)])
