"""What the rules ask of a function."""

import pytest
from tvm import te

from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.blocks import opened


@pytest.mark.parametrize(
    ("shape", "dtype", "narrow"),
    [((3, 5), "float32", True), ((3, 5), "int64", False), ((2**16, 2**15), "uint8", False)],
)
def test_loops_are_narrowed_where_32_bits_are_enough(shape, dtype, narrow):
    x = te.placeholder(int64(*shape), dtype, "x")
    func = te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + x[i, j])])
    sch = opened(func)
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    loops = {str(sch.get(loop).loop_var.ty) for loop in sch.get_loops(block)}
    assert ("int64" in str(loops)) != narrow
