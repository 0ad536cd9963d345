"""The closed form of a systolic array's cycles beside SCALE-Sim's, for each convolution of a network.

    pip install 'tvm-split[systolic]'
    python benchmarks/systolic.py [MODEL ...] [--memory CYCLES] [--json FILE]

MODEL is a name of `tvm-split zoo`, resnet50 unless given. The arrays are those of targets/eyeriss.toml and tpu.toml.
Convolutions of one shape are simulated once, and kept in the cache folder; `seconds` is what each took when it was.
--memory simulates the addresses of shapes of at most so many cycles too (0.3 ms a cycle), which gives SCALE-Sim's own
COMPUTE_REPORT, and what it fetches beside `systolic.traffic`. Exit code 1 when a convolution differs by more than 1 %,
and by more than the one cycle a run that SCALE-Sim counts less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tvm_split import frontend, pipeline, zoo
from tvm_split.extract import graph as extract_graph
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.profile.read_shapes import layer_shapes
from tvm_split.profile.scalesim_run import cached
from tvm_split.profile.systolic import array_of, compute_cycles, traffic
from tvm_split.targets import load_target
from tvm_split.targets.systolic import SystolicArray
from tvm_split.versions import versions

TARGETS = ("eyeriss", "tpu")
#: share by which the closed form may be off
MOST = 0.01


def convolutions(model: str) -> dict[str, LayerShape]:
    """Shapes of the network's convolutions; matmuls are left out."""
    mod = pipeline.layers(winograd=False)(frontend.load(zoo.fetch(model)))
    kind = extract_graph(mod, model).layer
    return {layer: shape for layer, shape in layer_shapes(mod).items() if "conv" in kind[layer].op}


def compare(shape: LayerShape, array: SystolicArray, most_cycles: int) -> dict[str, Any]:
    """One shape on one array: the closed form, what the simulator reports for its groups, and how far they differ."""
    closed, simulated = compute_cycles(shape, array), cached(shape, array)
    cycles = simulated.cycles * shape.groups
    row = {"closed": closed, "scalesim": cycles, "off": abs(closed - cycles) / cycles, "seconds": simulated.seconds}
    if closed <= most_cycles:
        with_memory, fetched = cached(shape, array, memory=True), traffic(replace(shape, groups=1), array)
        row["report"] = asdict(with_memory)
        row["traffic"] = asdict(fetched)
        reads = (with_memory.inputs or 0) + (with_memory.weights or 0)
        row["reads_off"] = abs(fetched.inputs + fetched.weights - reads) / reads
    return row


def wrong(row: Mapping[str, Any]) -> bool:
    """Whether the two differ by more than the one cycle a run that is known, and by more than MOST."""
    return row["off"] > MOST and abs(row["closed"] - row["scalesim"]) > row["shape"]["groups"]


def run(model: str, most_cycles: int) -> list[dict[str, Any]]:
    shapes = convolutions(model)
    found: dict[tuple[LayerShape, str], Mapping[str, Any]] = {}
    rows = []
    for layer, shape in shapes.items():
        for target in TARGETS:
            if (shape, target) not in found:
                found[shape, target] = compare(shape, array_of(load_target(target)), most_cycles)
            row = found[shape, target]
            rows.append({"model": model, "layer": layer, "target": target, "shape": asdict(shape), **row})
            print(f"  {layer:32.32} {target:8}{row['closed']:12,}{row['scalesim']:12,}{row['off']:9.2e}", flush=True)
    for target in TARGETS:
        these = [row for row in rows if row["target"] == target]
        once = [row for (_, name), row in found.items() if name == target]
        whole = [row for row in once if "report" in row]
        print(
            f"{model} on {target}: {len(these)} convolutions of {len(once)} shapes; off by {max_off(these):.1e} at "
            f"most, {median(row['off'] for row in these):.1e} in the median; simulated in "
            f"{sum(row['seconds'] for row in once):.0f} s; with memory {len(whole)} shapes, in "
            f"{sum(row['report']['seconds'] for row in whole):.0f} s: what they fetch is off by "
            f"{max((row['reads_off'] for row in whole), default=0.0):.1e} at most, "
            f"stalls {sum(row['report']['stalls'] for row in whole)}"
        )
    return rows


def max_off(rows: list[dict[str, Any]]) -> float:
    return max(row["off"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["resnet50"], metavar="MODEL")
    parser.add_argument("--memory", type=int, default=0, metavar="CYCLES")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    rows = [row for model in asked.models for row in run(model, asked.memory)]
    if asked.json:
        found = {"benchmark": "systolic", "versions": {**versions(), "scalesim": version("scalesim")}, "rows": rows}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if any(map(wrong, rows)):
        sys.exit(f"the closed form is off by {max_off(rows):.1%}; expected at most {MOST:.0%}, or a cycle a run")


if __name__ == "__main__":
    main()
