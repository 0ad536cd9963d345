"""The kernels of pack-cut: a tensor to dense bytes and back. Layout: see pack_cut.py."""

from __future__ import annotations

from collections.abc import Callable

from tvm import s_tir, te, tirx

from tvm_split.graph import DTYPE_BITS, Tensor

#: groups of elements that one core takes at a time; small enough to balance two cores, large enough to pay a task
CHUNK = 4096

Element = Callable[[tirx.Expr], tirx.Expr]


def pack_kernel(tensor: Tensor, bits: int) -> tirx.PrimFunc:
    """Kernel: the tensor -> uint8[ceil(elements * bits / 8)]."""
    count = tensor.elements
    size = -(-count * bits // 8)
    data = te.placeholder(_extents(*tensor.shape), tensor.dtype, name="data")
    guarded = bits < 8 and count % 8 != 0

    def element(i: tirx.Expr) -> tirx.Expr:
        value = _unsigned(data(*_index(tensor, i)), tensor.dtype)
        # Only the last group can reach beyond the tensor.
        return tirx.if_then_else(i < count, value, tirx.const(0, value.ty.dtype)) if guarded else value

    def byte(j: tirx.Expr) -> tirx.Expr:
        if bits < 8:
            group, place = te.indexdiv(j, bits), te.indexmod(j, bits)
            choices = [_byte_of_group(lambda e: element(group * 8 + e), bits, k) for k in range(bits)]
            return _select(place, choices)
        width = bits // 8
        value = element(te.indexdiv(j, width))
        if width == 1:
            return value
        return _select(
            te.indexmod(j, width), [(value >> tirx.const(8 * k, value.ty.dtype)).astype("uint8") for k in range(width)]
        )

    out = te.compute(_extents(size), byte, name="payload")
    return _scheduled(data, out, bits if bits < 8 else bits // 8)


def unpack_kernel(tensor: Tensor, bits: int, offset: int, total_bytes: int) -> tirx.PrimFunc:
    """Kernel: uint8[total_bytes] -> the tensor whose bytes begin at `offset`."""
    payload = te.placeholder(_extents(total_bytes), "uint8", name="payload")
    count = tensor.elements
    size = -(-count * bits // 8)

    def element(i: tirx.Expr) -> tirx.Expr:
        if bits < 8:
            group, place = te.indexdiv(i, 8), te.indexmod(i, 8)
            return _select(
                place, [_element_of_group(_reader(payload, offset, size, group * bits), bits, e) for e in range(8)]
            )
        width = bits // 8
        if width == 1:
            return payload[offset + i]
        unsigned = f"uint{bits}"
        value = payload[offset + i * width].astype(unsigned)
        for k in range(1, width):
            value = value | (payload[offset + i * width + k].astype(unsigned) << tirx.const(8 * k, unsigned))
        return value

    out = te.compute(
        _extents(*tensor.shape), lambda *i: _from_unsigned(element(_flat(tensor, i)), tensor.dtype), name="out"
    )
    return _parallel(s_tir.Schedule(te.create_prim_func([payload, out])), "out", 8 if bits < 8 else 1)


def _extents(*shape: int) -> list[tirx.Expr]:
    # Relax counts in int64, and FuseTIR asks for the same type of extent on both sides of a call.
    return [tirx.const(extent, "int64") for extent in shape]


def _reader(payload: te.Tensor, offset: int, size: int, start: tirx.Expr) -> Element:
    # A last, partial group has fewer bytes: those of elements beyond the tensor must not be read.
    return lambda k: payload[tirx.min(offset + start + k, offset + size - 1)]


def _index(tensor: Tensor, flat: tirx.Expr) -> list[tirx.Expr]:
    index = []
    for extent in reversed(tensor.shape[1:]):
        index.append(te.indexmod(flat, extent))
        flat = te.indexdiv(flat, extent)
    return [flat, *index[::-1]] if tensor.shape else []


def _flat(tensor: Tensor, index: tuple[tirx.Expr, ...]) -> tirx.Expr:
    flat: tirx.Expr = tirx.const(0, "int64")
    for extent, i in zip(tensor.shape, index, strict=True):
        flat = flat * extent + i
    return flat


def _unsigned(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """The element's bits as an unsigned integer of its own width."""
    bits = DTYPE_BITS[dtype]
    if dtype == "bool":
        return value.astype("uint8")
    return value if dtype.startswith("uint") else tirx.reinterpret(f"uint{bits}", value)


def _from_unsigned(value: tirx.Expr, dtype: str) -> tirx.Expr:
    if dtype == "bool":
        return value.astype("bool")
    return value if dtype.startswith("uint") else tirx.reinterpret(dtype, value)


def _select(place: tirx.Expr, choices: list[tirx.Expr]) -> tirx.Expr:
    """choices[place]; the loop over `place` is unrolled, so that nothing of the choice is left at run time."""
    result = choices[-1]
    for k in reversed(range(len(choices) - 1)):
        result = tirx.if_then_else(place == k, choices[k], result)
    return result


def _byte_of_group(element: Element, bits: int, k: int) -> tirx.Expr:
    """Byte k of a group of eight elements: the OR of those elements' bits that fall into it."""
    pieces = []
    for e in range(8):
        shift = e * bits - k * 8
        if -bits < shift < 8:
            amount = tirx.const(abs(shift), "uint8")
            pieces.append(
                element(tirx.const(e, "int64")) << amount if shift >= 0 else element(tirx.const(e, "int64")) >> amount
            )
    result = pieces[0]
    for piece in pieces[1:]:
        result = result | piece
    return result


def _element_of_group(byte: Element, bits: int, e: int) -> tirx.Expr:
    """Element e of a group of eight, out of the group's `bits` bytes."""
    first, shift = divmod(e * bits, 8)
    value = byte(tirx.const(first, "int64")) >> tirx.const(shift, "uint8")
    if shift + bits > 8:
        value = value | (byte(tirx.const(first + 1, "int64")) << tirx.const(8 - shift, "uint8"))
    return value & tirx.const(2**bits - 1, "uint8")


def _scheduled(data: te.Tensor, out: te.Tensor, group: int) -> tirx.PrimFunc:
    return _parallel(s_tir.Schedule(te.create_prim_func([data, out])), "payload", group)


def _parallel(sch: s_tir.Schedule, block: str, group: int) -> tirx.PrimFunc:
    """Chunks in parallel; within one, groups in order with their `group` elements unrolled, or vectors when it is 1."""
    loops = sch.get_loops(sch.get_sblock(block))
    if not loops:  # a tensor of no dimensions is one element
        return sch.mod["main"].without_attr("global_symbol")
    loop = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    if group == 1:
        outer, inner = sch.split(loop, [None, CHUNK])
        _, vector = sch.split(inner, [None, 64])
        sch.vectorize(vector)
    else:
        outer, _, place = sch.split(loop, [None, CHUNK, group])
        sch.unroll(place)
    sch.parallel(outer)
    return sch.mod["main"].with_attr("tirx.is_scheduled", True).without_attr("global_symbol")
