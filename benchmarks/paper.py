"""Auto-Split's comparison (KDD 2021) on its own constants: exact and Auto-Split beside what they are compared with.

    python benchmarks/paper.py --data DIR [--network NAME ...] [--rate MBIT ...] [--limit BITS ...]
        [--costs array|systolic|scalesim] [--json FILE]

Edge Eyeriss, cloud TPU, as `tvm_split/profile/mac_array.py` counts their cycles, or with --costs as SCALE-Sim's arrays,
in closed form or simulated (`systolic.py` there); 1, 3, 10 and 20 Mbit/s of 2^20 bits without a round trip; raw 8-bit
frames for cloud-only, results wanted in the cloud, as floats. Widths 2, 4, 6 and 8, and 16, the paper's reference, for
floats: on the edge at half the rate of 8 bits, and in the cloud. Weights below 8 bits take less memory here, but no
less time.

Limits, the same for all: the edge's memory, as a compiled half takes it (5a with live tensors, raw frame and payload),
and the distortion of 5b. Memory is the proof of concept's for ResNet-50 and GoogLeNet (4 and 8 MiB), half of what U8
takes for the others. Distortion, which stands in for accuracy, is at most that of the whole network at 8 bits, and then
that at 6 bits (--limit). It is measured on photographs in DIR. ResNet-50's and GoogLeNet's weights are random, and no
photograph need show a plate: distortions are only good for comparing answers of the same network.

    cloud-only     the raw frame goes up
    Neurosurgeon   prefix chosen by its last tensor alone, billed for all that crosses; everything at 16 bits
    QDMP           minimum cut at 16 bits
    QDMP quantised the same cut, at the widest of 8, 6, 4, 2 bits that fits
    U8             everything on the edge at 8 bits

What breaks a limit is marked (m: memory, d: distortion) and not compared. Exit code 1, with the case, when `exact`
takes longer than an answer within the limits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from paper_chart import Chart
from paper_network import REFERENCE, WIDTHS, link_of, prepare

from tvm_split.costs import SIMULATED
from tvm_split.plan import baselines
from tvm_split.plan.auto_split import plan_auto_split
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.memory import fits
from tvm_split.plan.mixed import Bits, evaluate_mixed, precision_of
from tvm_split.plan.problem import ROUNDING, Candidate, Problem
from tvm_split.versions import versions

NETWORKS = ("resnet50", "googlenet", "efficientnet-lite0", "yolox", "plate-detector")
RATES = (1, 3, 10, 20)
#: uniform widths whose distortion is the limit
LIMITS = (8, 6)
#: seconds for each of exact's programmes: on a busy machine one, its default, is little
TIME_LIMIT_S = 5.0
#: share of the time by which HiGHS may be off (`plan/exact.py`, SOLVED)
SOLVED = 1e-7


def limited(problem: Problem, bits: int) -> Problem:
    """At most the distortion that the whole network has at this width."""
    most = baselines.uniform(problem, bits).distortion
    return replace(problem, precision=replace(precision_of(problem), max_distortion=most))


def all_at(problem: Problem, cut: Candidate, bits: int) -> Candidate:
    """The cut with everything at one width; the frame stays as it comes."""
    tensors = dict.fromkeys((t.name for t in problem.graph.tensors if t.name not in problem.graph.inputs), bits)
    weights = dict.fromkeys(problem.graph.layer, bits)
    return evaluate_mixed(problem, cut.edge_layers, Bits(weights, tensors, tensors))


def rivals(problem: Problem) -> dict[str, Candidate]:
    """Everything but exact, whether it keeps the limits or not."""
    qdmp = baselines.qdmp(problem, REFERENCE)
    narrowed = [all_at(problem, qdmp, bits) for bits in sorted(WIDTHS, reverse=True)]
    return {
        "cloud-only": baselines.cloud_only(problem),
        "Neurosurgeon": all_at(problem, baselines.neurosurgeon(problem, REFERENCE), REFERENCE),
        "QDMP": all_at(problem, qdmp, REFERENCE),
        "QDMP quantised": next((found for found in narrowed if fits(problem, found)), narrowed[-1]),
        "U8": baselines.uniform(problem, 8),
        "auto-split": plan_auto_split(problem)[0],
    }


def broken(problem: Problem, found: Candidate) -> str:
    """Marks of the limits that an answer breaks."""
    most = precision_of(problem).max_distortion or 0.0
    return ("" if fits(problem, found) else "m") + ("" if found.distortion <= most * (1 + ROUNDING) else "d")


def compare(name: str, problem: Problem, limit: int, rate: float) -> list[dict[str, Any]]:
    """One row an answer, `exact` last."""
    problem = limited(problem, limit).with_link(link_of(rate))
    found = rivals(problem)
    found["exact"] = plan_exact(problem, time_limit_s=TIME_LIMIT_S)[0]
    cloud_s = found["cloud-only"].predicted.total_s
    most = precision_of(problem).max_distortion or 1.0
    return [
        {
            "network": name,
            "limit": f"U{limit}",
            "mbit_per_s": rate,
            "method": method,
            "relative": each.predicted.total_s / cloud_s,
            "total_s": each.predicted.total_s,
            "edge_memory_bytes": each.edge_memory_bytes if each.edge_layers else 0,
            "distortion_over_limit": each.distortion / most,
            "breaks": broken(problem, each),
            "answer": label(each),
            "edge_layers": len(each.edge_layers),
            "payload_bytes": each.payload_bytes,
            "gap": each.gap,
        }
        for method, each in found.items()
    ]


def label(found: Candidate) -> str:
    bits = "/".join(map(str, sorted({part.bits for part in found.crossing})))
    held = "/".join(map(str, sorted(set(found.weight_bits.values()))))
    return f"{found.kind}, sends {bits}" + (f", W{held}" if held else "")


def late(rows: list[dict[str, Any]]) -> list[str]:
    """The answers within the limits that are sooner than `exact`, as sentences."""
    exact = rows[-1]
    if exact["breaks"]:
        return [f"exact breaks a limit on {exact['network']} at {exact['mbit_per_s']} Mbit/s"]
    return [
        f"exact takes {exact['total_s']:.6g} s on {row['network']} at {row['mbit_per_s']} Mbit/s, but {row['method']} "
        f"{row['total_s']:.6g} s"
        for row in rows[:-1]
        if not row["breaks"] and row["total_s"] * (1 + SOLVED) < exact["total_s"]
    ]


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        gap = f", gap {row['gap']:.1%}" if row["gap"] else ""
        print(
            f"  {row['limit']} {row['mbit_per_s']:>4g} {row['method']:15}{row['relative']:8.3f}"
            f"{row['total_s'] * 1e3:9.1f} ms{row['edge_memory_bytes'] / 1e6:8.2f} MB"
            f"{row['distortion_over_limit']:10.2f} {row['breaks']:2} {row['answer']}, {row['edge_layers']} layers{gap}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR", help="photographs that calibrate")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--rate", action="append", type=float, metavar="MBIT", help=f"by default {RATES}")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--limit", action="append", type=int, choices=WIDTHS, help=f"by default {LIMITS}")
    parser.add_argument("--costs", choices=SIMULATED, default="array")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "benchmark": "paper",
        "pictures": asked.pictures,
        "costs": asked.costs,
        "versions": versions(),
    }
    rows, failed = [], []
    for name in asked.network or NETWORKS:
        began = time.monotonic()
        network = prepare(name, asked.data, asked.pictures, asked.costs)
        problem = network.problem
        if name == "resnet50" and asked.costs == "array":  # what the chart was drawn with
            chart = Chart(problem.graph, network.channels, link_of(3))
            print(chart.text() + "\n", flush=True)
            found["chart"] = {"series": chart.series(), "published": chart.against_published()}
        print(
            f"{name}: {len(problem.graph.layers)} layers, memory {(problem.memory_bytes or 0) / 2**20:.2f} MiB; "
            f"calibrated in {time.monotonic() - began:.0f} s\n"
            f"  distortion's limit, Mbit/s{'':4}over cloud-only, time, edge memory, distortion over its limit",
            flush=True,
        )
        for limit, rate in product(asked.limit or LIMITS, asked.rate or RATES):
            these = compare(name, problem, limit, rate)
            print_rows(these)
            rows += these
            failed += late(these)
    if asked.json:
        asked.json.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n")
    if failed:
        sys.exit("\n".join(failed))
    print(f"exact is never later than an answer within the limits: {len(rows)} answers")


if __name__ == "__main__":
    main()
