"""Whole networks beside onnxruntime, in float32 and int8, interleaved in one run each: what the README quotes.

    python benchmarks/kernels.py [NETWORK ...] [--precision float32] [--threads 2] [--json benchmarks/kernels.json]

A row a network and precision: its time, the ratio to onnxruntime's, for int8 the ratio to our own float32, and how many
of its dense convolutions (3x3 and 1x1, 64 channels and more, alone) reach WANTED of what the machine is measured to do,
counting the products of their definition: those by Winograd's algorithm do fewer, and pass 100 %.
Each row is a `tvm-split bench --json` of its own, whose object is kept whole. A network that fails is named, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tvm_split import zoo
from tvm_split.versions import versions

PRECISIONS = ("float32", "int8")
#: share of the measured limit that a dense convolution should reach, and what counts as one
WANTED = 0.85
DENSE_KERNELS, DENSE_CHANNELS = ([1, 1], [3, 3]), 64
#: of one network in one precision: the compiler and the rounds
TIMEOUT_S = 1800
HEAD = (
    f"{'network':20}{'precision':>10}{'ours ms':>10}{'onnxruntime':>13}{'ratio':>8}{'to float32':>12}{'Gop/s':>8}"
    f"{'dense':>10}{'difference':>12}"
)


def bench(network: str, precision: str, threads: int) -> dict[str, Any] | str:
    """The object of `tvm-split bench --json`, or the reason why there is none."""
    words = ["bench", f"zoo:{network}", "--precision", precision, "--no-default", "--threads", str(threads), "--json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tvm_split.cli", *words, "--quiet"], capture_output=True, text=True,
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no result within {TIMEOUT_S} s"
    if done.returncode:
        said = done.stderr.strip().partition("tvm-split: ")[2] or done.stderr.strip()[-300:]
        return " ".join(said.split()) or f"exit code {done.returncode}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def dense(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the dense convolutions of a bench's object."""
    return [layer for layer in found["layers"] if layer["ms"] is not None and _is_dense(layer["convolution"])]


def _is_dense(convolution: dict[str, Any] | None) -> bool:
    if convolution is None or convolution["groups"] != 1:
        return False
    channels = min(convolution["channels_in"], convolution["channels_out"])
    return convolution["kernel"] in DENSE_KERNELS and channels >= DENSE_CHANNELS


def reached(layers: Iterable[dict[str, Any]]) -> int:
    """How many of the rows reach WANTED of their limit."""
    return sum(layer["share_of_limit"] >= WANTED for layer in layers)


def row(found: dict[str, Any]) -> str:
    seconds, flops = found["ours_ms"] / 1e3, sum(layer["flops"] for layer in found["layers"])
    convolutions = dense(found)
    share = f"{reached(convolutions)}/{len(convolutions)}" if convolutions else "-"
    theirs = _or_dash(found["onnxruntime_ms"], ".2f")
    return (
        f"{found['model']:20}{found['precision']:>10}{found['ours_ms']:>10.2f}{theirs:>13}"
        f"{_or_dash(found['ratio_to_onnxruntime'], '.3f'):>8}{_or_dash(found['ratio_to_float32'], '.3f'):>12}"
        f"{flops / seconds / 1e9:>8.0f}{share:>10}{_or_dash(found['max_abs_difference'], '.1e'):>12}"
    )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def below(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The dense convolutions that do not reach WANTED, the furthest from it first."""
    rows = [
        {"model": found["model"], "precision": found["precision"], "layer": layer["name"],
         "share_of_limit": layer["share_of_limit"], **layer["convolution"]}
        for found in results for layer in dense(found) if layer["share_of_limit"] < WANTED
    ]  # fmt: skip
    return sorted(rows, key=lambda each: each["share_of_limit"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="zoo names; by default every network of the zoo")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="by default both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    unknown = [name for name in asked.networks if name not in zoo.names()]
    if unknown:
        parser.error(f"the zoo has no network {', '.join(unknown)}; it has {', '.join(zoo.names())}")
    print(HEAD, flush=True)
    results, failed = [], []
    for network in asked.networks or zoo.names():
        for precision in asked.precision or PRECISIONS:
            found = bench(network, precision, asked.threads)
            if isinstance(found, str):
                failed.append({"model": network, "precision": precision, "reason": found})
                print(f"{network:20}{precision:>10}  failed: {found}", flush=True)
            else:
                results.append(found)
                print(row(found), flush=True)
    every, short = [layer for found in results for layer in dense(found)], below(results)
    print(
        f"dense convolutions (3x3 and 1x1, {DENSE_CHANNELS} channels and more): {reached(every)} of {len(every)} reach "
        f"{WANTED:.0%} of the limit"
    )
    for each in short:
        print(f"  {each['share_of_limit']:.0%} {each['model']} {each['precision']} {each['layer']}")
    if asked.json:
        asked.json.write_text(json.dumps(described(results, failed, short), indent=1) + "\n")


def described(
    results: list[dict[str, Any]], failed: list[dict[str, Any]], short: list[dict[str, Any]]
) -> dict[str, Any]:
    """The file that --json writes: the run, with machine and versions."""
    names = [x.split(":", 1)[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {
        "benchmark": "kernels", "command": " ".join(["python benchmarks/kernels.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions(),
        "machine": {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()},
        "wanted_share_of_limit": WANTED, "dense_convolutions_below": short, "failed": failed, "networks": results,
    }  # fmt: skip


if __name__ == "__main__":
    main()
