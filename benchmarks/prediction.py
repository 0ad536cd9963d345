"""How far predicted times are from measured ones: layers, whole halves, answers over a link, and what choosing by
predictions costs.

    python benchmarks/prediction.py [NETWORK ...] [--minutes 20] [--cuts 10] [--run MBIT_PER_S ...] [--folder DIR]
                                    [--run-networks NETWORK ...] [--json FILE] [--plot FILE]

The edge is one thread on a core of its own, its code compiled for 128-bit vectors (x86-64-v2, as wide as NEON); the
cloud is one thread on another core, with all that this processor has. Both are timed at once, each in its own process,
into DIR (by default build/prediction), from which the next run goes on: of each network its layers, then both halves
of the cuts, as many as there is time for, then their layers in other sizes and layers of every kind.

Every prediction is for a network **held back**: models are fitted to the other networks' layers and halves, to layers
in other sizes of those networks, and to layers of every kind, which are of no network. Printed are the median, the 90th
percentile and the worst of relative errors:

    layers    the cost model's; the roofline's, and Neurosurgeon's (a line through operations for each kind of layer;
              ASPLOS 2017, section 5.1), each fitted in the same way
    halves    the cost model and the composition; beside it the sum of measured layers
    answers   edge + link + cloud, at each rate, over all cuts and edge-only; the link's time is computed
    regret    what the answer of the least predicted time takes, over the best measured one
    --run     the answer that `tvm_split.plan` chooses with held-back models, compiled, and run over a shaped link

Crossing tensors have 8 bits an element; a frame that is read again after the cut (yolox, in its first three layers) is
not counted. --plot draws predicted against measured seconds (.svg or .png). Needs Linux and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prediction_runs import ran
from prediction_tables import RATES_MBIT, Errors, Measured, Models, answers, held_back, models_without_each, regrets

from tvm_split.plot import Pair, check_plot, save_plot
from tvm_split.profile.records import Records

NETWORKS = (
    "efficientnet-lite0", "googlenet", "resnet50", "yolox", "plate-detector", "ppocr-det", "ppocr-rec", "ppocr-cls",
    "magika", "basic-pitch", "wakeword-embedding", "alexnet",
)  # fmt: skip
EDGE_TARGET = Path(__file__).with_name("x86-64-v2-core.toml")
TARGETS = {"edge": str(EDGE_TARGET), "cloud": "host"}


def main() -> None:
    asked = _arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.collect is not None:
        _collect(asked)
        return
    if asked.plot is not None:
        check_plot(asked.plot)
    if asked.minutes > 0:
        _both_sides(asked)
    sides = {side: _read(asked.folder / f"{side}.records.jsonl", asked.networks) for side in TARGETS}
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": platform.platform(),
                              "processor": sides["edge"].device.get("machine"),
                              "versions": sides["edge"].device.get("versions"), "cuts": asked.cuts,
                              "sides": {}}  # fmt: skip
    predicted: dict[str, dict[tuple[str, str], float]] = {}
    panels: dict[str, list[Pair]] = {}
    models: dict[str, Models] = {}
    for side, measured in sides.items():
        models[side] = models_without_each(measured)
        tables, predicted[side], pairs = held_back(measured, models[side])
        panels |= {f"{what}, {side}": found for what, found in pairs.items()}
        print(
            f"{side}: {len(measured.layers)} layers, {len(measured.halves)} halves of {len(measured.networks)} networks"
        )
        for name, errors in tables.items():
            print(f"  {name:34} {errors}")
        result["sides"][side] = {name: asdict(errors) for name, errors in tables.items()}
    rows = answers(sides, predicted)
    print("answers, edge + link + cloud")
    for rate in RATES_MBIT:
        errors = Errors.of([row["predicted_s"] / row["measured_s"] - 1 for row in rows if row["mbit_per_s"] == rate])
        print(f"  {rate:3d} Mbit/s {'':22} {errors}")
        result.setdefault("answers", {})[str(rate)] = asdict(errors)
    found = regrets(rows)
    sizes = [row["regret"] for row in found]
    within = sum(size <= 0.05 for size in sizes)
    print(f"regret of the answer that is predicted soonest: median {statistics.median(sizes):.1%}, worst "
          f"{max(sizes):.1%}, within 5 % in {within} of {len(sizes)} cases")  # fmt: skip
    for row in found:
        if row["regret"] > 0.05:
            where = f"{row['network']} at {row['mbit_per_s']} Mbit/s"
            print(f"  {where}: {row['chosen']} takes {row['regret']:.1%} more than {row['best']}")
    if asked.run:
        print("answers planned with held-back models, compiled, and run over the shaped link, both halves on one core")
        core = max(os.sched_getaffinity(0))
        errors_of = {
            side: {what: {"median": found[f"{what}, cost model"]["median"], "p90": found[f"{what}, cost model"]["p90"]}
                   for what in ("layers", "halves")}
            for side, found in result["sides"].items()
        }  # fmt: skip
        networks = asked.run_networks or sides["edge"].networks
        result["ran"] = ran(sides, models, errors_of, TARGETS, networks, asked.run, core, asked.folder)
        errors = Errors.of([row["predicted_s"] / row["measured_s"] - 1 for row in result["ran"]])
        print(f"  {'predicted beside measured':34} {errors}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({**result, "regret": found, "rows": rows}, indent=1), encoding="utf-8")
    if asked.plot is not None:
        panels["answers"] = [Pair(row["network"], row["predicted_s"], row["measured_s"]) for row in rows]
        save_plot(asked.plot, "networks held back", panels)


def _read(path: Path, networks: Sequence[str]) -> Measured:
    if not path.exists():
        sys.exit(f"{path} is not there; run without --minutes 0")
    device = json.loads(path.open(encoding="utf-8").readline())["device"]
    records = Records(path, device)
    halves = [half for half in records.whole() if half.network in networks]
    return Measured(list(records.found.values()), halves, device)


def _both_sides(asked: argparse.Namespace) -> None:
    """Each side in a process of its own, on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit(f"this process may use {len(cores)} core; expected 2, one for the edge and one for the cloud")
    command = [sys.executable, __file__, *asked.networks, "--minutes", str(asked.minutes), "--cuts", str(asked.cuts),
               "--folder", str(asked.folder)]  # fmt: skip
    children = [
        subprocess.Popen([*command, "--collect", side, "--core", str(core)])
        for side, core in zip(TARGETS, cores, strict=False)
    ]
    for child in children:
        child.wait()
    if any(child.returncode for child in children):
        sys.exit("a side could not be timed; see above")


def _collect(asked: argparse.Namespace) -> None:
    from tvm_split.profile.collect import Plan, collect
    from tvm_split.targets import load_target

    side = asked.collect
    begin = time.monotonic()
    _, outcome = collect(
        load_target(TARGETS[side]), [f"zoo:{name}" for name in asked.networks],
        asked.folder / f"{side}.records.jsonl", asked.minutes, threads=1, cores=[asked.core],
        say=lambda text: print(f"[{time.monotonic() - begin:5.0f} s] {side}: {text}", file=sys.stderr, flush=True),
        plan=Plan(integers=False, cuts=asked.cuts, sides=(side,)),
    )  # fmt: skip
    for text in outcome.refused:
        print(f"{side}: {text}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--minutes", type=float, default=20.0, help="to time each side; 0: only what was timed")
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("build/prediction"))
    parser.add_argument("--run", type=float, nargs="+", default=[], metavar="MBIT_PER_S",
                        help="rates at which the chosen answers are compiled and run as well")  # fmt: skip
    parser.add_argument("--run-networks", nargs="+", metavar="NETWORK", help="those to run; by default all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--collect", choices=list(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
