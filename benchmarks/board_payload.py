"""The payload that an ARM board makes, beside the host twin's: bytes equal, or how many quantisation steps apart.

    eval "$(python tests/board/emulated_board.py up)"
    python benchmarks/board_payload.py [NETWORK...] [--cuts 3] [--bits 8,4] [--json FILE]

For every network: cuts at even distances through the layers' order, each compiled for the Raspberry Pi 4 and for this
machine, run on the same seeded input, once a width. Times are not printed: an emulated board's are not ARM's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tvm_split import calibrate, pipeline
from tvm_split.compile_half import compile_half
from tvm_split.passes.pack_cut import read_layout
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.profile.rpc import connect, remote_vm
from tvm_split.runtime.executor import Half
from tvm_split.runtime.payload import unpack
from tvm_split.targets import load_target
from tvm_split.versions import versions
from tvm_split.workflow import Request, prepare

NETWORKS = {"efficientnet-lite0": "efficientnet-lite0", "yolox": None, "plate-detector": "plate"}


def compare(name: str, preprocess: str | None, cuts: int, widths: list[int], tracker: str, key: str) -> list[dict]:
    mod, graph = prepare(Request(model=f"zoo:{name}", preprocess=preprocess))
    batch = calibrate.random_batches(graph, 1, seed=0)[0]
    inputs = [batch[n] for n in graph.inputs]
    count = len(graph.layers)
    rows = []
    for i in range(1, cuts + 1):
        edge = [layer.name for layer in graph.layers[: max(1, count * i // (2 * cuts))]]
        crossing = [t for t in graph.crossing(edge) if graph.tensor[t].is_float and t not in graph.inputs]
        ranges = calibrate.ranges(mod, crossing, [batch])
        for bits in widths:
            quantizers = {t: Quantizer.of_range(bits, *ranges[t]) for t in crossing}
            half, _ = pipeline.halves(pipeline.at_cut(edge, quantizers)(mod))
            rows.append({"network": name, "edge_layers": len(edge), "crossing": len(crossing), "bits": bits,
                         **run_both(half, inputs, tracker, key)})  # fmt: skip
            print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    return rows


def run_both(half: object, inputs: list[np.ndarray], tracker: str, key: str) -> dict:
    parts = [asdict(part) for part in read_layout(half)]
    with tempfile.TemporaryDirectory() as folder:
        board_so, host_so = Path(folder) / "edge.so", Path(folder) / "host.so"
        compile_half(half, load_target("raspberry-pi-4"), board_so)
        compile_half(half, load_target("host"), host_so)
        with connect(tracker, key, timeout_s=120) as session:
            theirs = remote_vm(session, board_so).run(inputs)[0]
        ours = Half(host_so).run(inputs)[0]
    steps = [
        int(np.abs(unpack(ours, part).astype(np.int64) - unpack(theirs, part).astype(np.int64)).max()) for part in parts
    ]
    return {"payload_bytes": int(ours.size), "bytes_different": int((ours != theirs).sum()), "largest_step": max(steps)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--bits", default="8,4", type=lambda text: [int(bits) for bits in text.split(",")])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tracker, key = os.environ.get("TVM_SPLIT_TRACKER"), os.environ.get("TVM_SPLIT_EDGE_KEY", "rasp4b")
    if not tracker:
        print('no board: eval "$(python tests/board/emulated_board.py up)" makes one', file=sys.stderr)
        return 2
    rows = [
        row
        for name in args.networks or NETWORKS
        for row in compare(name, NETWORKS[name], args.cuts, args.bits, tracker, key)
    ]
    worst = max(row["largest_step"] for row in rows)
    equal = sum(row["bytes_different"] == 0 for row in rows)
    print(f"{equal} of {len(rows)} payloads equal byte for byte; largest difference {worst} quantisation steps")
    if args.json:
        facts = {"machine": platform.processor() or platform.machine(), "versions": versions(), "rows": rows}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
