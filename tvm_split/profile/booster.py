"""XGBoost's JSON of a fitted model, checked before XGBoost sees it: that follows wrong nodes out of its memory.

What `cost_model.fit` makes, and no more: trees of one number a leaf, without categories. No XGBoost, no TVM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tvm_split.errors import CostError

#: a leaf's children; the parent of a root
NO_CHILD, NO_PARENT = -1, 2**31 - 1
#: of float32, in which XGBoost holds them
LARGEST = 3.4e38
OBJECTIVE = "reg:quantileerror"
#: one entry a node: indices, and what is multiplied or compared
WHOLE = ("left_children", "right_children", "parents", "split_indices", "split_type", "default_left")
REAL = ("split_conditions", "base_weights", "loss_changes", "sum_hessian")
#: of categories, which these models have none of
EMPTY = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check_booster(data: Any, features: int) -> None:
    """CostError unless `data` is a booster over so many features that can be read and followed. O(nodes)."""
    learner = _dict(_object(data, "JSON"), "learner")
    booster, numbers = _dict(learner, "gradient_booster"), _dict(learner, "learner_model_param")
    if booster.get("name") != "gbtree" or _dict(learner, "objective").get("name") != OBJECTIVE:
        raise CostError(f"it is no model of trees for {OBJECTIVE}")
    for name, wanted in (("num_feature", features), ("num_class", 0), ("num_target", 1)):
        _same(name, numbers.get(name), wanted)
    if not _is_number_in_text(numbers.get("base_score")):
        raise CostError(f"its base_score is {numbers.get('base_score')!r:.40}; expected a finite number")
    if learner.get("feature_names") or learner.get("feature_types"):
        raise CostError("it names its features; expected none named")
    model = _dict(booster, "model")
    if "cats" in model and any(_dict(model, "cats").values()):
        raise CostError("it has categories; expected none")
    trees, groups, rounds = (_list(model, name) for name in ("trees", "tree_info", "iteration_indptr"))
    _same("num_trees", _dict(model, "gbtree_model_param").get("num_trees"), len(trees))
    _same("num_parallel_tree", _dict(model, "gbtree_model_param").get("num_parallel_tree"), 1)
    if groups != [0] * len(trees) or rounds != list(range(len(trees) + 1)):
        raise CostError(f"its {len(trees)} trees are not one a round, for one output")
    for number, tree in enumerate(trees):
        try:
            _check_tree(_object(tree, "JSON"), number, features)
        except CostError as error:
            raise CostError(f"tree {number}: {error}") from None


def _check_tree(tree: Mapping[str, Any], number: int, features: int) -> None:
    whole, real = ({name: _list(tree, name) for name in names} for names in (WHOLE, REAL))
    nodes = len(whole["parents"])
    short = [name for name, found in {**whole, **real}.items() if len(found) != nodes]
    if short or not nodes:
        raise CostError(f"its {short[0] if short else 'parents'} has not as many entries as it has nodes, {nodes}")
    sizes = _dict(tree, "tree_param")
    for name, wanted in (("num_nodes", nodes), ("num_feature", features), ("num_deleted", 0), ("size_leaf_vector", 1)):
        _same(name, sizes.get(name), wanted)
    _same("id", tree.get("id"), number)
    if any(tree.get(name) for name in (*EMPTY, "leaf_weights")) or any(whole["split_type"]):
        raise CostError("it has categories or several outputs; expected none")
    for name, found in whole.items():
        if not all(isinstance(value, int) for value in found):
            raise CostError(f"its {name} are not all whole numbers")
    for name, found in real.items():
        if not all(isinstance(value, int | float) and abs(value) <= LARGEST for value in found):
            raise CostError(f"its {name} are not all finite numbers")
    if not all(0 <= index < features for index in whole["split_indices"]):
        raise CostError(f"it splits on a feature that is none of 0 to {features - 1}")
    if not all(value in (0, 1) for value in whole["default_left"]):
        raise CostError("its default_left are not all 0 or 1")
    _check_edges(whole["left_children"], whole["right_children"], whole["parents"])


def _check_edges(left: Sequence[int], right: Sequence[int], parents: Sequence[int]) -> None:
    """Node 0 is the root; every other has one parent, known to both and standing before it: no way goes round."""
    seen = [0] * len(parents)
    for node, pair in enumerate(zip(left, right, strict=True)):
        if pair == (NO_CHILD, NO_CHILD):
            continue
        for child in pair:
            if not node < child < len(parents) or parents[child] != node:
                raise CostError(
                    f"node {node} has child {child}; expected a later one of {len(parents)}, whose parent it is"
                )
            seen[child] += 1
    if parents[0] != NO_PARENT or seen != [0] + [1] * (len(parents) - 1):
        raise CostError("its nodes are no tree: each but the first has one parent")


def _same(name: str, found: Any, wanted: int) -> None:
    """XGBoost writes its numbers as text."""
    if str(found) != str(wanted):
        raise CostError(f"its {name} is {found!r:.40}; expected {wanted}")


def _is_number_in_text(found: Any) -> bool:
    """XGBoost writes [5E-1], and 5E-1 in older versions."""
    try:
        return math.isfinite(float(str(found).removeprefix("[").removesuffix("]")))
    except ValueError:
        return False


def _dict(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _object(data.get(name), name)


def _object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise CostError(f"its {what} is {found!r:.40}; expected an object")
    return found


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    if not isinstance(found, list):
        raise CostError(f"its {name} is {found!r:.40}; expected a list")
    return found
