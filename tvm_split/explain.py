"""What --explain says of a network's kernels: the rule that schedules each layer's, and why it has no better one.

each layer as compiled for the edge, raspberry-pi-4:
stem_conv (conv2d_bias_relu): Packed
mix (conv2d): Default, as no other rule knows it; PackWeights: relax.nn.conv2d of (1, 8, 8, 6) stays: its groups ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tvm_split.graph import Graph
from tvm_split.passes.schedule import RULE
from tvm_split.passes.schedule.elementwise import Default

PASSES = logging.getLogger("tvm_split.passes")
#: what a pass says of an operator that it leaves as it is
STAYS = " stays: "


@contextmanager
def heard() -> Iterator[list[str]]:
    """The reasons that passes log for what they leave alone, while nobody else hears what they say below a warning.

    Empty unless the log of passes is wanted at level INFO, as --explain makes it.
    """
    reasons: list[str] = []
    if not PASSES.isEnabledFor(logging.INFO):
        yield reasons
        return

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if STAYS in text and text not in reasons:
            reasons.append(text)
        return record.levelno >= logging.WARNING

    known = (logger for logger in PASSES.manager.loggerDict.values() if isinstance(logger, logging.Logger))
    loggers = [PASSES, *(logger for logger in known if logger.name.startswith(f"{PASSES.name}."))]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield reasons
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def lines(graph: Graph, rules: Mapping[str, str | None], reasons: Mapping[str, list[str]]) -> Iterator[str]:
    """One line a layer in the network's order, then one that lists those that no rule but the default one took.

    rules: the rule of each layer's kernel by layer, None where none took it; a layer that is missing has no kernel.
    """
    left = []
    for layer in graph.layers:
        said = "; ".join(reasons.get(layer.name, ()))
        if layer.name not in rules:
            what = "no kernel"
        elif rules[layer.name] in (None, Default.__name__):
            left.append(layer.name)
            what = "no rule" if rules[layer.name] is None else f"{Default.__name__}, as no other rule knows it"
        else:
            what = str(rules[layer.name])
        yield f"{layer.name} ({layer.op}): {what}" + (f"; {said}" if said else "")
    if left:
        yield f"no schedule rule but the default one takes {len(left)} of {len(graph.layers)} layers: {', '.join(left)}"
    else:
        yield "a schedule rule takes every layer that has a kernel"


def rule_of(function: object) -> str | None:
    """The schedule rule that took a PrimFunc."""
    attributes = getattr(function, "attrs", None) or {}
    return str(attributes[RULE]) if RULE in attributes else None
