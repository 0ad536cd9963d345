"""Planners: from a Problem to Candidates, soonest first. Pure functions on frozen data; one planner a file."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from tvm_split.plan.auto_split import plan_auto_split
from tvm_split.plan.auto_split_paper import plan_auto_split_paper
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.min_cut import plan_min_cut
from tvm_split.plan.neurosurgeon import plan_neurosurgeon
from tvm_split.plan.problem import Candidate
from tvm_split.plan.qdmp import plan_qdmp

#: name on the command line -> planner
PLANNERS: dict[str, Callable[..., tuple[Candidate, ...]]] = {
    "auto-split": plan_auto_split,
    "auto-split-paper": plan_auto_split_paper,
    "exact": plan_exact,
    "exhaustive": plan_exhaustive,
    "min-cut": plan_min_cut,
    "neurosurgeon": plan_neurosurgeon,
    "qdmp": plan_qdmp,
}


#: planners that choose bits of the edge's layers where the problem has a precision; the others take no notice of it
WITH_BITS = ("exact", "auto-split", "auto-split-paper")


class _Callable(ModuleType):
    """`tvm_split.plan` is both: the package of planners (design) and the function for build scripts (README)."""

    def __call__(self, model: Any, **options: Any) -> Any:
        return import_module("tvm_split.api").plan(model, **options)


sys.modules[__name__].__class__ = _Callable
