"""Time of kernels with packed weights as a share of that with int8 weights, timed by turns on one thread.

    python benchmarks/packed_weights.py --bits 4 [--json FILE]

Each layer alone, its sums in int32, of the same random codes; the int8 kernel has one code of 8 bits among them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import te

from tvm_split.passes.kernels.depthwise_int8 import depthwise_int8
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.pack_int8 import conv2d_int8, matmul_int8
from tvm_split.passes.schedule import RULES, schedule
from tvm_split.versions import versions

SECONDS = 1.0
# name -> rows and columns of the data, channels in and out, window, stride, groups
LAYERS = {
    **{f"EfficientNet-Lite0 1x1 {size}x{size} {inner} to {outer}": (size, inner, outer, 1, 1, 1)
       for size, inner, outer in ((112, 32, 16), (56, 96, 24), (28, 144, 40), (14, 480, 80), (14, 112, 672),
                                  (7, 192, 1152), (7, 1152, 320))},
    **{f"EfficientNet-Lite0 depthwise {window}x{window} {size}x{size} {inner}": (size, inner, inner, window, 1, inner)
       for size, inner, window in ((112, 32, 3), (56, 144, 3), (28, 240, 5), (14, 480, 3), (7, 1152, 5))},
    "EfficientNet-Lite0 classifier": (1, 1280, 1000, 1, 1, 1),
    **{f"ResNet-50 1x1 {size}x{size} {inner} to {outer}": (size, inner, outer, 1, 1, 1)
       for size, inner, outer in ((56, 64, 256), (28, 512, 128), (14, 256, 1024), (7, 512, 2048))},
    **{f"ResNet-50 3x3 {size}x{size} {inner}": (size, inner, inner, 3, 1, 1)
       for size, inner in ((56, 64), (28, 128), (14, 256), (7, 512))},
    "ResNet-50 classifier": (1, 2048, 1000, 1, 1, 1),
}  # fmt: skip


def kernel_of(layer: tuple[int, ...], weight: np.ndarray, target: tvm.target.Target) -> Callable[[], object]:
    """What runs the layer once."""
    size, inner, _, window, stride, groups = layer
    pad, row = window // 2, (size - 1) // stride + 1
    if groups > 1:
        packed, compute = depthwise_int8(weight[:, :, 0], target, [stride] * 2, [pad] * 4, [1, 1])
        constants: tuple[np.ndarray, ...] = (packed,)
    elif window == 1:
        made = matmul_int8(weight[0, 0], target, size * size)
        compute, constants = made.compute, made.constants
    else:
        made = conv2d_int8(weight, target, row, [stride] * 2, [pad] * 4, [1, 1], 1, 0)
        compute, constants = made.compute, made.constants
    shape = (size * size, inner) if window == 1 else (1, size, size, inner)
    arrays = [np.random.default_rng(1).integers(0, 256, shape, "uint8"), *constants]
    params = [te.placeholder(int64(*a.shape), str(a.dtype), f"x{i}") for i, a in enumerate(arrays)]
    result = compute(*params)
    func = te.create_prim_func([*params, result], index_dtype_override="int64")
    found = schedule("layer", func, target, RULES).with_attr("global_symbol", "main")
    library = tvm.compile(tvm.IRModule({"main": found}), target)
    tensors = [tvm.runtime.tensor(a) for a in (*arrays, np.zeros([int(n) for n in result.shape], "int32"))]
    main = library.mod["main"]
    return lambda: main(*tensors)


def least_seconds(runs: Sequence[Callable[[], object]]) -> list[float]:
    """The shortest time of each, by turns, in `SECONDS` together."""
    least, end = [np.inf] * len(runs), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for i, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            run()
            least[i] = min(least[i], (time.perf_counter() - begun) / 2)
    return least


def compared(name: str, bits: int, target: tvm.target.Target) -> dict[str, Any]:
    """One layer's times."""
    _, inner, outer, window, _, groups = LAYERS[name]
    half = 2 ** (bits - 1)
    codes = np.random.default_rng(0).integers(-half, half, (window, window, inner // groups, outer)).astype("int8")
    wide = codes.copy()
    wide.flat[0] = 127
    int8_s, packed_s = least_seconds([kernel_of(LAYERS[name], weight, target) for weight in (wide, codes)])
    return {"layer": name, "int8_s": int8_s, "packed_s": packed_s, "ratio": packed_s / int8_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=4, choices=(2, 3, 4, 6))
    parser.add_argument("--mcpu", default=tvm.target.codegen.llvm_get_system_cpu(), help="LLVM's name of the processor")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("TVM_NUM_THREADS", "1")
    target = tvm.target.Target({"kind": "llvm", "mcpu": arguments.mcpu, "num-cores": 2})
    rows = []
    for name in LAYERS:
        rows.append(row := compared(name, arguments.bits, target))
        print(f"{name:50} int8 {row['int8_s'] * 1e6:8.1f} us, packed / int8 {row['ratio']:.2f}", flush=True)
    if arguments.json:
        about = {"benchmark": "packed_weights", "bits": arguments.bits, "mcpu": arguments.mcpu, "versions": versions()}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
