"""What subnormal weights cost: a network's layers as they are, beside the same after flush-subnormals, in one run.

    python benchmarks/subnormals.py [NETWORK] [--rounds 9]

Of every layer that the pass changes: microseconds on one thread before and after, by turns, and their ratio. x86-64
computes with subnormal numbers in microcode; on a processor that does not, ratios are 1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import tvm
import tvm_ffi

from tvm_split import frontend, lower
from tvm_split.passes.flush_subnormals import FlushSubnormals
from tvm_split.passes.fold_batch_norm import FoldBatchNorm
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_alone import layer_alone
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.simplify import Simplify
from tvm_split.profile.timing import Bench
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="ppocr-rec", help="of the zoo")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    use_threads(1)
    spec = load_target("host")
    mod = tvm.transform.Sequential([Simplify(), FoldBatchNorm()])(frontend.load(f"zoo:{asked.network}"))
    before, after = (FuseActivation()(made) for made in (mod, FlushSubnormals()(mod)))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), spec, resolve(spec), tvm.cpu(), None, 1)
        for name in changed(before, after):
            times = by_turns(bench, [layer_alone(made, name) for made in (before, after)], asked.rounds)
            first, second = (1e6 * statistics.median(each) for each in times)
            print(f"{name:40} {first:8.1f} us {second:8.1f} us  ratio {second / first:.3f}", flush=True)


def changed(before: tvm.IRModule, after: tvm.IRModule) -> list[str]:
    """Names of the layers whose constants differ."""
    others = {str(callee.attrs[LAYER]): callee for _, callee in layer_calls(after)}
    return [
        str(callee.attrs[LAYER]) for _, callee in layer_calls(before)
        if not tvm_ffi.structural_equal(callee, others[str(callee.attrs[LAYER])])
    ]  # fmt: skip


def by_turns(bench: Bench, mods: list[tvm.IRModule], rounds: int) -> list[list[float]]:
    """Seconds of each module's `main`, round by round."""
    built = [bench.built(mod, "a layer", lower.pipeline(bench.target)) for mod in mods]
    taken: list[list[float]] = [[] for _ in mods]
    for _ in range(rounds):
        for times, module, mod in zip(taken, built, mods, strict=True):
            times += bench.vm_times(module, mod, "a layer")
    return taken


if __name__ == "__main__":
    main()
