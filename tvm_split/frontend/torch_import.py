"""TVM's importer of exported programs with the modules' names kept; importing this file needs torch."""

from __future__ import annotations

from typing import Any

import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter


class _NamedImporter(ExportedProgramImporter):
    """TVM's importer, except that it notes which variable holds each node's result."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, str] = {}

    def _translate_fx_graph(self, graph_module: Any, nodes: Any, inputs_vars: Any, custom_ops: Any) -> Any:
        outputs = super()._translate_fx_graph(graph_module, nodes, inputs_vars, custom_ops)
        for node in nodes:
            result = self.env.get(node)
            if node.op == "call_function" and isinstance(result, relax.Var):
                stack = list(node.meta.get("nn_module_stack", {}).values())
                module = stack[-1][0].rsplit("L__self__", 1)[-1].strip("._") if stack else ""
                self.results.setdefault(result.name, f"{module}.{node.name}" if module else node.name)
        return outputs


def named_module(program: Any) -> tuple[tvm.IRModule, dict[relax.Var, str]]:
    """Return the module of a torch.export.ExportedProgram, weights bound, and which variable holds which node's result.

    A result is called after its module and operator: 'features.0.conv2d'. Raises whatever TVM and torch raise.
    """
    importer = _NamedImporter()
    mod = importer.from_exported_program(program.run_decompositions(), False, True, False, None)
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    return mod, {
        binding.var: importer.results[binding.var.name] for binding in bindings if binding.var.name in importer.results
    }


def output_names(program: Any) -> list[str]:
    """What the program calls its outputs, in order: a dictionary's key where it returns one, else the node's name."""
    nodes = [str(name) for name in program.graph_signature.user_outputs]
    spec = program.call_spec.out_spec
    if spec is None or spec.num_leaves != len(nodes):
        return nodes
    whole = torch.utils._pytree.tree_unflatten(nodes, spec)
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(whole)
    keys = [".".join(str(step.key) for step in path if hasattr(step, "key")) for path, _ in leaves]
    return [key or node for key, node in zip(keys, nodes, strict=True)]
