"""The licence-plate reader, split: a camera finds the plate and the cloud reads it, planned, compiled and run here.

    python benchmarks/licence_plate.py [--folder F] [--memory BYTES] [--edge NAME] [--link NAME] [--json FILE]

detector      runs where the plan says and gives its boxes to the camera, which crops its own frame
recogniser    takes the crop; the text is wanted in the cloud

Frames are rendered (benchmarks/plates.py): 16 calibrate, others are read. Both bundles lie in the folder afterwards,
with detector.npz and recogniser.npz, which are `--data` for the command line;
the halves that run here are their twins for this machine. Times are predicted, from the targets' data sheets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from plates import Reader, best_plate, crop, frame, overlap

import tvm_split
from tvm_split.bundle import Bundle
from tvm_split.plan.problem import Link
from tvm_split.prepare import prepare
from tvm_split.versions import versions
from tvm_split.workflow import PlanResult, Request

TEXTS = ("A12345", "B72356", "KH4725", "E68437", "T3M952")
CALIBRATING = 16
#: of `run`: the halves follow each other at once
FAST = Link("loopback", 1e9, 1e9)


def rendered(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames with a plate somewhere, (count, 320, 320, 3), and their crops, (count, 48, 320, 3); uint8."""
    random, frames, crops = np.random.default_rng(seed), [], []
    for i in range(count):
        text = random.choice(list("ABCDEFGHKLMNPRSTUVWXY")) + "".join(random.choice(list("0123456789"), 5))
        centre = (int(random.integers(140, 180)), int(random.integers(150, 185)))
        found = frame(text, int(random.integers(160, 250)), centre, seed + i)
        frames.append(found.pixels)
        crops.append(crop(*found)[0])
    return np.stack(frames), np.stack(crops)


def planned(model: str, samples: np.ndarray, folder: Path, asked: argparse.Namespace, **options: Any) -> PlanResult:
    _, graph = prepare(Request(model, preprocess=options["preprocess"]))
    np.savez(folder.with_suffix(".npz"), **{graph.inputs[0]: samples})
    plan = tvm_split.plan(
        model, edge=asked.edge, cloud=asked.cloud, link=asked.link, memory_bytes=asked.memory, edge_bits=(8,),
        data={graph.inputs[0]: samples}, samples=len(samples) // 2, check=len(samples) // 2, max_error=0.2, **options,
    )  # fmt: skip
    print(f"\n{plan}\n", flush=True)
    tvm_split.build(plan, folder, force=True)
    return plan


def facts(plan: PlanResult) -> dict[str, Any]:
    """What was chosen, beside cloud-only in the same table."""
    chosen = plan.chosen
    clouds = [each.candidate.predicted.total_s for each in plan.candidates if each.candidate.kind == "cloud-only"]
    return {
        "network": plan.graph.name,
        "answer": chosen.label,
        "total_ms": chosen.candidate.predicted.total_s * 1e3,
        "over_cloud_only": chosen.candidate.predicted.total_s / min(clouds) if clouds else None,
        "payload_bytes": chosen.candidate.payload_bytes,
        "edge_memory_bytes": chosen.candidate.edge_memory_bytes,
    }


def read(detector: Bundle, recogniser: Bundle, text: str, reader: Reader) -> dict[str, Any]:
    """One frame through both bundles."""
    seen = frame(text)
    found = best_plate(list(run(detector, seen.pixels[np.newaxis]).values()))
    (scores,) = run(recogniser, crop(seen.pixels, found.box)).values()
    return {"text": text, "read": reader(scores), "score": found.score, "overlap": overlap(found.box, seen.box)}


def run(bundle: Bundle, array: np.ndarray) -> dict[str, np.ndarray]:
    (wanted,) = bundle.inputs
    return dict(tvm_split.run(bundle, {wanted.name: array}, repeats=1, link=FAST).outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the bundles are left; a temporary one by default")
    parser.add_argument("--memory", type=int, default=4 * 2**20, help="bytes of each edge half (4 MiB)")
    parser.add_argument("--edge", default="cortex-a53-camera")
    parser.add_argument("--cloud", default="c5.xlarge")
    parser.add_argument("--link", default="3mbit")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        frames, crops = rendered(2 * CALIBRATING, seed=100)
        folder.mkdir(parents=True, exist_ok=True)
        plans = [
            planned("zoo:plate-detector", frames, folder / "detector", asked, preprocess="plate"),
            planned("zoo:ppocr-rec", crops, folder / "recogniser", asked, preprocess="ppocr", result_at="cloud"),
        ]
        detector, recogniser = (Bundle.open(folder / name) for name in ("detector", "recogniser"))
        reader = Reader()
        rows = [read(detector, recogniser, text, reader) for text in TEXTS]
    for row in rows:
        print(f"{row['text']} read as {row['read']:8} score {row['score']:.3f}, box overlaps by {row['overlap']:.2f}")
    made = [facts(plan) for plan in plans]
    for each in made:
        shown = "" if each["over_cloud_only"] is None else f", {each['over_cloud_only']:.2f} of cloud-only"
        print(
            f"{each['network']}: {each['answer']}; {each['total_ms']:.0f} ms{shown}; sends {each['payload_bytes']} "
            f"bytes; {each['edge_memory_bytes'] / 1e6:.2f} MB on the edge"
        )
    print(f"{sum(row['read'] == row['text'] for row in rows)} of {len(rows)} plates read")
    if asked.json:
        found = {"benchmark": "licence_plate", "networks": made, "plates": rows, "versions": versions()}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
