"""How far predicted times are from measured ones: layers, whole halves, answers over a link, and what choosing by
predictions costs.

    python benchmarks/prediction.py [NETWORK ...] [--minutes 12] [--cuts 10] [--folder DIR] [--json FILE]

The edge is one thread on a core of its own, its code compiled for 128-bit vectors (x86-64-v2, as wide as NEON); the
cloud is one thread on another core, with all that this processor has. Both are timed at once, each in its own process,
into DIR (by default build/prediction), from which the next run goes on: of each network every layer, then both halves
of the cuts, and layers of shapes around theirs with what time is left.

Every prediction is for a network **held back**: models are fitted to the other networks' layers and halves, and to the
sampled shapes, which are nobody's. Printed are the median, the 90th percentile and the worst of relative errors:

    layers    the cost model's; the roofline's, and Neurosurgeon's (a line through operations for each kind of layer;
              ASPLOS 2017, section 5.1), each fitted in the same way
    halves    the cost model and the composition; beside it the sum of measured layers
    answers   edge + link + cloud, at each rate, over all cuts and edge-only; the link's time is computed
    regret    what the answer of the least predicted time takes, over the best measured one

Crossing tensors and frames have 8 bits an element. Needs Linux and two cores.
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_split.profile import composition, cost_model
from tvm_split.profile.records import HalfRecord, Record, Records

NETWORKS = (
    "efficientnet-lite0", "googlenet", "resnet50", "yolox", "plate-detector", "ppocr-det", "ppocr-rec", "ppocr-cls",
    "magika", "basic-pitch",
)  # fmt: skip
EDGE_TARGET = Path(__file__).with_name("x86-64-v2-core.toml")
TARGETS = {"edge": str(EDGE_TARGET), "cloud": "host"}
RATES_MBIT = (1, 3, 10, 50)
SAMPLED = "sampled-"


@dataclass(frozen=True)
class Measured:
    """What was timed on one side."""

    layers: list[Record]
    halves: list[HalfRecord]

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(half.network for half in self.halves))

    def without(self, network: str) -> Measured:
        """All that knows nothing of the network: kernels that it shares with others are left out as well."""
        own = {key for half in self.halves if half.network == network for key in half.keys}
        layers = [record for record in self.layers if record.network != network and record.key not in own]
        return Measured(layers, [half for half in self.halves if half.network != network])


@dataclass(frozen=True)
class Errors:
    """Of relative errors' sizes."""

    count: int
    median: float
    p90: float
    worst: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Errors:
        sizes = sorted(abs(error) for error in errors)
        return cls(len(sizes), statistics.median(sizes), float(np.quantile(sizes, 0.9)), sizes[-1])

    def __str__(self) -> str:
        return f"{self.count:5d}   median {self.median:6.1%}   90th {self.p90:6.1%}   worst {self.worst:7.1%}"


def main() -> None:
    asked = _arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.collect is not None:
        _collect(asked)
        return
    if asked.minutes > 0:
        _both_sides(asked)
    sides = {side: _read(asked.folder / f"{side}.records.jsonl", asked.networks) for side in TARGETS}
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": platform.platform(), "sides": {}}
    predicted: dict[str, dict[tuple[str, str], float]] = {}
    for side, measured in sides.items():
        tables, predicted[side] = _side(measured)
        print(
            f"{side}: {len(measured.layers)} layers, {len(measured.halves)} halves of {len(measured.networks)} networks"
        )
        for name, errors in tables.items():
            print(f"  {name:34} {errors}")
        result["sides"][side] = {name: asdict(errors) for name, errors in tables.items()}
    rows = _answers(sides, predicted)
    print("answers, edge + link + cloud")
    for rate in RATES_MBIT:
        errors = Errors.of([row["predicted_s"] / row["measured_s"] - 1 for row in rows if row["mbit_per_s"] == rate])
        print(f"  {rate:3d} Mbit/s {'':22} {errors}")
        result.setdefault("answers", {})[str(rate)] = asdict(errors)
    regrets = _regrets(rows)
    print(f"regret of the answer that is predicted soonest: median {statistics.median(r['regret'] for r in regrets):.1%}, "
          f"worst {max(r['regret'] for r in regrets):.1%}, within 5 % in "
          f"{sum(r['regret'] <= 0.05 for r in regrets)} of {len(regrets)} cases")  # fmt: skip
    for row in regrets:
        if row["regret"] > 0.05:
            where = f"{row['network']} at {row['mbit_per_s']} Mbit/s"
            print(f"  {where}: {row['chosen']} takes {row['regret']:.1%} more than {row['best']}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({**result, "regret": regrets, "rows": rows}, indent=1), encoding="utf-8")


def _side(measured: Measured) -> tuple[dict[str, Errors], dict[tuple[str, str], float]]:
    """The tables of one side, and the predicted seconds of each half by network and cut, each held back."""
    ours, roofline, lines, sums, whole = [], [], [], [], []
    halves: dict[tuple[str, str], float] = {}
    known = {record.key: record for record in measured.layers}
    for network in measured.networks:
        others = measured.without(network)
        own = [record for record in measured.layers if record.network == network]
        model, _ = cost_model.fit(others.layers, folds=2)
        predicted = {r.key: p for r, (p, _, _) in zip(known.values(), model.seconds(list(known.values())), strict=True)}
        scale = statistics.median(record.seconds / record.base_s for record in others.layers)
        line = _lines(others.layers)
        ours += [predicted[record.key] / record.seconds - 1 for record in own]
        roofline += [scale * record.base_s / record.seconds - 1 for record in own]
        lines += [line(record) / record.seconds - 1 for record in own]
        parts, _ = composition.fit(others.halves)
        for half in measured.halves:
            if half.network == network:
                alone = HalfRecord(**{**asdict(half), "layers_s": sum(predicted[key] for key in half.keys)})
                halves[network, half.cut] = parts.half_s(alone)
                whole.append(halves[network, half.cut] / half.seconds - 1)
                sums.append(half.layers_s / half.seconds - 1)
    return {
        "layers, cost model": Errors.of(ours), "layers, roofline": Errors.of(roofline),
        "layers, line through operations": Errors.of(lines), "halves, cost model": Errors.of(whole),
        "halves, sum of measured layers": Errors.of(sums),
    }, halves  # fmt: skip


def _lines(layers: Sequence[Record]) -> Any:
    """Neurosurgeon's model: seconds = a + b * operations, for each kind of layer, by least squares."""
    kinds: dict[str, list[Record]] = {}
    for record in layers:
        kinds.setdefault(record.op, []).append(record)
    every = _line(list(layers))
    fitted = {kind: _line(records) if len(records) > 2 else every for kind, records in kinds.items()}

    def seconds(record: Record) -> float:
        a, b = fitted.get(record.op, every)
        return max(a + b * _operations(record), 1e-9)

    return seconds


def _line(records: Sequence[Record]) -> tuple[float, float]:
    rows = np.array([[1.0, _operations(record)] for record in records])
    (a, b), *_ = np.linalg.lstsq(rows, np.array([record.seconds for record in records]), rcond=None)
    return float(a), float(b)


def _operations(record: Record) -> float:
    from tvm_split.profile.features import NAMES

    return float(2 ** record.features[NAMES.index("flops")] - 1)


def _answers(
    sides: Mapping[str, Measured], predicted: Mapping[str, Mapping[tuple[str, str], float]]
) -> list[dict[str, Any]]:
    """Measured and predicted seconds of each answer at each rate: splits, and edge-only."""
    cloud = {(half.network, half.cut): half for half in sides["cloud"].halves}
    rows = []
    for half in sides["edge"].halves:
        here = (half.network, half.cut)
        if half.crossing and here not in cloud:
            continue
        for rate in RATES_MBIT:
            link_s = half.crossing * 8 / (rate * 1e6)
            there = cloud[here].seconds if half.crossing else 0.0
            guess = predicted["cloud"][here] if half.crossing else 0.0
            rows.append({
                "network": half.network, "cut": half.cut, "mbit_per_s": rate, "bytes": half.crossing,
                "measured_s": half.seconds + link_s + there, "predicted_s": predicted["edge"][here] + link_s + guess,
            })  # fmt: skip
    return rows


def _regrets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cases: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["network"], row["mbit_per_s"]), []).append(row)
    found = []
    for (network, rate), answers in cases.items():
        chosen = min(answers, key=lambda row: row["predicted_s"])
        best = min(answers, key=lambda row: row["measured_s"])
        found.append({
            "network": network, "mbit_per_s": rate, "chosen": chosen["cut"], "best": best["cut"],
            "regret": chosen["measured_s"] / best["measured_s"] - 1,
        })  # fmt: skip
    return found


def _read(path: Path, networks: Sequence[str]) -> Measured:
    if not path.exists():
        sys.exit(f"{path} is not there; run without --minutes 0")
    device = json.loads(path.open(encoding="utf-8").readline())["device"]
    records = Records(path, device)
    layers = [r for r in records.found.values() if r.network in networks or r.network.startswith(SAMPLED)]
    return Measured(layers, [half for half in records.halves if half.network in networks])


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
    os.sched_setaffinity(0, {asked.core})
    from tvm_split.profile.collect import Plan, collect
    from tvm_split.targets import load_target

    side = asked.collect
    begin = time.monotonic()
    _, outcome = collect(
        load_target(TARGETS[side]), [f"zoo:{name}" for name in asked.networks],
        asked.folder / f"{side}.records.jsonl", asked.minutes, threads=1,
        say=lambda text: print(f"[{time.monotonic() - begin:5.0f} s] {side}: {text}", file=sys.stderr, flush=True),
        plan=Plan(integers=False, cuts=asked.cuts, sides=(side,)),
    )  # fmt: skip
    for text in outcome.refused:
        print(f"{side}: {text}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--minutes", type=float, default=12.0, help="to time each side; 0: only what was timed")
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("build/prediction"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--collect", choices=list(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
