"""Equal kernels become one; kernels that differ in anything stay two."""

import numpy as np
import tvm
from tvm import relax, te, tirx

from tvm_split.passes.share_kernels import ShareKernels, equal_kernels


def scaled(factor: float, size: int = 4) -> tirx.PrimFunc:
    x = te.placeholder((size,), "float32", name="x")
    y = te.compute((size,), lambda i: x[i] * tirx.const(factor, "float32"), name="y")
    return te.create_prim_func([x, y])


def network(*kernels: tirx.PrimFunc) -> tvm.IRModule:
    """x through the kernels, one after the other."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value = x
            for i, kernel in enumerate(kernels):
                gvar = builder.add_func(kernel.with_attr("global_symbol", f"k{i}"), f"k{i}")
                value = builder.emit(relax.op.call_tir(gvar, [value], relax.TensorType((4,), "float32")))
            out = builder.emit_output(value)
        builder.emit_func_output(out)
    return builder.get()


def test_equal_kernels_become_one():
    before = network(scaled(2.0), scaled(3.0), scaled(2.0), scaled(2.0))
    text = before.script()
    after = ShareKernels()(before)
    relax.analysis.well_formed(after)
    assert before.script() == text
    assert {gvar.name_hint for gvar in after.get_global_vars()} == {"main", "k0", "k1"}
    called = [binding.value.args[0].name_hint for block in after["main"].body.blocks for binding in block.bindings
              if isinstance(binding.value, relax.Call)]  # fmt: skip
    assert called == ["k0", "k1", "k0", "k0"]
    vm = relax.VirtualMachine(tvm.compile(after, "llvm"), tvm.cpu())
    np.testing.assert_array_equal(vm["main"](tvm.runtime.tensor(np.ones(4, np.float32))).numpy(), np.full(4, 24.0))


def test_nothing_to_share():
    before = network(scaled(2.0), scaled(3.0))
    assert ShareKernels()(before).same_as(before)


def test_what_differs_is_not_equal():
    kernels = {"a": scaled(2.0), "b": scaled(2.0, 5), "c": scaled(2.5), "d": scaled(2.0)}
    assert equal_kernels(kernels.items()) == {"a": "a", "b": "b", "c": "c", "d": "a"}
