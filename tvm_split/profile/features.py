"""What a cost model knows of a layer: TVM's features of its scheduled kernel, and what the layer does and moves.

TVM's `PerStoreFeature` (`meta_schedule.feature_extractor`, the input of its own XGBoost model) gives 164 numbers for
each store of a kernel: how often which arithmetic is done, how loops are vectorised, unrolled and parallel, what each
buffer moves and reuses, how intensity grows with the loops. Most are log2(1 + count). A kernel has several stores, a
cost model one row, so that a kernel's are

    summed     log2 of one plus the sum of the counts over the stores
    leading    those of the store that does the most arithmetic

Beside these: the layer's operations and bytes, and its roofline's two terms, as log2. A layer of several kernels, with
views between them, has the stores of all; one of none (a reshape, which is a view) has zeros for TVM's part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule import MeasureCandidate, _ffi_api
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature

from tvm_split.errors import CostError, last_line
from tvm_split.explain import rule_of
from tvm_split.graph import Graph, Layer
from tvm_split.profile.feature_names import PER_STORE
from tvm_split.profile.roofline import memory_s, moved_bytes, moved_code_bytes
from tvm_split.targets import TargetSpec

#: how many of a store's features, from the first, count arithmetic
ARITHMETIC = 16
NO_STORES = np.zeros((0, PER_STORE))


@dataclass(frozen=True)
class Described:
    """A layer as the cost model sees it: `features`, one for each of `feature_names.NAMES`; the rule that
    schedules its kernel, "" for none; and the seconds of its roofline, to compare with."""

    layer: str
    op: str
    rule: str
    features: tuple[float, ...]
    base_s: float


def describe(
    graph: Graph, layer: Layer, kernels: Sequence[tvm.ir.BaseFunc], spec: TargetSpec, target: tvm.target.Target,
    alone: bool, on_integers: bool = False, known: dict[tvm.ir.BaseFunc, np.ndarray] | None = None,
) -> Described:  # fmt: skip
    """The features of a layer that is these kernels, which were lowered for `target`, TVM's of `spec`.

    alone: one of them is the layer, and the virtual machine has nothing else to do. on_integers: they are those of the
    layer on 8-bit integers. known: stores of kernels, which is added to. CostError when TVM cannot take a kernel's
    features.
    """
    known = {} if known is None else known
    known |= {kernel: store_features(kernel, target) for kernel in kernels if kernel not in known}
    stores = [known[kernel] for kernel in kernels]
    flops, moved = layer.flops, (moved_code_bytes if on_integers else moved_bytes)(graph, layer)
    peak = spec.peak_int8_ops_per_s if on_integers and spec.peak_int8_ops_per_s else spec.peak_flops_per_s
    compute_s, moved_s = flops / (peak * spec.efficiency), memory_s(moved, spec)
    reads = sum(graph.tensor[name].elements for name in dict.fromkeys(layer.inputs))
    writes = sum(graph.tensor[name].elements for name in layer.outputs)
    own = [*(math.log2(1 + count) for count in (flops, moved, layer.weight_bytes, reads, writes)),
           math.log2((1 + flops) / (1 + moved)), math.log2(1e-9 + compute_s), math.log2(1e-9 + moved_s),
           float(alone), float(on_integers)]  # fmt: skip
    main = max(range(len(kernels)), key=lambda i: _arithmetic(stores[i]).sum(), default=None)
    rule = "" if main is None else str(rule_of(kernels[main]) or "")
    base_s = max(compute_s, moved_s) + spec.layer_overhead_s
    return Described(layer.name, layer.op, rule, (*aggregated(np.vstack([NO_STORES, *stores])), *own), base_s)


def store_features(function: tvm.ir.BaseFunc, target: tvm.target.Target) -> np.ndarray:
    """TVM's features of a scheduled PrimFunc, float64 (stores, PER_STORE). CostError when TVM refuses it."""
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    try:
        candidate = MeasureCandidate(Schedule(mod), ArgInfo.from_prim_func(function))
        # TuneContext's own constructor first parses all of TVM's CUDA intrinsics, which takes 20 seconds
        context = _ffi_api.TuneContext(mod, target, None, None, "features", 1, -1, None)
        (found,) = PerStoreFeature().extract_from(context, [candidate])
    except (RuntimeError, ValueError, TypeError) as error:
        symbol = function.attrs["global_symbol"]
        raise CostError(f"TVM cannot take the features of kernel '{symbol}': {last_line(error)}") from error
    return np.asarray(found.numpy(), np.float64)


def aggregated(stores: np.ndarray) -> tuple[float, ...]:
    """One row of 2 * PER_STORE of any number of stores, (stores, PER_STORE)."""
    if not len(stores):
        return (0.0,) * (2 * PER_STORE)
    total = _counts(stores).sum(axis=0)
    summed = np.sign(total) * np.log2(1 + np.abs(total))
    leading = stores[np.argmax(_arithmetic(stores))]
    return tuple(float(value) for value in (*summed, *leading))


def _arithmetic(stores: np.ndarray) -> np.ndarray:
    """Operations of each store."""
    counts: np.ndarray = _counts(stores)[:, :ARITHMETIC].sum(axis=1)
    return counts


def _counts(stores: np.ndarray) -> np.ndarray:
    """TVM's log2(1 + count), undone."""
    found: np.ndarray = np.expm1(np.clip(np.abs(stores), 0, 200) * math.log(2)) * np.sign(stores)
    return found
