"""A bench's result for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from tvm_split.bench.result import DEFAULT, ONNXRUNTIME, OURS, OURS_FLOAT32, BenchResult
from tvm_split.report import table
from tvm_split.units import seconds, size

NO_RULE = "none"
#: name of the rule in passes/schedule that takes what no other knows
DEFAULT_RULE = "Default"


def engines_table(result: BenchResult) -> Table:
    """One row an engine, ours first; an engine that did not run says so."""
    theirs = result.median_s(ONNXRUNTIME)
    rows = []
    for name in (OURS, *([OURS_FLOAT32] if OURS_FLOAT32 in result.calls else []), DEFAULT, ONNXRUNTIME):
        median = result.median_s(name)
        if median is None:
            rows.append((name, "not run", "", "", ""))
            continue
        ratio = "" if theirs is None else f"{median / theirs:.3g}"
        rows.append((name, seconds(median), seconds(min(result.calls[name])), str(len(result.calls[name])), ratio))
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    title = f"{result.model}, {result.precision}, {threads}"
    return table(title, ("", "median", "fastest", "calls", "ratio to onnxruntime"), rows)


def layers_table(result: BenchResult) -> Table:
    """One row a kernel, in the network's order."""
    rows = []
    for layer in result.layers:
        if layer.seconds is None:
            rows.append((layer.name, layer.op, "no kernel", "-", "", "", "", ""))
            continue
        work = layer.flops > 0
        rows.append((
            layer.name, layer.op, layer.rule or NO_RULE, seconds(layer.seconds),
            f"{layer.seconds / result.layers_s * 100:.1f} %", f"{layer.flops / 1e6:,.1f}" if work else "",
            f"{(layer.flops_per_s or 0) / 1e9:.1f}" if work else "", f"{(layer.share_of_limit or 0) * 100:.0f} %",
        ))  # fmt: skip
    units = ("Mop", "G op/s") if any(layer.int8 for layer in result.layers) else ("MFLOP", "GFLOP/s")
    columns = ("layer", "kind", "rule", "time", "of all", *units, "of the limit")
    return table("kernels, each alone", columns, rows, left=3)


def sentences(result: BenchResult) -> Iterator[str]:
    """What the tables do not say."""
    whole = result.median_s(OURS)
    if whole is not None:
        kernels = sum(layer.seconds is not None for layer in result.layers)
        yield f"{kernels} kernels together: {seconds(result.layers_s)}, the whole network: {seconds(whole)}"
    for rule, what in ((DEFAULT_RULE, "no schedule rule but the default one"), (None, "no schedule rule")):
        left = result.taken_by(rule)
        if left:
            share = sum(layer.seconds or 0 for layer in left) / result.layers_s * 100
            names = ", ".join(dict.fromkeys(layer.name for layer in left))
            count = "1 kernel" if len(left) == 1 else f"{len(left)} kernels"
            yield f"{what} took {count} ({share:.0f} % of the time): {names}"
    if result.max_abs_difference is not None:
        yield f"largest difference of an output from onnxruntime's: {result.max_abs_difference:.3g}"
    blocks = ", ".join(f"{rate_of(speed)} of {size(block)}" for block, speed in result.bandwidth.items())
    integers = ""
    if any(layer.int8 for layer in result.layers) and result.peak_int8_ops_per_s is not None:
        integers = f", {result.peak_int8_ops_per_s / 1e9:.0f} G op/s in int8"
    yield (
        f"limit: {result.peak_flops_per_s / 1e9:.0f} GFLOP/s in float32{integers}; reading {blocks}. A layer's limit "
        "is the slower of its definition's arithmetic, of which Winograd does less, and its bytes"
    )


def rate_of(bytes_per_s: float) -> str:
    return f"{size(bytes_per_s)}/s"
