"""Run any layers of a network on this machine, from any tensors: calibration and accuracy look inside it this way.

All layers are compiled once. A cut's halves, a network cut at many places, and a network with changed tensors in its
middle are then runs, not compilations; each layer computes the bits that it computes in a compiled half.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from tvm_split import extract, lower
from tvm_split.errors import BuildError, GraphError, last_line
from tvm_split.explain import heard
from tvm_split.layer_kernels import MAIN, LoweredLayers, Program, lower_layers
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.share_kernels import equal_kernels
from tvm_split.progress import Progress, counted, quiet
from tvm_split.runtime.executor import use_threads
from tvm_split.targets.load import load_target
from tvm_split.tvm_target import resolve

Arrays = Mapping[str, np.ndarray]
Library = dict[str, Callable[..., None]]
_Run = Callable[[list[tvm.runtime.Tensor]], list[tvm.runtime.Tensor]]

#: kernels that are compiled in one go; between two of these, progress is told
AT_ONCE = 32


class LayerRunner:
    """A module of layers, each layer compiled for this machine (or for `target`, which must run here).

    BuildError when the target is no CPU or TVM cannot compile a layer for it.
    """

    def __init__(self, mod: tvm.IRModule, target: tvm.target.Target | None = None, progress: Progress = quiet) -> None:
        target = resolve(load_target("host")) if target is None else tvm.target.Target(target)
        if target.kind.name != "llvm":
            raise BuildError(
                f"the target is '{target.kind.name}', but samples run on this machine's CPU; give an llvm target"
            )
        use_threads()  # before the first kernel
        self.graph = extract.graph(mod)
        self._target = target
        self._arguments = _arguments(mod)
        lowered = lower_layers(mod, target, progress=progress)
        self._kernels = {
            kernel.symbol: kernel.function for each in lowered.programs.values() for kernel in each.kernels
        }
        self._library, self._runs = _compiled(lowered, target, progress)

    def with_layers(self, mod: tvm.IRModule, names: Collection[str]) -> LayerRunner:
        """The network with its layers `names` as `mod` has them: the same network, but for the values of constants.

        A layer whose kernels this runner has is not compiled again. BuildError as for the whole network.
        """
        lowered = lower_layers(mod, self._target, names)
        new = {f"new {k.symbol}": k.function for each in lowered.programs.values() for k in each.kernels}
        first = equal_kernels([*self._kernels.items(), *new.items()])
        if not lowered.modules and all(first[name] in self._kernels for name in new):
            known = {
                name: replace(each, kernels=tuple(replace(k, symbol=first[f"new {k.symbol}"]) for k in each.kernels))
                for name, each in lowered.programs.items()
            }
            runs = {name: _through_kernels(self._library, program) for name, program in known.items()}
        else:
            _, runs = _compiled(lowered, self._target)
        changed = copy.copy(self)
        changed._runs = {**self._runs, **runs}
        return changed

    def run(self, known: Arrays, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """The tensors `wanted`, computed from the tensors `known` by no more layers than that takes.

        `known` are arrays of the tensors' shapes and dtypes. Tensors live until their last reader has run. GraphError:
        there is no such tensor, or it depends on an input that is not known.
        """
        names = tuple(dict.fromkeys(wanted))
        layers = self._needed(known, names)
        last = {name: layer for layer in layers for name in self._arguments[layer]}
        live = {
            name: tvm.runtime.tensor(np.ascontiguousarray(known[name]))
            for name in {name for layer in layers for name in self._arguments[layer]}
            if name in known
        }
        found = {name: np.asarray(known[name]) for name in names if name in known}
        for layer in layers:
            made = self._runs[layer]([live[name] for name in self._arguments[layer]])
            for name, tensor in zip(self.graph.layer[layer].outputs, made, strict=True):
                if name in names and name not in known:
                    found[name] = tensor.numpy()
                if name in last and name not in known:
                    live[name] = tensor
            for name in dict.fromkeys(self._arguments[layer]):
                if last[name] == layer:
                    del live[name]
        return {name: found[name] for name in names}

    def _needed(self, known: Arrays, names: tuple[str, ...]) -> list[str]:
        """The layers to run, in the network's order."""
        for name in (*known, *names):
            if name not in self.graph.tensor:
                raise GraphError(
                    f"the network has no tensor '{name}'; it has {', '.join(list(self.graph.tensor)[:3])} and others"
                )
        want = {name for name in names if name not in known}
        needed = []
        for layer in reversed(self.graph.layers):
            if want.intersection(layer.outputs):
                needed.append(layer.name)
                want.update(name for name in layer.inputs if name not in known)
        missing = [name for name in self.graph.inputs if name in want]
        if missing:
            raise GraphError(f"input '{missing[0]}' is not among the known tensors; give it")
        return needed[::-1]


def _arguments(mod: tvm.IRModule) -> dict[str, tuple[str, ...]]:
    """Tensor of each argument of each layer, each part of a tuple by itself; a tensor may be there twice."""
    names = extract.tensor_names(mod)
    return {
        str(callee.attrs[LAYER]): tuple(
            name for argument in binding.value.args for name in extract.resolve(argument, names) or ()
        )
        for binding, callee in layer_calls(mod)
    }


def _compiled(
    lowered: LoweredLayers, target: tvm.target.Target, progress: Progress = quiet
) -> tuple[Library, dict[str, _Run]]:
    """The kernels by symbol, and how each layer is run."""
    kernels = sorted(lowered.library().functions_items(), key=lambda item: str(item[0].name_hint))
    library: Library = {}
    try:
        for part in counted(
            [kernels[i : i + AT_ONCE] for i in range(0, len(kernels), AT_ONCE)],
            f"compiling layers, {AT_ONCE} kernels at once",
            progress,
        ):
            compiled = tvm.compile(tvm.IRModule(dict(part)), target).mod
            library |= {str(gvar.name_hint): compiled[str(gvar.name_hint)] for gvar, _ in part}
        runs = {name: _through_kernels(library, program) for name, program in lowered.programs.items()}
        pipeline = lower.pipeline(target)
        for name, alone in lowered.modules.items():
            with heard():
                built = tvm.compile(alone, target, relax_pipeline=pipeline)
            runs[name] = _through_vm(relax.VirtualMachine(built, tvm.cpu()))
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise BuildError(f"the network cannot be compiled for {target}: {last_line(error)}") from error
    return library, runs


def _through_kernels(library: Library, program: Program) -> _Run:
    steps = [
        (
            library[kernel.symbol],
            kernel.reads,
            [(tuple(int(extent) for extent in ty.shape.values), str(ty.dtype)) for ty in kernel.written],
        )
        for kernel in program.kernels
    ]

    def run(arguments: list[tvm.runtime.Tensor]) -> list[tvm.runtime.Tensor]:
        values = list(arguments)
        for function, reads, written in steps:
            made = [tvm.runtime.empty(shape, dtype) for shape, dtype in written]
            function(*(values[read] if isinstance(read, int) else read for read in reads), *made)
            values += made
        return [values[number] for number in program.results]

    return run


def _through_vm(vm: relax.VirtualMachine) -> _Run:
    main = vm[MAIN]

    def run(arguments: list[tvm.runtime.Tensor]) -> list[tvm.runtime.Tensor]:
        (made,) = main(*arguments)
        return [made] if isinstance(made, tvm.runtime.Tensor) else list(made)

    return run
