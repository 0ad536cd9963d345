"""Make a network return tensors from its middle, to look at them.

    Given:   main(x): a -> b -> c;  returns c
    Result:  main(x): a -> b;       returns (x, b)            (for names = ("x", "b"))

The parameters stay; layers that no named tensor needs are left out. Each layer left computes the same bits as before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import tvm

from tvm_split import extract
from tvm_split.errors import ModelError
from tvm_split.passes.layering import LAYER, layer_calls, main_bindings
from tvm_split.passes.partition import _Half


@tvm.transform.module_pass(opt_level=0, name="ReturnTensors")
@dataclass
class ReturnTensors:
    """Return the named tensors of a module of layers as a tuple, in the order given, each once.

    Names are those of `extract.graph`, inputs included. ModelError when there is none to return or a name is unknown.
    """

    names: Iterable[str]

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        wanted = dict.fromkeys(self.names)
        network = extract.graph(mod)
        if not wanted:
            raise ModelError("no tensor is named, so there is nothing to return; name at least one")
        for name in wanted:
            if name not in network.tensor:
                close = difflib.get_close_matches(name, network.tensor, n=3) or list(network.tensor)[:3]
                raise ModelError(f"the network has no tensor '{name}'; there are {', '.join(close)} and others")
        makers = (network.producer[name] for name in wanted)
        needed = network.closure(maker for maker in makers if maker is not None)
        function, bindings = main_bindings(mod)
        whole = _Half(mod, function, bindings, "whole")
        for param in function.params:
            whole.add_param(param.name, param.ty)
        for binding, callee in layer_calls(mod):
            if str(callee.attrs[LAYER]) in needed:
                whole.add_layer(binding)
        return whole.finish(wanted)
