"""Seconds of layers predicted by XGBoost from TVM's features of their kernels, with an interval. No TVM.

The model learns the logarithm of what a layer takes over what a line says: seconds a call, an operation, a byte moved
and an element written, none negative, fitted for each schedule rule. A kernel twice as large is then no new case. Three
fits share the features, the middle and the ends of the interval, by quantile regression (Koenker and Bassett,
Econometrica 46(1), 1978; the middle's is the least absolute error, which a kernel unlike all others bends less than a
square). The ends are widened by one factor so that they hold the share of the held-back layers that they promise (split
conformal prediction: Romano, Patterson, Candes, NeurIPS 2019).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from scipy.optimize import nnls

from tvm_split.errors import CostError
from tvm_split.profile.booster import OBJECTIVE, check_booster
from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.records import EVERY_KIND, Record

#: the share of layers that an interval is to hold
COVERED = 0.9
#: fewer distinct kernels tell nothing
FEWEST = 20
FOLDS = 5
#: what an interval's ends may be moved by, in log seconds: beyond it they are no seconds
MOST_WIDE = 50.0
TREES = 400
PARAMETERS = {
    "max_depth": 6, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.3, "min_child_weight": 2, "lambda": 1.0,
    "tree_method": "hist", "seed": 0, "nthread": 2,
}  # fmt: skip
#: what a layer takes is a line of: one call, and these features, which are log2(1 + count)
COUNTS = tuple(NAMES.index(name) for name in ("flops", "moved_bytes", "written_elements"))
#: what a layer of another rule counts in a rule's line, so that a rule of few layers has no line that they alone allow
OTHERS = 0.1
EVERY = "*"
#: no layer is predicted to take less, or more, and none of a line's numbers is more
LEAST_S, MOST_S = 1e-8, 1e3
QUANTILES = {"middle": 0.5, "low": (1 - COVERED) / 2, "high": (1 + COVERED) / 2}


@dataclass(frozen=True)
class CostModel:
    """rules: names of schedule rules, each a feature of its own. lines: of each rule, and of EVERY for those that are
    new, a number for the call and one for each of COUNTS. boosters: "middle", "low", "high".

    widen: what both ends of the interval are moved by, in log seconds; negative when it was too wide.
    """

    rules: tuple[str, ...]
    lines: Mapping[str, tuple[float, ...]]
    boosters: Mapping[str, xgboost.Booster]
    widen: float

    def seconds(self, layers: Sequence[Any]) -> list[tuple[float, float, float]]:
        """(predicted, low, high) of each layer: anything with features and rule."""
        if not layers:
            return []
        rows = xgboost.DMatrix(_matrix(layers, self.rules))
        base = _along(self.lines, layers)
        middle, low, high = (self.boosters[name].predict(rows) + base for name in ("middle", "low", "high"))
        middle = np.clip(middle, math.log(LEAST_S), math.log(MOST_S))
        low = np.minimum(np.maximum(low - self.widen, math.log(LEAST_S)), middle)
        high = np.maximum(np.minimum(high + self.widen, math.log(MOST_S)), middle)
        return [(float(m), float(a), float(b)) for m, a, b in zip(*np.exp([middle, low, high]), strict=True)]

    def to_json(self) -> dict[str, Any]:
        return {
            "rules": list(self.rules), "widen": self.widen,
            "lines": {rule: list(line) for rule, line in self.lines.items()},
            "boosters": {name: json.loads(bytes(each.save_raw("json"))) for name, each in self.boosters.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostModel:
        """CostError when it is nothing that `to_json` made: XGBoost itself would read beyond its memory."""
        rules, widen = data.get("rules"), data.get("widen")
        if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
            raise CostError(f"the cost model's rules are {rules!r:.60}; expected names of schedule rules")
        if len(set(rules)) != len(rules):
            raise CostError(f"the cost model's rules name one twice: {', '.join(rules):.60}")
        if isinstance(widen, bool) or not isinstance(widen, int | float) or not abs(widen) <= MOST_WIDE:
            raise CostError(f"the cost model's widen is {widen!r:.40}; expected a number of size {MOST_WIDE:g} or less")
        found = data.get("lines")
        lines = {str(rule): _line_of(line) for rule, line in found.items()} if isinstance(found, dict) else {}
        if EVERY not in lines:
            raise CostError(f"the cost model has no line for '{EVERY}', every rule")
        boosters = {}
        for name in ("middle", "low", "high"):
            try:
                check_booster(data["boosters"][name], len(NAMES) + len(rules))
                boosters[name] = _booster(data["boosters"][name])
            except (CostError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
                raise CostError(
                    f"the cost model's '{name}' cannot be read: {str(error).splitlines()[0]:.200}"
                ) from None
        return cls(tuple(rules), lines, boosters, float(widen))


def fit(records: Sequence[Record], folds: int = FOLDS) -> tuple[CostModel, list[float]]:
    """A model of the records that are no noise, and the relative error of each record, noise as well, when it was
    held back with all of its network and what was sampled near that.

    The networks are dealt over the folds. CostError with fewer than FEWEST records, or fewer than two networks.
    """
    groups = _dealt(records, folds)
    quiet = [(record, group) for record, group in zip(records, groups, strict=True) if not record.noisy]
    if len(quiet) < FEWEST or len({group for _, group in quiet} - {folds}) < 2:
        networks = len({record.network for record, _ in quiet} - {EVERY_KIND})
        raise CostError(
            f"{len(quiet)} layers of {networks} networks were timed; expected {FEWEST} or more, of 2 or more: give "
            "the profile more time, on a device that does nothing else, or more networks"
        )
    errors = np.zeros(len(records))
    outside = np.zeros(len(records))  # how far the truth lies beyond the interval; below 0 inside
    actual = np.log([record.seconds for record in records])
    for fold in sorted(set(groups)):
        held = [i for i, group in enumerate(groups) if group == fold]
        model = train([record for record, group in quiet if group != fold])
        for i, (middle, low, high) in zip(held, model.seconds([records[i] for i in held]), strict=True):
            errors[i] = middle / records[i].seconds - 1
            outside[i] = max(math.log(low) - actual[i], actual[i] - math.log(high))
    counted = [i for i, record in enumerate(records) if not record.noisy]
    own = [i for i in counted if not records[i].sample]  # what a plan runs; samples only teach
    widen = float(np.quantile(outside[own or counted], COVERED))
    return train([record for record, _ in quiet], widen), [float(error) for error in errors]


def train(records: Sequence[Record], widen: float = 0.0) -> CostModel:
    """A model of the records; nothing is held back."""
    rules = tuple(sorted({record.rule for record in records}))
    lines = {rule: _line(records, [1.0 if record.rule == rule else OTHERS for record in records]) for rule in rules}
    lines[EVERY] = _line(records, [1.0] * len(records))
    target = np.log([record.seconds for record in records]) - _along(lines, records)
    rows = xgboost.DMatrix(_matrix(records, rules), target)
    boosters = {
        name: xgboost.train({**PARAMETERS, "objective": OBJECTIVE, "quantile_alpha": quantile}, rows, TREES)
        for name, quantile in QUANTILES.items()
    }
    return CostModel(rules, lines, boosters, widen)


def _line(records: Sequence[Record], weights: Sequence[float]) -> tuple[float, ...]:
    """Least squares of weighted relative errors, nothing negative. Columns are scaled to one size."""
    count = np.array(weights)[:, None]
    rows = _terms(records) / np.array([[record.seconds] for record in records])
    size = np.maximum(rows.max(axis=0), 1e-300)
    found, _ = nnls(rows / size * count, count[:, 0])
    return tuple(float(number) for number in found / size)


def _along(lines: Mapping[str, tuple[float, ...]], layers: Sequence[Any]) -> np.ndarray:
    """Logarithm of what the lines say, (layers,)."""
    weights = np.array([lines.get(layer.rule, lines[EVERY]) for layer in layers])
    found: np.ndarray = np.log(np.maximum((_terms(layers) * weights).sum(axis=1), LEAST_S))
    return found


def _terms(layers: Sequence[Any]) -> np.ndarray:
    """(layers, terms): one call, and COUNTS."""
    counts = np.array([[layer.features[i] for i in COUNTS] for layer in layers], np.float64).reshape(-1, len(COUNTS))
    return np.hstack([np.ones((len(counts), 1)), np.exp2(counts) - 1])


def _booster(data: Mapping[str, Any]) -> xgboost.Booster:
    """A checked booster's own trees. The objective is of training, and its parameters, which XGBoost would take on
    trust, are not read: one stands for it that has none of its own and predicts in the same way."""
    learner = {
        **data["learner"],
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    made = xgboost.Booster()
    made.load_model(bytearray(json.dumps({**data, "learner": learner}).encode()))
    return made


def _line_of(data: Any) -> tuple[float, ...]:
    """CostError when it is no line."""
    numbers = data if isinstance(data, list) else []
    if len(numbers) != 1 + len(COUNTS) or not all(
        isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= MOST_S for x in numbers
    ):
        raise CostError(
            f"a line of the cost model is {data!r:.60}; expected {1 + len(COUNTS)} numbers from 0 to {MOST_S:g}"
        )
    return tuple(float(x) for x in numbers)


def _matrix(layers: Sequence[Any], rules: Sequence[str]) -> np.ndarray:
    """float32 (layers, features + rules)."""
    one_hot = [[float(layer.rule == rule) for rule in rules] for layer in layers]
    features = [layer.features for layer in layers]
    return np.hstack([np.asarray(features, np.float32), np.asarray(one_hot, np.float32).reshape(len(layers), -1)])


def _dealt(records: Sequence[Record], folds: int) -> list[int]:
    """The fold of each record: networks and what is near them, largest first, each to the fold with the fewest; what is
    of no network has one of its own.

    Of one network alone, what is near it is dealt sample by sample.
    """
    several = len({record.network for record in records} - {EVERY_KIND}) > 1
    names = [record.network if several else record.sample for record in records if record.network != EVERY_KIND]
    sizes = Counter(names)
    taken = [0] * folds
    fold: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        fold[name] = taken.index(min(taken))
        taken[fold[name]] += sizes[name]
    left = iter(names)
    return [folds if record.network == EVERY_KIND else fold[next(left)] for record in records]
