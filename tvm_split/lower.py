"""Layers -> kernels: one PrimFunc a layer, so that a layer computes the same bits wherever it runs."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.layering import global_var, is_constant, layer_calls, main_bindings, replace_main, substitute
from tvm_split.passes.pack_weights import PackWeights
from tvm_split.passes.schedule import ScheduleKernels
from tvm_split.passes.share_kernels import ShareKernels
from tvm_split.passes.tabulate_codes import TabulateCodes
from tvm_split.tune.apply import ApplyTuned


@tvm.transform.module_pass(opt_level=0, name="PrimitiveLayers")
class PrimitiveLayers:
    """Turn each legalised layer into a primitive function whose constants are arguments, ready for FuseTIR.

    TVM's FuseOps would fuse across layers, differently in the whole network and in a half; this never does. A layer
    that is not made of call_tir alone (a sort, a reshape to a tuple) is put back into `main`.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        main, bindings = main_bindings(mod)
        layers = {binding.var: callee for binding, callee in layer_calls(mod)}
        functions = dict(mod.functions_items())
        rebuilt: list[relax.VarBinding] = []
        for binding in bindings:
            value = binding.value
            callee = layers.get(binding.var)
            if callee is None:
                rebuilt.append(relax.VarBinding(binding.var, value))
                continue
            old = value.op
            del functions[old]
            if _only_kernels(callee):
                function, constants = _lift_constants(callee)
                gvar = global_var(old.name_hint, function)
                functions[gvar] = function
                rebuilt.append(relax.VarBinding(binding.var, relax.Call(gvar, [*value.args, *constants])))
                continue
            inner = dict(zip(callee.params, value.args, strict=True))
            for block in callee.body.blocks:
                for item in block.bindings:
                    var = relax.DataflowVar(item.var.name, item.var.ty)
                    rebuilt.append(relax.VarBinding(var, substitute(item.value, inner)))
                    inner[item.var] = var
            rebuilt.append(relax.VarBinding(binding.var, substitute(callee.body.body, inner)))
        out = replace_main(mod, main, rebuilt, main.body.body, functions)
        return relax.transform.CanonicalizeBindings()(out)


def _only_kernels(function: relax.Function) -> bool:
    """Whether the body is kernel calls alone, at least one: FuseTIR refuses anything else."""
    kernel = tvm.ir.Op.get("relax.call_tir")
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    calls = [value for value in values if not isinstance(value, relax.Var | relax.Tuple | relax.TupleGetItem)]
    return bool(calls) and all(isinstance(call, relax.Call) and call.op == kernel for call in calls)


def _lift_constants(function: relax.Function) -> tuple[relax.Function, list[relax.Expr]]:
    """The function with each tensor literal turned into a parameter after its own, and the literals."""
    literals: list[relax.Expr] = []

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr) and not any(expr.same_as(other) for other in literals):
            literals.append(expr)

    relax.analysis.post_order_visit(function, visit)
    lifter = _Lifter(literals)
    params = [relax.Var(p.name, p.ty) for p in function.params]
    body = lifter.visit_expr(substitute(function.body, dict(zip(function.params, params, strict=True))))
    lifted = relax.Function([*params, *lifter.params], body, function.ret_ty, is_pure=True)
    return lifted.with_attrs({"Primitive": True}), literals


@relax.expr_functor.mutator
class _Lifter(relax.PyExprMutator):
    def __init__(self, literals: list[relax.Expr]) -> None:
        super().__init__()
        self.literals = literals
        self.params = [relax.Var(f"weight_{i}", literal.ty) for i, literal in enumerate(literals)]

    def visit_generic_const_(self, op: relax.Expr) -> relax.Expr:
        for literal, param in zip(self.literals, self.params, strict=True):
            if literal.same_as(op):
                return param
        return op


def passes(target: tvm.target.Target) -> list[tvm.transform.Pass]:
    """Module of layers -> what the VM runs. The order is TVM's default CPU pipeline with our fusing in it."""
    from tvm.relax.backend.cpu_generic import pipeline as cpu

    reshapes, *rest = cpu.dataflow_lower_passes(target)
    return [
        *cpu.library_dispatch_passes(target),
        ChannelsLast(),
        TabulateCodes(),  # after the layers are made, whose names tell of the operators
        PackWeights(target),  # after channels-last, which makes the layout that its kernels are written for
        relax.transform.LegalizeOps(),
        relax.transform.FoldConstant(),
        relax.transform.AnnotateTIROpPattern(),
        PrimitiveLayers(),
        relax.transform.FuseTIR(),  # after PrimitiveLayers: it takes functions marked Primitive
        reshapes,
        ApplyTuned(),  # before the rules, which leave alone what has a schedule
        ScheduleKernels(),  # after the reshapes became views: it would schedule them as copies
        ShareKernels(),  # layers of one shape are one kernel now: fewer to compile
        *rest,
        *cpu.finalize_passes(target),
    ]


def pipeline(target: tvm.target.Target) -> tvm.transform.Pass:
    """The list above as one pass, for `tvm.compile(mod, target, relax_pipeline=...)`."""

    @tvm.transform.module_pass(opt_level=0, name="tvm_split.cpu")
    def _pipeline(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        with target:
            return tvm.transform.Sequential(passes(target))(mod)

    return _pipeline
