"""The payload that an ARM board makes, beside the host twin's: bytes equal, or how many quantisation steps apart.

    eval "$(python tests/board/emulated_board.py up)"
    python benchmarks/board_payload.py [NETWORK...] [--cuts 3] [--bits 8,4] [--weights 2,3,4,6,8] [--json FILE]

For every network: cuts at even distances through the layers' order, each compiled for the Raspberry Pi 4 and for this
machine, run on the same seeded input, once a width. Floats as they are, or with --weights on integers: every tensor of
the half at 8 bits, and its layers' weights at these bits by turns. Times are not printed: an emulated board's are not
ARM's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tvm

from tvm_split import extract, pipeline
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.calibration.ranges import range_by
from tvm_split.compile_half import baseline, compile_half
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.pack_cut import read_layout
from tvm_split.prepare import prepare
from tvm_split.profile.rpc import connect, remote_vm
from tvm_split.random_samples import random_batches
from tvm_split.runtime.executor import Half
from tvm_split.runtime.payload import unpack
from tvm_split.targets import load_target
from tvm_split.versions import versions
from tvm_split.workflow import Request

NETWORKS = {"efficientnet-lite0": "efficientnet-lite0", "yolox": None, "plate-detector": "plate"}

Row = dict[str, str | int]
#: runs a library made for the board on these inputs; the payload that it gave
Board = Callable[[Path, Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One cut at one width: the layers on the edge, how many tensors cross quantised, and the edge's half."""

    edge: tuple[str, ...]
    crossing: tuple[str, ...]
    bits: int
    half: tvm.IRModule


def cases(
    mod: tvm.IRModule, batch: Mapping[str, np.ndarray], cuts: int, widths: Sequence[int], weights: Sequence[int] = ()
) -> Iterator[Case]:
    """Every cut at every width; ranges are those of `batch`. weights: bits of the layers' weights by turns, if any."""
    runner = LayerRunner(mod)
    graph = runner.graph
    calibrated = Calibrated.of(mod, graph, gather(runner, calibratable(graph), [batch]) if weights else {})
    bits_of = dict(zip(calibrated.weights, itertools.cycle(weights)))
    held = calibrated.everywhere(8)
    for i in range(1, cuts + 1):
        edge = tuple(layer.name for layer in graph.layers[: max(1, len(graph.layers) * i // (2 * cuts))])
        crossing = tuple(t for t in graph.crossing(edge) if graph.tensor[t].is_float and t not in graph.inputs)
        found = gather(runner, crossing, [batch])
        for bits in widths:
            quantizers = {t: range_by("min-max", found[t], bits).quantizer for t in crossing}
            half, _ = pipeline.halves(pipeline.at_cut(edge, quantizers)(mod))
            if weights:
                inside = {name: each for name, each in held.items() if name in extract.graph(half).tensor}
                layers = {name: bits_of[name] for name in edge if name in bits_of}
                half = tvm.transform.Sequential([AnnotatePrecision(layers, inside), pipeline.quantized()])(half)
            yield Case(edge, crossing, bits, half)


def compare(
    name: str, preprocess: str | None, cuts: int, widths: Sequence[int], board: Board, weights: Sequence[int] = ()
) -> list[Row]:
    mod, graph = prepare(Request(model=f"zoo:{name}", preprocess=preprocess))
    batch = random_batches(graph, 1, seed=0)[0]
    rows: list[Row] = []
    for case in cases(mod, batch, cuts, widths, weights):
        with tempfile.TemporaryDirectory() as folder:
            found = run_both(case.half, [batch[n] for n in graph.inputs], board, Path(folder))
        facts = {"edge_layers": len(case.edge), "crossing": len(case.crossing), "bits": case.bits}
        facts |= {"weights": ",".join(map(str, weights)) or "float32"}
        rows.append({"network": name, **facts, **found})
        print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    return rows


def run_both(half: tvm.IRModule, inputs: Sequence[np.ndarray], board: Board, folder: Path) -> Row:
    """The half's payload here, and how `board`'s differs from it."""
    parts = [asdict(part) for part in read_layout(half)]
    compile_half(half, load_target("raspberry-pi-4"), folder / "edge.so")
    compile_half(half, baseline(), folder / "host.so")
    theirs = board(folder / "edge.so", inputs)
    ours = Half(folder / "host.so").run(inputs)[0]
    steps = [
        int(np.abs(unpack(ours, part).astype(np.int64) - unpack(theirs, part).astype(np.int64)).max()) for part in parts
    ]
    return {"payload_bytes": int(ours.size), "bytes_different": int((ours != theirs).sum()), "largest_step": max(steps)}


def board_at(tracker: str, key: str) -> Board:
    def run(library: Path, inputs: Sequence[np.ndarray]) -> np.ndarray:
        with connect(tracker, key, timeout_s=120) as session:
            return remote_vm(session, library).run(inputs)[0]

    return run


def widths_of(text: str) -> list[int]:
    return [int(bits) for bits in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--bits", default="8,4", type=widths_of)
    parser.add_argument("--weights", default=[], type=widths_of, help="bits of layers' weights, by turns")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tracker, key = os.environ.get("TVM_SPLIT_TRACKER"), os.environ.get("TVM_SPLIT_EDGE_KEY", "rasp4b")
    if not tracker:
        print('no board: eval "$(python tests/board/emulated_board.py up)" makes one', file=sys.stderr)
        return 2
    board = board_at(tracker, key)
    rows = [
        row
        for name in args.networks or NETWORKS
        for row in compare(name, NETWORKS[name], args.cuts, args.bits, board, args.weights)
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
