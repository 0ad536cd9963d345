"""Tables of prediction.py: errors of predictions for networks held back, answers over a link, regret."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_split.plot import Pair
from tvm_split.profile import composition, cost_model
from tvm_split.profile.composition import Composition
from tvm_split.profile.cost_model import CostModel
from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.records import HalfRecord, Record

RATES_MBIT = (1, 3, 10, 50)


@dataclass(frozen=True)
class Measured:
    """What was timed on one side, on which device."""

    layers: list[Record]
    halves: list[HalfRecord]
    device: Mapping[str, Any]

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(half.network for half in self.halves))

    @property
    def alone_s(self) -> dict[str, float]:
        """Seconds of layers by key."""
        return {record.key: record.seconds for record in self.layers}

    @property
    def quiet(self) -> list[Record]:
        """The layers whose times were no noise."""
        return [record for record in self.layers if not record.noisy]

    def layers_of(self, network: str) -> list[Record]:
        """The network's layers, those among them that other networks have as well."""
        own = {key for half in self.halves if half.network == network for key in half.keys}
        return [record for record in self.layers if record.key in own]

    def without(self, network: str) -> Measured:
        """All that knows nothing of the network: what was sampled near it and kernels that it shares with others are
        left out as well."""
        own = {key for half in self.halves if half.network == network for key in half.keys}
        layers = [record for record in self.layers if record.network != network and record.key not in own]
        return Measured(layers, [half for half in self.halves if half.network != network], self.device)


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


Models = Mapping[str, tuple[CostModel, Composition]]


def models_without_each(measured: Measured) -> Models:
    """By network, the cost model and the composition that know nothing of it."""
    found = {}
    for network in measured.networks:
        others = measured.without(network)
        found[network] = cost_model.train(others.quiet), composition.fit(others.halves, measured.alone_s)[0]
    return found


def held_back(
    measured: Measured, models: Models
) -> tuple[dict[str, Errors], dict[tuple[str, str], float], dict[str, list[Pair]]]:
    """The tables of one side, the predicted seconds of each half by network and cut, each held back, and what is to be
    drawn: layers by the rule that predicted them, halves by network."""
    layers: dict[str, list[Pair]] = {rule: [] for rule in ("cost model", "roofline", "line through operations")}
    whole, sums = [], []
    halves: dict[tuple[str, str], float] = {}
    alone_s = measured.alone_s
    for network in measured.networks:
        model, parts = models[network]
        quiet, own = measured.without(network).quiet, measured.layers_of(network)
        predicted = {r.key: p for r, (p, _, _) in zip(own, model.seconds(own), strict=True)}
        scale = statistics.median(record.seconds / record.base_s for record in quiet)
        line = _lines(quiet)
        for record in own:
            if not record.noisy:
                guesses = (predicted[record.key], scale * record.base_s, line(record))
                for rule, guess in zip(layers, guesses, strict=True):
                    layers[rule].append(Pair(rule, guess, record.seconds))
        for half in measured.halves:
            if half.network == network:
                halves[network, half.cut] = parts.half_s(half, predicted)
                whole.append(Pair(network, halves[network, half.cut], half.seconds))
                sums.append(sum(alone_s[key] for key in half.keys) / half.seconds - 1)
    tables = {f"layers, {rule}": _errors(pairs) for rule, pairs in layers.items()}
    tables |= {"halves, cost model": _errors(whole), "halves, sum of measured layers": Errors.of(sums)}
    return tables, halves, {"layers": [pair for pairs in layers.values() for pair in pairs], "halves": whole}


def _errors(pairs: Sequence[Pair]) -> Errors:
    return Errors.of([pair.predicted_s / pair.measured_s - 1 for pair in pairs])


def _lines(layers: Sequence[Record]) -> Callable[[Record], float]:
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
    return float(2 ** record.features[NAMES.index("flops")] - 1)


def answers(
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


def regrets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each network and rate, what the answer predicted soonest takes over the best measured one."""
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
