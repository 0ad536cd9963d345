"""Floating-point operations of one operator, a multiply-add counted as two, and a function like exp as one.

Every operator is of one class, each with its rule; one that is of none is told in the log, and counts what it reads.
What only moves data costs time all the same: a roofline gets that from the bytes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import tvm
from tvm import relax

log = logging.getLogger("tvm_split.extract")

Rule = Callable[[relax.Call, relax.Type], int]

#: only moves, makes or describes data
MOVES = frozenset(
    "reshape permute_dims concat strided_slice dynamic_strided_slice expand_dims squeeze split flatten take stack "
    "broadcast_to layout_transform shape_of zeros zeros_like ones ones_like full full_like eye eye_like arange "
    "astype memory.view memory.ensure_zero_offset nn.pad flip tile repeat gather_elements gather_nd scatter_elements "
    "scatter_nd slice_scatter index_tensor index_put nn.batch_flatten nn.pixel_shuffle one_hot meshgrid tril triu "
    "reverse_sequence shape_to_tensor tensor_to_shape size nn.dropout to_vdevice hint_on_device wrap_param".split()
)

#: one operation for each element of the result
ELEMENTWISE = frozenset(
    "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil clip cos cosh "
    "dequantize divide equal erf exp floor floor_divide floor_mod greater greater_equal hamming_window isfinite isinf "
    "isnan left_shift less less_equal log log_add_exp logical_and logical_not logical_or logical_xor maximum minimum "
    "mod multiply negative not_equal outer power quantize right_shift round rsqrt sigmoid sign sin sinh sqrt square "
    "subtract tan tanh trunc where nn.gelu nn.gelu_tanh nn.leakyrelu nn.prelu nn.relu nn.relu6 nn.selu nn.silu "
    "nn.softplus".split()
)

#: reads each element of its largest operand, once in this count: reductions, and the normalisations made of them
REDUCTIONS = frozenset(
    "argmax argmin collapse_sum_like collapse_sum_to max mean median min nonzero prod std sum variance nn.batch_norm "
    "nn.group_norm nn.instance_norm nn.layer_norm nn.rms_norm nn.log_softmax nn.softmax nn.nll_loss "
    "nn.cross_entropy_with_logits nn.adaptive_avg_pool1d nn.adaptive_avg_pool2d nn.adaptive_avg_pool3d".split()
)

#: one operation for each element that it goes over
SCANS = frozenset(("cumsum", "cumprod"))

#: n log2 n comparisons along one axis
SORTS = frozenset(("argsort", "sort", "topk", "unique"))


def flops_of(binding: relax.VarBinding, mod: tvm.IRModule | None = None) -> int:
    """Operations of what `binding` computes; 0 for what only moves data.

    `mod` holds the kernels that are called by name (call_tir), which are counted loop by loop. An operator of no known
    class counts max(elements read, elements made), with a warning in the log "tvm_split.extract".
    """
    call = binding.value
    if not isinstance(call, relax.Call):
        return 0
    name = str(call.op.name).removeprefix("relax.") if isinstance(call.op, tvm.ir.Op) else ""
    if name == "call_tir" and mod is not None:
        return _kernel(mod[call.args[0]])
    rule = _rule(name)
    if rule is None:
        what = f"operator {call.op.name}" if name else f"call of {call.op}"
        log.warning("'%s': the %s is of no known class; it counts as reading its operands", binding.var.name, what)
        rule = _reads
    return rule(call, binding.var.ty)


def _rule(name: str) -> Rule | None:
    rules: list[tuple[bool, Rule]] = [
        (name in MOVES, lambda call, ty: 0),
        (name in ELEMENTWISE, lambda call, ty: elements(ty)),
        (name == "ewise_fma", lambda call, ty: 2 * elements(ty)),
        (name in REDUCTIONS or name in SCANS, _reads),
        (name in SORTS, _sort),
        (name.startswith("nn.conv") and name.endswith("_transpose"), _transposed_convolution),
        (name.startswith("nn.conv"), _convolution),
        (name == "matmul", _matmul),
        (name == "einsum", _einsum),
        (name in ("nn.attention", "nn.attention_bias"), _attention),
        (name.startswith(("nn.max_pool", "nn.avg_pool")), _pool),
        (name in ("image.resize2d", "image.resize3d", "image.grid_sample"), _resize),
    ]
    return next((rule for applies, rule in rules if applies), None)


def extents(ty: relax.TensorType) -> tuple[int, ...]:
    """The shape in numbers."""
    return tuple(int(extent) for extent in ty.shape.values)


def elements(ty: relax.Type) -> int:
    """Elements of a tensor, or of all tensors of a tuple."""
    if isinstance(ty, relax.TupleType):
        return sum(elements(field) for field in ty.fields)
    return math.prod(extents(ty)) if isinstance(ty, relax.TensorType) else 0


def _reads(call: relax.Call, ty: relax.Type) -> int:
    return max(elements(ty), *(elements(arg.ty) for arg in call.args if isinstance(arg.ty, relax.TensorType)), 0)


def _convolution(call: relax.Call, ty: relax.Type) -> int:
    # The kernel is laid out (O, I / groups, spatial...) whatever the layout string permutes: the product of all its
    # extents but the output channels is what one output element multiplies.
    kernel = extents(call.args[1].ty)
    return 2 * elements(ty) * math.prod(kernel) // kernel[str(call.attrs.kernel_layout).index("O")]


def _transposed_convolution(call: relax.Call, ty: relax.Type) -> int:
    # Each *input* element is multiplied by (O / groups) * spatial kernel elements.
    kernel = extents(call.args[1].ty)
    return 2 * elements(call.args[0].ty) * math.prod(kernel) // kernel[str(call.attrs.kernel_layout).index("I")]


def _matmul(call: relax.Call, ty: relax.Type) -> int:
    return 2 * elements(ty) * extents(call.args[0].ty)[-1]


def _einsum(call: relax.Call, ty: relax.Type) -> int:
    # Every combination of labels is gone through: the operands are multiplied, and added where a label is summed over.
    text = str(call.attrs.subscripts).replace(" ", "")
    left, _, result = text.partition("->")
    sizes: dict[str, int] = {}
    operands = call.args[0].ty.fields
    for labels, operand in zip(left.split(","), operands, strict=True):
        shape = extents(operand)
        before, ellipsis, after = labels.partition("...")
        hidden = len(shape) - len(before) - len(after) if ellipsis else 0
        names = [*before, *(f"...{hidden - i}" for i in range(hidden)), *after]
        for name, extent in zip(names, shape, strict=True):
            sizes[name] = max(sizes.get(name, 1), extent)  # 1 is broadcast
    summed = "->" not in text or any(not name.startswith("...") and name not in result for name in sizes)
    return math.prod(sizes.values()) * (len(operands) - 1 + summed)


def _attention(call: relax.Call, ty: relax.Type) -> int:
    query, key, value = (extents(arg.ty) for arg in call.args[:3])  # (batch, sequence, heads, size)
    scores = query[0] * query[1] * query[2] * key[1]
    return scores * (2 * query[3] + 2 * value[3] + 1)


def _pool(call: relax.Call, ty: relax.Type) -> int:
    return elements(ty) * math.prod(int(extent) for extent in call.attrs.pool_size)


def _sort(call: relax.Call, ty: relax.Type) -> int:
    shape = extents(call.args[0].ty)
    axis = getattr(call.attrs, "axis", None)
    length = math.prod(shape) if axis is None else shape[int(axis)]
    return math.prod(shape) * math.ceil(math.log2(max(length, 1)))


def _resize(call: relax.Call, ty: relax.Type) -> int:
    points = {"nearest": 0, "nearest_neighbor": 0, "linear": 2, "bilinear": 2, "trilinear": 2}
    each = points.get(str(call.attrs.method), 4)  # cubic reads four
    axes = 3 if str(call.op.name).endswith("3d") else 2
    return 2 * elements(ty) * each**axes if each else 0


def _kernel(function: tvm.tirx.PrimFunc) -> int:
    """What TVM counts in the loops of a kernel; integer arithmetic counts as well."""
    alone = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return int(tvm.s_tir.analysis.estimate_tir_flops(alone))
