"""Machine code of the hot loops on ARM cores: instructions by kind, estimated cycles, executed instructions.

    python benchmarks/arm_code.py [--core CORE] [--dtype int8] [--no-run] [--code KIND] [--write docs/arm.md]

Cycles are llvm-mca's (`apt-get install llvm-22`), of one turn of the loop with every branch of it taken in. Executed
instructions are counted by qemu-user (`python tests/board/emulated_board.py up` fetches it) on the smaller layers of
SMALL, ours beside the code that TVM's default pipeline makes for the same target. `--write` puts the tables into the
file between its two marks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from tvm_split.assembly import mca
from tvm_split.assembly.aarch64 import Counts, hot
from tvm_split.assembly.layers import LISTED, Layer, arm_target, assembly, integer_network, network, program
from tvm_split.assembly.loops import Loop
from tvm_split.errors import CostError
from tvm_split.layer_kernels import Kernel, Program

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "board"))
from guest import Guest, GuestError, qemu  # noqa: E402

#: FMA or dot products of vectors that the core does in a cycle. Of widening multiplications, smull, each does one.
LIMITS = {"cortex-a72": 1, "cortex-a76": 2}
NETWORKS: dict[str, Callable[[Layer], tvm.IRModule]] = {"float32": network, "int8": integer_network}
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
#: layers that the emulator runs in seconds, TVM's default code too
SMALL = (
    Layer("3x3", "", 32, 32, 14, 14, 3, padding=1),
    Layer("3x3, 3 channels", "", 3, 32, 32, 32, 3, 2, 1),
    Layer("7x7", "", 3, 64, 28, 28, 7, 2, 3),
    Layer("5x5", "", 16, 32, 14, 14, 5, padding=2),
    Layer("1x1", "", 64, 64, 14, 14, 1),
    Layer("depthwise 3x3", "", 96, 96, 28, 28, 3, padding=1, groups=96),
    Layer("depthwise 5x5", "", 96, 96, 14, 14, 5, padding=2, groups=96),
    Layer("dense", "", 128, 128, 32),
    Layer("dense, 1 row", "", 1024, 256, 1),
)


def cycles(loop: Loop, core: str, width: int | None) -> float | None:
    """Cycles of a turn by llvm-mca, when it is here. `width`: what is dispatched in one, the model's own if None."""
    try:
        found = mca.core_of(mca.find_tool(), "aarch64", core, 128)
    except CostError:
        return None
    return mca.cycles(found, loop.body, width) if found.model == _model(core) else None


def _model(core: str) -> str:
    """LLVM's scheduling model that stands for the core."""
    return mca.TWINS.get(core, core)


def static_row(layer: Layer, core: str, loop: Loop, counts: Counts) -> str:
    """One line of the first table."""
    limit, width = LIMITS[core], mca.WIDTHS.get(_model(core))
    least = (counts.fma + counts.dot) / limit + counts.widening
    said = []
    for each in dict.fromkeys((None, width)):
        spent = cycles(loop, core, each)
        said.append("-" if spent is None else f"{spent:.1f} ({least / spent:.0%})")
    return (
        f"| {layer.kind} | {layer.network} | {layer.name} | {counts.instructions} | {counts.vector_multiplies} | "
        f"{counts.loads} | {counts.stores} | {counts.spills} | {counts.scalar_multiplies} | {' | '.join(said)} |"
    )


def static_table(core: str, dtype: str) -> list[str]:
    model, width = _model(core), mca.WIDTHS.get(_model(core))
    columns = [
        "kernel",
        "network",
        "layer",
        "instructions",
        "multiplying",
        "loads",
        "stores",
        "spills",
        "scalar multiplies",
    ]
    columns += ["cycles (share of limit)", *([f"at {width} a cycle"] if width else [])]
    lines = [f"### {core}, {dtype}: model `{model}`", "", f"| {' | '.join(columns)} |"]
    lines.append("|" + "---|" * 3 + "---:|" * (len(columns) - 3))
    for layer in LISTED:
        found = hot(assembly(NETWORKS[dtype](layer), arm_target(core)))
        lines.append(f"| {layer.kind} | none |" if found is None else static_row(layer, core, *found))
    return [*lines, ""]


def default_program(mod: tvm.IRModule, target: tvm.target.Target, symbol: str) -> Program:
    """The kernels that TVM's default pipeline makes of a network of one input, in order."""
    from tvm.relax.backend.cpu_generic import pipeline as cpu_generic

    passes = [*cpu_generic.legalize_passes(target)]
    with target:
        lowered = tvm.transform.Sequential(passes)(mod)
    main, values = lowered["main"], {lowered["main"].params[0]: 0}
    kernels: list[Kernel] = []
    for binding in (item for block in main.body.blocks for item in block.bindings):
        value = binding.value
        if isinstance(value, relax.Var):
            values[binding.var] = values[value]
            continue
        reads = [values[x] if isinstance(x, relax.Var) else x.value for x in value.args[1].fields]
        types = (*(x.ty for x in value.args[1].fields), value.ty_args[0])
        name = f"{symbol}_{len(kernels)}"
        kernels.append(
            Kernel(name, lowered[value.args[0]].with_attr("global_symbol", name), tuple(reads), types, False)
        )
        values[binding.var] = len(kernels)
    return Program(tuple(kernels), (values[main.body.body],))


def executed_table(core: str, dtype: str, folder: Path) -> list[str]:
    """Instructions that the emulated core executes for whole layers: ours NHWC, as in a half, TVM's NCHW."""
    target = arm_target(core)
    lines = [f"### {core}, {dtype}", "", "| kernel | layer | multiply-adds | ours | TVM default | ratio | ours each |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for i, layer in enumerate(SMALL):
        mod = NETWORKS[dtype](layer)
        random = np.random.default_rng(1)
        data = (random.integers(0, 256, layer.input_shape, "uint8") if dtype == "int8" else
                random.standard_normal(layer.input_shape).astype("float32"))  # fmt: skip
        ours, theirs = (
            Guest.build({"layer": made}, target, folder / f"{core}{dtype}{i}").instructions(core, {"layer": [data]})
            for made in (program(mod, target), default_program(mod, target, f"default{i}"))
        )
        each = ours / layer.multiply_adds
        figures = f"{layer.multiply_adds} | {ours} | {theirs} | {ours / theirs:.3f} | {each:.3f}"
        lines.append(f"| {layer.kind} | {layer.name} | {figures} |")
    return [*lines, ""]


def listing(core: str, dtype: str, kind: str) -> list[str]:
    """The hot loop of the first listed layer of a kind."""
    layer = next(layer for layer in LISTED if layer.kind == kind)
    found = hot(assembly(NETWORKS[dtype](layer), arm_target(core)))
    body = [] if found is None else [f"    {i.name:8}{i.operands}" for i in found[0].body]
    return [f"### {layer.kind}, {layer.network}, {layer.name}, {core}, {dtype}", "", *body, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", choices=LIMITS, action="append", help="both by default")
    parser.add_argument("--dtype", choices=NETWORKS, action="append", help="both by default")
    parser.add_argument("--no-run", action="store_true", help="leave out what the emulator counts")
    parser.add_argument(
        "--code", action="append", default=[], choices=sorted({layer.kind for layer in LISTED}), metavar="KIND",
        help="print the hot loop of this kind of kernel, too",
    )  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="FILE")
    asked = parser.parse_args()
    both = [(core, dtype) for core in asked.core or LIMITS for dtype in asked.dtype or NETWORKS]
    lines = ["## Hot loops", "", *(line for core, dtype in both for line in static_table(core, dtype))]
    if not asked.no_run:
        if qemu() is None:
            raise GuestError("no emulator: `python tests/board/emulated_board.py up` fetches it, or give --no-run")
        with tempfile.TemporaryDirectory() as folder:
            lines += ["## Executed instructions", ""]
            lines += [line for core, dtype in both for line in executed_table(core, dtype, Path(folder))]
    if asked.code:
        loops = (listing(core, dtype, kind) for kind in asked.code for core, dtype in both)
        lines += ["## Code", "", *(line for each in loops for line in each)]
    print("\n".join(lines))
    if asked.write:
        before, rest = asked.write.read_text().split(BEGIN)
        after = rest.split(END)[1]
        asked.write.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"{END}{after}")


if __name__ == "__main__":
    main()
