"""Seconds of layers predicted by XGBoost from TVM's features of their kernels, with an interval. No TVM.

The model learns the logarithm of what a layer takes over what its roofline says: a kernel twice as large is then no
new case. Three fits share the features: the middle by squared error, and the ends of the interval by quantile
regression (Koenker and Bassett, Econometrica 46(1), 1978), widened by one factor so that they hold the share of the
held-back layers that they promise (split conformal prediction: Romano, Patterson, Candes, NeurIPS 2019).
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

from tvm_split.errors import CostError
from tvm_split.profile.booster import check_booster
from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.records import Record

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
QUANTILES = ((1 - COVERED) / 2, (1 + COVERED) / 2)


@dataclass(frozen=True)
class CostModel:
    """rules: names of schedule rules, each a feature of its own. boosters: "middle", "low", "high".

    widen: what both ends of the interval are moved by, in log seconds; negative when it was too wide.
    """

    rules: tuple[str, ...]
    boosters: Mapping[str, xgboost.Booster]
    widen: float

    def seconds(self, layers: Sequence[Any]) -> list[tuple[float, float, float]]:
        """(predicted, low, high) of each layer: anything with features, rule and base_s."""
        if not layers:
            return []
        rows = xgboost.DMatrix(_matrix(layers, self.rules))
        base = np.log([layer.base_s for layer in layers])
        middle, low, high = (self.boosters[name].predict(rows) + base for name in ("middle", "low", "high"))
        low, high = np.minimum(low - self.widen, middle), np.maximum(high + self.widen, middle)
        return [(float(m), float(a), float(b)) for m, a, b in zip(*np.exp([middle, low, high]), strict=True)]

    def to_json(self) -> dict[str, Any]:
        return {
            "rules": list(self.rules), "widen": self.widen,
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
        boosters = {}
        for name in ("middle", "low", "high"):
            try:
                check_booster(data["boosters"][name], len(NAMES) + len(rules))
                boosters[name] = xgboost.Booster()
                boosters[name].load_model(bytearray(json.dumps(data["boosters"][name]).encode()))
            except (CostError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
                raise CostError(
                    f"the cost model's '{name}' cannot be read: {str(error).splitlines()[0]:.200}"
                ) from None
        return cls(tuple(rules), boosters, float(widen))


def fit(records: Sequence[Record], folds: int = FOLDS) -> tuple[CostModel, list[float]]:
    """A model of all the records, and the relative error of each when it was held back with all of its network and
    what was sampled near that.

    The networks are dealt over the folds. CostError with fewer than FEWEST records, or fewer than two networks.
    """
    groups = _dealt(records, folds)
    if len(records) < FEWEST or len(set(groups)) < 2:
        networks = len({record.network for record in records})
        raise CostError(
            f"{len(records)} layers of {networks} networks were timed; expected {FEWEST} or more, of 2 or more: give "
            "the profile more time, or more networks"
        )
    errors = np.zeros(len(records))
    outside = np.zeros(len(records))  # how far the truth lies beyond the interval; below 0 inside
    actual = np.log([record.seconds for record in records])
    for fold in sorted(set(groups)):
        held = [i for i, group in enumerate(groups) if group == fold]
        model = _fitted([record for record, group in zip(records, groups, strict=True) if group != fold], 0.0)
        for i, (middle, low, high) in zip(held, model.seconds([records[i] for i in held]), strict=True):
            errors[i] = middle / records[i].seconds - 1
            outside[i] = max(math.log(low) - actual[i], actual[i] - math.log(high))
    widen = float(np.quantile(outside, COVERED))
    return _fitted(records, widen), [float(error) for error in errors]


def _fitted(records: Sequence[Record], widen: float) -> CostModel:
    rules = tuple(sorted({record.rule for record in records}))
    target = np.log([record.seconds / record.base_s for record in records])
    rows = xgboost.DMatrix(_matrix(records, rules), target)
    goals: dict[str, dict[str, Any]] = {"middle": {"objective": "reg:squarederror"}}
    for name, quantile in zip(("low", "high"), QUANTILES, strict=True):
        goals[name] = {"objective": "reg:quantileerror", "quantile_alpha": quantile}
    boosters = {name: xgboost.train({**PARAMETERS, **goal}, rows, TREES) for name, goal in goals.items()}
    return CostModel(rules, boosters, widen)


def _matrix(layers: Sequence[Any], rules: Sequence[str]) -> np.ndarray:
    """float32 (layers, features + rules)."""
    one_hot = [[float(layer.rule == rule) for rule in rules] for layer in layers]
    features = [layer.features for layer in layers]
    return np.hstack([np.asarray(features, np.float32), np.asarray(one_hot, np.float32).reshape(len(layers), -1)])


def _dealt(records: Sequence[Record], folds: int) -> list[int]:
    """The fold of each record: networks and what is near them, largest first, each to the fold with the fewest.

    Of one network alone, what is near it is dealt sample by sample.
    """
    several = len({record.origin for record in records}) > 1
    names = [record.origin if several else record.network for record in records]
    sizes = Counter(names)
    taken = [0] * folds
    fold: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        fold[name] = taken.index(min(taken))
        taken[fold[name]] += sizes[name]
    return [fold[name] for name in names]
