"""What a cost model knows of a layer: TVM's features of its scheduled kernel, and what the layer does and moves.

TVM's `PerStoreFeature` (`meta_schedule.feature_extractor`, the input of its own XGBoost model) gives 164 numbers for
each store of a kernel: how often which arithmetic is done, how loops are vectorised, unrolled and parallel, what each
buffer moves and reuses, how intensity grows with the loops. Most are log2(1 + count). A kernel has several stores, a
cost model one row, so that a kernel's are

    summed     log2 of one plus the sum of the counts over the stores
    leading    those of the store that does the most arithmetic

Beside these: the layer's operations and bytes, and its roofline's two terms, as log2. A layer that is no single kernel
(a reshape, a sort) has zeros for TVM's part.
"""

from __future__ import annotations

import math
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
from tvm_split.layer_kernels import Kernel
from tvm_split.profile.feature_names import PER_STORE
from tvm_split.profile.roofline import moved_bytes, moved_code_bytes
from tvm_split.targets import TargetSpec

#: how many of a store's features, from the first, count arithmetic
ARITHMETIC = 16


@dataclass(frozen=True)
class Described:
    """A layer as the cost model sees it: `features`, one for each of `feature_names.NAMES`; the rule that
    schedules its kernel, "" for none; and the seconds of its roofline, which the model corrects."""

    layer: str
    op: str
    rule: str
    features: tuple[float, ...]
    base_s: float


def describe(
    graph: Graph, layer: Layer, kernel: Kernel | None, spec: TargetSpec, target: tvm.target.Target,
    on_integers: bool = False, known: dict[str, tuple[float, ...]] | None = None,
) -> Described:  # fmt: skip
    """The features of a layer whose kernel was lowered for `target`, TVM's of `spec`; None for one that is no kernel.

    on_integers: the kernel is that of the layer on 8-bit integers. known: rows of
    kernels by symbol, which is added to. CostError when TVM cannot take its features.
    """
    known = {} if known is None else known
    symbol = "" if kernel is None else kernel.symbol
    if symbol not in known:
        known[symbol] = aggregated(
            np.zeros((0, PER_STORE)) if kernel is None else store_features(kernel.function, target)
        )
    flops, moved = layer.flops, (moved_code_bytes if on_integers else moved_bytes)(graph, layer)
    peak = spec.peak_int8_ops_per_s if on_integers and spec.peak_int8_ops_per_s else spec.peak_flops_per_s
    compute_s = flops / (peak * spec.efficiency)
    memory_s = moved / spec.memory_bandwidth_bytes_per_s
    reads = sum(graph.tensor[name].elements for name in dict.fromkeys(layer.inputs))
    writes = sum(graph.tensor[name].elements for name in layer.outputs)
    own = [*(math.log2(1 + count) for count in (flops, moved, layer.weight_bytes, reads, writes)),
           math.log2((1 + flops) / (1 + moved)), math.log2(1e-9 + compute_s), math.log2(1e-9 + memory_s),
           float(kernel is not None), float(on_integers)]  # fmt: skip
    rule = "" if kernel is None else str(rule_of(kernel.function) or "")
    base_s = max(compute_s, memory_s) + spec.layer_overhead_s
    return Described(layer.name, layer.op, rule, (*known[symbol], *own), base_s)


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
    counts = np.expm1(np.clip(np.abs(stores), 0, 200) * math.log(2)) * np.sign(stores)
    total = counts.sum(axis=0)
    summed = np.sign(total) * np.log2(1 + np.abs(total))
    leading = stores[np.argmax(counts[:, :ARITHMETIC].sum(axis=1))]
    return tuple(float(value) for value in (*summed, *leading))
