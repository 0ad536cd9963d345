"""What a profile samples, draw by draw: layers near each network's own, and of every kind between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import tvm

from tvm_split import extract, frontend, pipeline
from tvm_split.graph import Graph
from tvm_split.profile import every_kind, sampled
from tvm_split.profile.records import EVERY_KIND

Network = tuple[tvm.IRModule, Graph]
#: the number of a draw -> a network of layers beside each other; None where none can be had
Draw = Callable[[int], tvm.IRModule | None]
#: how many networks are sampled for each draw of every kind
EACH = 3


def loaded_network(name: str) -> Network:
    """The layers of a model's file or of zoo:NAME. ModelError: it is none."""
    mod = pipeline.layers()(frontend.load(name))
    return mod, extract.graph(mod, name.removeprefix("zoo:").split("/")[-1])


def turn_of(networks: Sequence[Network], count: int) -> list[tuple[str, Draw]]:
    """One turn, by the network's name: `count` layers near each of them, and after every EACH of every kind."""
    found: list[tuple[str, Draw]] = []
    for i, (mod, graph) in enumerate(networks):
        found.append((graph.name, partial(sampled.around, mod, count)))
        if i % EACH == 0:
            found.append((EVERY_KIND, partial(_of_every_kind, count, i)))
    return found


def _of_every_kind(count: int, place: int, seed: int) -> tvm.IRModule:
    """place: in the turn, so that no two draws are alike."""
    return every_kind.drawn(count, 1000 * seed + place)
