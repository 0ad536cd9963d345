"""Whole networks beside onnxruntime, interleaved in one run each: the ratios that the README quotes.

    python benchmarks/kernels.py [NETWORK ...] [--threads 2] [--json benchmarks/kernels.json]

Each network is a `tvm-split bench --json` of its own; its object is kept whole, with the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tvm_split import zoo
from tvm_split.versions import versions

NETWORKS = ("efficientnet-lite0", "resnet50", "googlenet", "vgg19", "yolox", "plate-detector", "ppocr-rec",
            "basic-pitch", "alexnet", "magika")  # fmt: skip


def bench(network: str, threads: int) -> dict[str, Any]:
    """The object of `tvm-split bench --json`. CalledProcessError when it fails, its message on stderr."""
    words = ["bench", f"zoo:{network}", "--no-default", "--threads", str(threads), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tvm_split.cli", *words], stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(found: dict[str, Any]) -> str:
    seconds, flops = found["ours_ms"] / 1e3, sum(layer["flops"] for layer in found["layers"])
    return (
        f"{found['model']:20}{found['ours_ms']:>10.2f}{found['onnxruntime_ms']:>14.2f}"
        f"{found['ratio_to_onnxruntime']:>8.3f}{flops / seconds / 1e9:>10.0f}{found['max_abs_difference']:>14.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"zoo names; {', '.join(NETWORKS)} by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    unknown = [name for name in asked.networks if name not in zoo.names()]
    if unknown:
        parser.error(f"the zoo has no network {', '.join(unknown)}; it has {', '.join(zoo.names())}")
    print(f"{'network':20}{'ours ms':>10}{'onnxruntime':>14}{'ratio':>8}{'GFLOP/s':>10}{'difference':>14}")
    results = []
    for network in asked.networks or NETWORKS:
        results.append(bench(network, asked.threads))
        print(row(results[-1]), flush=True)
    if asked.json:
        names = [
            x.split(":", 1)[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x
        ]
        data = {
            "benchmark": "kernels", "command": "python benchmarks/kernels.py " + " ".join(sys.argv[1:]),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions(),
            "machine": {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()},
            "networks": results,
        }  # fmt: skip
        asked.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
