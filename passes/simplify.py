"""Say plainly what a model importer made clumsy.

    Given:   d = dropout(x)[0];  t = call_tir(pad, (d,));  c = conv2d(t, w)
             s = stack((broadcast_to(c), broadcast_to(z)));  a = sum(s, 0)
             m = call_tir(maximum, (a, 0.0));  y = call_tir(minimum, (m, 6.0))
    Result:  c = conv2d(x, w, padding=(1, 1, 1, 1));  a = add(c, z);  y = clip(a, 0, 6)

Made of the passes in `STEPS`, each usable alone; their docstrings say what each costs (nothing, up to the sign of a
zero). Constant expressions are computed, and what nobody reads is removed. A name of the module is kept where its
binding is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax

from tvm_split.passes.fold_constant import FoldConstant
from tvm_split.passes.fold_pad import FoldPad
from tvm_split.passes.remove_identity import RemoveIdentity
from tvm_split.passes.rewrite_clip import RewriteClip
from tvm_split.passes.rewrite_sum import RewriteSum

log = logging.getLogger("tvm_split.passes")

STEPS = (
    FoldConstant,  # first: clip bounds, biases and weights arrive as expressions of constants
    RewriteSum,  # before RemoveIdentity, which takes away no-op broadcasts but not the stack around them
    RewriteClip,  # before FoldPad, which asks whether a relu came before a max pool
    RemoveIdentity,  # before FoldPad: a Dropout or no-op reshape between pad and convolution hides the pair
    FoldPad,
    RemoveIdentity,  # again: a chain of two permutations or reshapes may end as a no-op
    FoldConstant,  # again: a removed identity may leave an operator with constants alone
    relax.transform.CanonicalizeBindings,  # y = x becomes x, before dead code is looked for
    relax.transform.DeadCodeElimination,
)


@tvm.transform.module_pass(opt_level=0, name="Simplify")
@dataclass(frozen=True)
class Simplify:
    """Run `STEPS`; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        result = tvm.transform.Sequential([step() for step in STEPS], name="Simplify")(mod)
        if tvm_ffi.structural_equal(mod, result):
            log.info("Simplify: nothing to do: no step of it found anything to change")
            return mod
        return result
